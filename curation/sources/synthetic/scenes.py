"""Scenes: coloured shapes on a plain ground, with captions and questions that follow from where they stand.

Everything that is asked for spans at least one 14-pixel patch: shapes are 26 or 48 pixels wide, cells 56; in small scenes 14 or 24, and
28.
"""

import io
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 90, 200),
    "yellow": (250, 210, 30),
    "purple": (130, 60, 170),
    "orange": (255, 127, 14),
    "black": (20, 20, 20),
    "brown": (120, 70, 40),
}
FORMS = ("circle", "square", "triangle")
GROUNDS = {"white": (250, 250, 250), "grey": (205, 205, 210), "pink": (250, 225, 230), "mint": (220, 245, 232)}
WIDTH_NAMES = ("small", "large")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStyle:
    """How scenes are laid out: width of a cell and of a shape by its size, in pixels; least and most cells along a side; most shapes.

    in_order: a caption holds nothing that the picture does not. Shapes stand as one reads columns, from the left and each from above, and
    are listed in the order of COLOURS, not in any.
    """

    cell: int = 56
    sides: tuple[int, int] = (2, 4)
    most: int = 4
    widths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"small": 26, "large": 48}))
    in_order: bool = False


STANDARD = SceneStyle()
# A quarter of the patches: what a model of a million weights learns to describe in minutes.
SMALL = SceneStyle(cell=28, sides=(2, 3), most=3, widths=MappingProxyType({"small": 14, "large": 24}), in_order=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A shape in a cell of the scene; x and y are its centre and width its extent in pixels. Colours are unique in a scene."""

    colour: str
    form: str
    size: str
    column: int
    row: int
    x: int
    y: int
    width: int

    @property
    def name(self) -> str:
        """What it is called in questions."""
        return f"{self.colour} {self.form}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Shapes in different cells; width and height in pixels. by_colour: they are listed in the order of COLOURS."""

    width: int
    height: int
    ground: str
    shapes: tuple[Shape, ...]
    by_colour: bool = False


def make_scene(rng: random.Random, style: SceneStyle = STANDARD) -> Scene:
    """One to `most` shapes on a grid of cells."""
    columns, rows = rng.randint(*style.sides), rng.randint(*style.sides)
    places = [(column, row) for column in range(columns) for row in range(rows)]
    cells = rng.sample(places, rng.randint(1, style.most))
    colours = rng.sample(list(COLOURS), len(cells))
    shapes: list[Shape] = []
    for colour, (column, row) in zip(colours, cells, strict=True):
        size = rng.choice(WIDTH_NAMES)
        width = style.widths[size]
        slack = max(0, (style.cell - width) // 2 - 2)
        x, y = (style.cell * at + style.cell // 2 + rng.randint(-slack, slack) for at in (column, row))
        form = rng.choice(FORMS)
        shapes.append(Shape(colour=colour, form=form, size=size, column=column, row=row, x=x, y=y, width=width))
    if style.in_order:
        shapes.sort(key=lambda shape: (shape.column, shape.row))
    ground = rng.choice(list(GROUNDS))
    return Scene(
        width=columns * style.cell,
        height=rows * style.cell,
        ground=ground,
        shapes=tuple(shapes),
        by_colour=style.in_order,
    )


def draw_scene(scene: Scene) -> Image.Image:
    """The scene as an RGB picture."""
    image = Image.new("RGB", (scene.width, scene.height), GROUNDS[scene.ground])
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        draw_shape(canvas, shape.form, shape.colour, x=shape.x, y=shape.y, width=shape.width)
    return image


def draw_shape(canvas: ImageDraw.ImageDraw, form: str, colour: str, *, x: int, y: int, width: int) -> None:
    """Draw one shape around its centre."""
    draw_form(canvas, form, COLOURS[colour], x=x, y=y, width=width)


def draw_form(
    canvas: ImageDraw.ImageDraw, form: str, fill: tuple[int, int, int] | int, *, x: int, y: int, width: int
) -> None:
    """Draw a form around its centre, in a colour of the canvas."""
    half = width // 2
    box = (x - half, y - half, x + half, y + half)
    if form == "circle":
        canvas.ellipse(box, fill=fill)
    elif form == "square":
        canvas.rectangle(box, fill=fill)
    else:
        canvas.polygon([(x, y - half), (x - half, y + half), (x + half, y + half)], fill=fill)


def encode_jpeg(image: Image.Image, quality: int = 88) -> bytes:
    """The picture as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(image: Image.Image) -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def relation(first: Shape, second: Shape) -> str:
    """Where the first stands as seen from the second: by columns, or by rows where they share one."""
    if first.column != second.column:
        return "left of" if first.column < second.column else "right of"
    return "above" if first.row < second.row else "below"


def captions(scene: Scene) -> list[str]:
    """A full caption, and a shorter one."""
    colours = list(COLOURS)
    shapes = sorted(scene.shapes, key=lambda shape: colours.index(shape.colour)) if scene.by_colour else scene.shapes
    listed = joined([f"a {shape.size} {shape.name}" for shape in shapes])
    full = f"{listed[0].upper()}{listed[1:]} on a {scene.ground} background."
    if len(scene.shapes) > 1:
        first, second = scene.shapes[:2]
        full += f" The {first.name} is {relation(first, second)} the {second.name}."
    number = len(scene.shapes)
    return [full, f"A picture of {NUMBERS[number]} coloured {'shape' if number == 1 else 'shapes'}."]


def questions(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """One question of each kind about the scene with their answers, in random order."""
    shape = rng.choice(scene.shapes)
    asked = [_which(scene, shape), _how_many(scene, rng.choice(FORMS)), _ground(scene)]
    if len(scene.shapes) > 1:
        first, second = rng.sample(scene.shapes, 2)
        asked += [_where(first, second), _how_large(first, second)]
    rng.shuffle(asked)
    return asked


def all_questions(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """Every question that there is about the scene, of two shapes in one order, with their answers, in random order."""
    asked = [
        _ground(scene),
        *(_which(scene, shape) for shape in scene.shapes),
        *(_how_many(scene, form) for form in FORMS),
    ]
    for pair in itertools.combinations(scene.shapes, 2):
        first, second = rng.sample(pair, 2)
        asked += [_where(first, second), _how_large(first, second)]
    rng.shuffle(asked)
    return asked


def _which(scene: Scene, shape: Shape) -> tuple[str, str]:
    """By its looks, if no other shape shares them; else by its colour."""
    if sum((other.size, other.form) == (shape.size, shape.form) for other in scene.shapes) == 1:
        return f"What colour is the {shape.size} {shape.form}?", f"It is {shape.colour}."
    return f"What shape is {shape.colour}?", f"The {shape.form}."


def _how_many(scene: Scene, form: str) -> tuple[str, str]:
    number = sum(shape.form == form for shape in scene.shapes)
    are, forms = ("is", form) if number == 1 else ("are", f"{form}s")
    return f"How many {form}s are there?", f"There {are} {NUMBERS[number]} {forms}."


def _ground(scene: Scene) -> tuple[str, str]:
    return "What is the background colour?", f"The background is {scene.ground}."


def _where(first: Shape, second: Shape) -> tuple[str, str]:
    return (
        f"Where is the {first.name} relative to the {second.name}?",
        f"It is {relation(first, second)} the {second.name}.",
    )


def _how_large(first: Shape, second: Shape) -> tuple[str, str]:
    differs = f"{'larger' if first.size == 'large' else 'smaller'} than"
    answer = "the same size as" if first.size == second.size else differs
    return f"How large is the {first.name} compared with the {second.name}?", f"It is {answer} the {second.name}."


def joined(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
