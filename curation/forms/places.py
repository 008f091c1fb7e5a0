"""Places: boxes and points in a picture as the corpus writes them, and as the model is taught to write them.

Coordinates are whole thousandths of the picture's width and height: <box>[x1, y1, x2, y2]</box>, each from 0 to 1000.

Source: VideoLLaMA3, arXiv:2501.13106 3.2.2, writes <box>[...]</box>; the scale is not disclosed. Thousandths are ours: they
do not depend on the resolution that a stage sees, and are finer than a patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from curation.forms.fields import list_at, number, pick
from curation.sample import SampleError
from curation.sources.records import Record

Corners = tuple[float, float, float, float]
SCALE = 1000


@dataclass(frozen=True, kw_only=True)
class BoxLayout:
    """How a corpus writes boxes.

    shape: "xywh", "xyxy", "points" (a polygon, flat or as pairs, whose bounds count), "corners" ({x1, y1, x2, y2} or
    {xmin, ymin, xmax, ymax}), "xy_lists" ({x: [...], y: [...]}); unit: "pixels" of a picture whose size stands at width
    and height, or "share" of it (0 to 1), or "percent".
    """

    shape: Literal["xywh", "xyxy", "points", "corners", "xy_lists"] = "xywh"
    unit: Literal["pixels", "share", "percent"] = "pixels"
    width: str = "width"
    height: str = "height"

    def size(self, record: Record) -> tuple[float, float]:
        """What coordinates are divided by.

        Raises:
            SampleError: the record has no size.
        """
        if self.unit != "pixels":
            return (1.0, 1.0) if self.unit == "share" else (100.0, 100.0)
        width, height = number(pick(record, self.width), "width"), number(pick(record, self.height), "height")
        if min(width, height) <= 0:
            raise SampleError(f"the picture is {width:g} x {height:g} pixels: wanted its real size")
        return width, height

    def corners(self, value: Any) -> Corners:
        """x1, y1, x2, y2 in the corpus's unit.

        Raises:
            SampleError: it is no box.
        """
        if self.shape == "xy_lists":
            xs, ys = (_numbers(list_at(value, name)) for name in "xy")
            if not xs or not ys:
                raise SampleError("an outline without points")
            return min(xs), min(ys), max(xs), max(ys)
        numbers = _numbers(value)
        if self.shape == "points":
            if len(numbers) < 4 or len(numbers) % 2:
                raise SampleError(f"a polygon of {len(numbers)} numbers: wanted pairs of x and y")
            return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
        if len(numbers) != 4:
            raise SampleError(f"a box of {len(numbers)} numbers: wanted 4")
        a, b, c, d = numbers
        return (a, b, a + c, b + d) if self.shape == "xywh" else (a, b, c, d)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        names = ("x1", "y1", "x2", "y2") if "x1" in fields else ("xmin", "ymin", "xmax", "ymax")
        return [number(fields.get(name), name) for name in names]
    if not isinstance(value, list):
        raise SampleError(f"a box is {type(value).__name__}: wanted numbers")
    flat: list[float] = []
    for item in cast("list[Any]", value):
        flat += _numbers(item) if isinstance(item, list | dict) and not _is_point(item) else _point(item)
    return flat


def _is_point(item: Any) -> bool:
    return isinstance(item, dict) and "x" in item


def _point(item: Any) -> list[float]:
    return [number(item["x"], "x"), number(item["y"], "y")] if _is_point(item) else [number(item, "coordinate")]


def write_box(corners: Corners, size: tuple[float, float]) -> str:
    """A box as text, clipped to the picture.

    Raises:
        SampleError: nothing of it lies in the picture.
    """
    scaled = [value * SCALE / size[i % 2] for i, value in enumerate(corners)]
    x1, y1, x2, y2 = (round(min(max(value, 0), SCALE)) for value in scaled)
    if x2 <= x1 or y2 <= y1:
        raise SampleError(
            f"box {', '.join(f'{c:g}' for c in corners)} is empty in a picture of {size[0]:g} x {size[1]:g}"
        )
    return f"<box>[{x1}, {y1}, {x2}, {y2}]</box>"


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words, lines or regions of a picture.

    items: path of the list ("" = parallel lists at `text` and `box`); text, box: paths in each item; ignore: texts that
    mean unreadable; flag: path that is true for items to leave out ("!legible" for false).
    """

    items: str = "annotations"
    text: str = "text"
    box: str = "bbox"
    layout: BoxLayout = BoxLayout()
    ignore: tuple[str, ...] = ("", "###", "*", ".")
    flag: str = ""

    def of(self, record: Record) -> list[tuple[str, Corners]]:
        """Text and corners of each, in the corpus's order. An item without a text or box is left out.

        Raises:
            SampleError: the list is missing.
        """
        if self.items:
            pairs = [
                (pick(item, self.text), pick(item, self.box))
                for item in list_at(record, self.items)
                if not self._out(item)
            ]
        else:
            texts, boxes = list_at(record, self.text), list_at(record, self.box)
            if len(texts) != len(boxes):
                raise SampleError(f"{len(texts)} texts, {len(boxes)} boxes: wanted one box per text")
            pairs = list(zip(texts, boxes, strict=True))
        readable = [(str(text).strip(), box) for text, box in pairs if isinstance(text, str | int) and box is not None]
        return [(text, self.layout.corners(box)) for text, box in readable if text not in self.ignore]

    def _out(self, item: Any) -> bool:
        if not self.flag:
            return False
        value = pick(item, self.flag.removeprefix("!"))
        return not value or value == "illegible" if self.flag.startswith("!") else bool(value)


def reading_lines(words: Sequence[tuple[str, Corners]]) -> list[list[tuple[str, Corners]]]:
    """Words as lines, top to bottom, each left to right.

    A word joins the line whose vertical extent holds its centre; lines are opened from the top. Right for one column,
    which scene text and forms mostly are; documents in columns come with their own order.
    """
    lines: list[list[tuple[str, Corners]]] = []
    extents: list[tuple[float, float]] = []
    for word in sorted(words, key=lambda item: (item[1][1] + item[1][3], item[1][0])):
        centre = (word[1][1] + word[1][3]) / 2
        here = next((i for i in range(len(lines) - 1, -1, -1) if extents[i][0] <= centre <= extents[i][1]), None)
        if here is None:
            lines.append([word])
            extents.append((word[1][1], word[1][3]))
        else:
            lines[here].append(word)
    return [sorted(line, key=lambda item: item[1][0]) for line in lines]


def reading_order(words: Sequence[tuple[str, Corners]]) -> str:
    """The text of words in reading order, a line per line."""
    return "\n".join(" ".join(text for text, _ in line) for line in reading_lines(words))
