"""CocoRecords: pictures with their annotations, joined from the lists or maps that COCO and its followers publish."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from curation.operator import Part, PartLimits
from curation.sample import SampleError
from curation.sources.files import InputFile
from curation.sources.lines import list_elements, nested_list, parse_object
from curation.sources.record_files import cut_numbered, document, file_version
from curation.sources.records import Record, Records
from curation.uris import open_uri

# Annotations of one picture that are given; crowds of tiny objects teach nothing more.
MAX_ANNOTATIONS = 512


@dataclass(frozen=True, kw_only=True)
class CocoRecords(Records):
    """One record per picture: its fields, and "annotations": its annotations in file order, each with "category".

    maps: COCO-Text and TextOCR write maps {"imgs": {id: picture}, "anns": {id: annotation}} instead of the lists
    {"images", "annotations", "categories"}. Lists are streamed and never held as objects: of each annotation only the
    place in the file is kept (16 bytes), and it is parsed again when its picture is read.
    """

    maps: bool = False

    SUFFIXES: ClassVar[tuple[str, ...]] = (".json",)

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """Runs of pictures, in file order."""
        try:
            count = len(self._pictures(file.uri))
        except OSError:
            count = 1
        return cut_numbered(file, count, limits)

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The pictures of the part."""
        pictures = self._pictures(part.uri)
        with open_uri(part.uri) as file:
            for number in range(part.begin, min(part.end, len(pictures))):
                try:
                    yield number, pictures.record(number, file)
                except SampleError as error:
                    yield number, error

    def _pictures(self, uri: str) -> "Pictures":
        return (_mapped if self.maps else _joined)(uri, file_version(uri))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Where pictures and their annotations stand in a file.

    places: [pictures, 2] offset and size; annotations: [annotations, 2], sorted by picture; first: [pictures + 1] of them.
    ready: the pictures themselves, where they come from maps.
    """

    places: np.ndarray
    annotations: np.ndarray
    first: np.ndarray
    categories: Mapping[int, str]
    ready: tuple[Record | SampleError, ...] = ()
    fault: str = ""

    def __len__(self) -> int:
        return len(self.ready) or len(self.places) or 1

    def record(self, number: int, file: Any) -> Record:
        """A picture with its annotations.

        Raises:
            SampleError: it is malformed.
        """
        if self.ready:
            ready = self.ready[number]
            if isinstance(ready, SampleError):
                raise ready
            return ready
        if self.fault or not len(self.places):
            raise SampleError(self.fault or "no list of images: wanted {'images': [...], 'annotations': [...]}")
        picture = _at(file, self.places[number])
        mine = self.annotations[self.first[number] : self.first[number + 1]][:MAX_ANNOTATIONS]
        annotations = [_at(file, place) for place in mine]
        named = [{**a, "category": self.categories.get(a.get("category_id", -1), "")} for a in annotations]
        return {**picture, "annotations": named}


def _at(file: Any, place: np.ndarray) -> dict[str, Any]:
    file.seek(int(place[0]))
    return parse_object(file.read(int(place[1])))


@lru_cache(maxsize=2)
def _joined(uri: str, version: tuple[int, str]) -> Pictures:
    del version
    ids: list[int | str] = []
    places: list[tuple[int, int]] = []
    fault = ""
    for line in _elements(uri, "images"):
        fault = fault or line.fault
        if not line.fault:
            ids.append(_key(line.data, "id"))
            places.append((line.offset, len(line.data)))
    number = {key: i for i, key in enumerate(ids)}
    owners: list[int] = []
    found: list[tuple[int, int]] = []
    for line in _elements(uri, "annotations"):
        owner = -1 if line.fault else number.get(_key(line.data, "image_id"), -1)
        if owner >= 0:  # annotations of pictures that are not listed belong to no sample
            owners.append(owner)
            found.append((line.offset, len(line.data)))
    order = np.argsort(np.array(owners, np.int64), kind="stable")
    counts = np.bincount(np.array(owners, np.int64), minlength=len(ids)) if owners else np.zeros(len(ids), np.int64)
    return Pictures(
        places=np.array(places, np.int64).reshape(-1, 2),
        annotations=np.array(found, np.int64).reshape(-1, 2)[order],
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        categories=_categories(uri),
        fault=fault,
    )


def _elements(uri: str, key: str) -> Iterator[Any]:
    begin = nested_list(uri, key)
    return list_elements(uri, begin) if begin else iter(())


def _categories(uri: str) -> dict[int, str]:
    named: dict[int, str] = {}
    for line in _elements(uri, "categories"):
        try:
            fields = parse_object(line.data)
            named[int(fields["id"])] = str(fields["name"])
        except (SampleError, KeyError, ValueError, TypeError):  # its annotations then have no name, and say so
            continue
    return named


def _key(data: bytes, name: str) -> int | str:
    try:
        value = json.loads(data).get(name, "")
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, int | str) else ""


@lru_cache(maxsize=2)
def _mapped(uri: str, version: tuple[int, str]) -> Pictures:
    whole = document(uri, version)
    nothing = np.zeros((0, 2), np.int64)
    ready: list[Record | SampleError] = []
    if isinstance(whole, dict) and isinstance(whole.get("imgs"), dict) and isinstance(whole.get("anns"), dict):
        mine: dict[str, list[Any]] = {}
        for annotation in whole["anns"].values():
            if isinstance(annotation, dict):
                mine.setdefault(str(annotation.get("image_id")), []).append(annotation)
        ready = [
            {**picture, "annotations": mine.get(str(key), [])[:MAX_ANNOTATIONS]}
            if isinstance(picture, dict)
            else SampleError(f"picture {key!r} is no object")
            for key, picture in whole["imgs"].items()
        ]
    fault = str(whole) if isinstance(whole, SampleError) else "no maps: wanted {'imgs': {...}, 'anns': {...}}"
    return Pictures(
        places=nothing, annotations=nothing, first=np.zeros(1, np.int64), categories={}, ready=tuple(ready), fault=fault
    )
