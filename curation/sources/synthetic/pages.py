"""Pages: documents and charts drawn with Pillow's own font, with the text that stands on them."""

import random
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from curation.sources.synthetic.scenes import COLOURS

_MARGIN = 12
_LINE = 22
_FONT = 16
_ITEMS = ("Apples", "Bread", "Candles", "Dates", "Eggs", "Flour", "Grapes", "Honey", "Ink", "Jam", "Kettle", "Lamp")
_TITLES = ("Sales", "Visitors", "Rainfall", "Output", "Books lent", "Hours of sun")
_LABELS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_PLACES = ("Harbour Shop", "Corner Store", "Mill & Sons", "Old Market", "Green Grocer")
_BODY = (
    "Please return the keys to the desk.",
    "The meeting starts at nine.",
    "All parcels go to room four.",
    "Doors close at sunset.",
    "Bring a pencil and some paper.",
    "The lift is out of order.",
    "Wash your hands before lunch.",
    "Feed the cat twice a day.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A drawn page, its text in reading order, and a question about it."""

    image: Image.Image
    text: str
    question: str
    answer: str


def make_page(rng: random.Random) -> Page:
    """A receipt, a notice or a bar chart."""
    return rng.choice((_receipt, _notice, _chart))(rng)


def _receipt(rng: random.Random) -> Page:
    items = [(name, rng.randint(50, 1999)) for name in rng.sample(_ITEMS, rng.randint(2, 5))]
    lines = [
        rng.choice(_PLACES),
        f"No. {rng.randint(1000, 9999)}",
        *(f"{name} {_price(cents)}" for name, cents in items),
    ]
    total = _price(sum(cents for _, cents in items))
    lines.append(f"Total {total}")
    return Page(
        image=_drawn(lines), text="\n".join(lines), question="What is the total?", answer=f"The total is {total}."
    )


def _notice(rng: random.Random) -> Page:
    room = rng.randint(2, 99)
    lines = [f"Notice {room}", *rng.sample(_BODY, rng.randint(2, 5))]
    return Page(
        image=_drawn(lines, width=308),
        text="\n".join(lines),
        question="What number is the notice?",
        answer=f"Number {room}.",
    )


def _chart(rng: random.Random) -> Page:
    title = rng.choice(_TITLES)
    values = {label: rng.randint(1, 20) for label in _LABELS[: rng.randint(3, 5)]}
    image = Image.new("RGB", (224, 196), (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    canvas.text((_MARGIN, 6), title, fill=(0, 0, 0), font=_font(_FONT))
    step = (224 - 2 * _MARGIN) // len(values)
    fill = COLOURS[rng.choice(list(COLOURS))]
    for number, (label, value) in enumerate(values.items()):
        left, top = _MARGIN + number * step, 168 - 6 * value
        canvas.rectangle((left, top, left + step - 12, 168), fill=fill)
        canvas.text((left, top - 17), str(value), fill=(0, 0, 0), font=_font(14))
        canvas.text((left, 172), label, fill=(0, 0, 0), font=_font(14))
    label = rng.choice(list(values))
    listed = ", ".join(f"{name} {value}" for name, value in values.items())
    return Page(
        image=image,
        text=f"Bar chart of {title.lower()}: {listed}.",
        question=f"What is the value for {label}?",
        answer=f"The value for {label} is {values[label]}.",
    )


def _drawn(lines: list[str], *, width: int = 224) -> Image.Image:
    image = Image.new("RGB", (width, 2 * _MARGIN + _LINE * len(lines)), (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        canvas.text((_MARGIN, _MARGIN + number * _LINE), line, fill=(0, 0, 0), font=_font(_FONT))
    return image


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
