"""Boxes: regions and what they are, captions whose phrases are placed, expressions that refer, points.

All are turns of text with places as `curation.forms.places` writes them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from curation.forms.fields import MediaForm, draw, exchange, list_at, number, pick, text_at, texts_at
from curation.forms.places import SCALE, BoxLayout, Corners, Words, write_box
from curation.sample import SampleError
from curation.sources.records import Draft, Record

# Regions of one picture that are asked about in one conversation.
MAX_REGIONS = 8
_PHRASE = re.compile(r"\[/EN#(\d+)(?:/[^\s\]]+)* ([^\]]*)\]")
_REGION = re.compile(r"<region(\d*)>|<mask>|<obj>")


@dataclass(frozen=True, kw_only=True)
class RegionCaptions(MediaForm):
    """What is where: for some regions "What is in <box>...?" and its caption or name.

    The largest regions are asked about, each name once.
    """

    image: str = "file_name"
    words: Words = Words(text="caption|category")

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        size = self.words.layout.size(record)
        regions = dict(sorted(self.words.of(record), key=lambda item: _area(item[1])))
        largest = sorted(regions.items(), key=lambda item: -_area(item[1]))[:MAX_REGIONS]
        pairs = [(f"What is in the region {write_box(corners, size)}?", text) for text, corners in largest]
        media = self.media(record)
        yield self.draft(record, exchange(pairs, media), media)


def _area(corners: Corners) -> float:
    return max(0.0, corners[2] - corners[0]) * max(0.0, corners[3] - corners[1])


@dataclass(frozen=True, kw_only=True)
class RegionDialogue(MediaForm):
    """A dialogue that speaks of "<region1>", "<region2>": their first mention in a question is followed by the box.

    messages: {from, value}; regions: path of the list, in the order of their numbers; box: path in each.

    Source: Osprey, arXiv:2312.10032, and VideoRefer, arXiv:2501.00599 (such dialogues; they mark regions by masks, whose
    bounds these boxes are).
    """

    image: str = "file_name"
    messages: str = "conversations"
    regions: str = "annotation"
    box: str = "bbox"
    layout: BoxLayout = BoxLayout()

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        size = self.layout.size(record)
        boxes = [write_box(self.layout.corners(pick(item, self.box)), size) for item in list_at(record, self.regions)]
        shown: set[int] = set()
        texts = [self._placed(message, boxes, shown) for message in list_at(record, self.messages)]
        pairs = list(zip(texts[::2], texts[1::2], strict=False))
        media = self.media(record)
        yield self.draft(record, exchange(pairs, media), media)

    def _placed(self, message: Any, boxes: list[str], shown: set[int]) -> str:
        seen = 0

        def placed(match: re.Match[str]) -> str:
            nonlocal seen
            seen += 1
            index = int(match[1][:4] or seen) if match[1] else seen
            if not 1 <= index <= len(boxes):
                raise SampleError(f"speaks of region {index} of {len(boxes)}")
            named = f"region {index}"
            if index in shown:
                return named
            shown.add(index)
            return f"{named} {boxes[index - 1]}"

        text = text_at(message, "value|content")
        return _REGION.sub(placed, text.replace("<image>", "").replace("<video>", "")).strip()


@dataclass(frozen=True, kw_only=True)
class GroundedPhrases(MediaForm):
    """A caption in which phrases are followed by their boxes.

    format "entities": Flickr30k Entities: "text" holds five lines with [/EN#283/people Two men], "beside" the XML with
    boxes by that number, a sample per line. format "spans": a caption at `caption` and a list at `phrases` with
    phrase, box and, where a phrase stands twice, its place.
    """

    entities: bool = False
    caption: str = "caption"
    phrases: str = "phrases"
    phrase: str = "phrase"
    box: str = "bbox"
    layout: BoxLayout = BoxLayout(shape="xyxy")
    prompt: str = "Describe the image and give the box of each thing you name."

    def drafts(self, record: Record) -> Iterable[Draft]:
        """A sample per caption."""
        media = self.media(record)
        texts = self._entities(record) if self.entities else [self._spans(record)]
        for text in texts:
            yield self.draft(record, exchange([(self.prompt, text)], media), media)

    def _entities(self, record: Record) -> list[str]:
        size, boxes = _entity_boxes(text_at(record, "beside"))

        def placed(match: re.Match[str]) -> str:
            known = boxes.get(match[1], [])
            return match[2] + "".join(f" {write_box(corners, size)}" for corners in known[:4])

        lines = [line for line in text_at(record, "text").splitlines() if line.strip()]
        if not lines:
            raise SampleError("no sentence in the file")
        return [_PHRASE.sub(placed, line).strip() for line in lines]

    def _spans(self, record: Record) -> str:
        caption, size = text_at(record, self.caption), self.layout.size(record)
        pieces, at = [], 0
        for item in list_at(record, self.phrases):
            phrase = text_at(item, self.phrase)
            where = caption.find(phrase, at)
            if where < 0:  # it stands before the last one, or not at all: the caption stays readable without its box
                continue
            value = pick(item, self.box)
            boxes = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
            written = "".join(f" {write_box(self.layout.corners(box), size)}" for box in boxes[:4])
            pieces += [caption[at : where + len(phrase)], written]
            at = where + len(phrase)
        if not pieces:
            raise SampleError("no phrase of the caption has a box")
        return "".join([*pieces, caption[at:]])


def _entity_boxes(xml: str) -> tuple[tuple[float, float], dict[str, list[Corners]]]:
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:  # the parser would expand entities without end
        raise SampleError("the XML declares entities: wanted plain annotations")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise SampleError(f"broken XML: {error}") from error
    size = (number(root.findtext("size/width"), "width"), number(root.findtext("size/height"), "height"))
    boxes: dict[str, list[Corners]] = {}
    for item in root.iter("object"):
        place = item.find("bndbox")
        if place is not None:
            corners = tuple(number(place.findtext(name), name) for name in ("xmin", "ymin", "xmax", "ymax"))
            for name in item.iter("name"):
                boxes.setdefault(name.text or "", []).append(corners)  # pyright: ignore[reportArgumentType]
    return size, boxes


@dataclass(frozen=True, kw_only=True)
class Referring(MediaForm):
    """Expressions for one region: where is it, or what is there, by turns of the record's name.

    text: path of one expression or several.
    """

    text: str = "sentences"
    box: str = "bbox"
    layout: BoxLayout = BoxLayout()

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        expressions = list(dict.fromkeys(self._texts(record)))[:MAX_REGIONS]
        if not expressions:
            raise SampleError(f"no expression in {self.text!r}")
        box = write_box(self.layout.corners(pick(record, self.box)), self.layout.size(record))
        if draw(record, self.id, 2):
            pairs = [(f"Where is {text}? Answer with its box.", box) for text in expressions]
        else:
            pairs = [(f"Refer to the region {box} in a few words.", max(expressions, key=len))]
        media = self.media(record)
        yield self.draft(record, exchange(pairs, media), media)

    def _texts(self, record: Record) -> list[str]:
        value = pick(record, self.text)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [text_at(item, "sent|raw").strip() for item in value]
        return [text.strip() for text in texts_at(record, self.text)]


@dataclass(frozen=True, kw_only=True)
class Points(MediaForm):
    """Where all things of a name are, as points in percent of the picture; how many there are.

    Source: PixMo points, arXiv:2409.17146 (points in percent; a label without points is one that is not there).
    """

    image: str = "image_url"
    label: str = "label"
    points: str = "points"

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        label = text_at(record, self.label)
        places = [self._point(item) for item in list_at(record, self.points)]
        answer = f"{len(places)}: {', '.join(places)}" if places else "There is none."
        media = self.media(record)
        yield self.draft(record, exchange([(f"Point at every {label} and count them.", answer)], media), media)

    def _point(self, item: Any) -> str:
        x, y = number(pick(item, "x"), "x"), number(pick(item, "y"), "y")
        if not (0 <= x <= 100 and 0 <= y <= 100):
            raise SampleError(f"point {x:g}, {y:g}: wanted percent of the picture")
        return f"<point>[{round(x * SCALE / 100)}, {round(y * SCALE / 100)}]</point>"
