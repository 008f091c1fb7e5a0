"""WebDatasetSource: images, videos and texts from tars whose adjacent members share a key."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from curation.operator import Part, PartLimits, RecipeError
from curation.sample import (
    BadSample,
    Kind,
    Media,
    Reference,
    Sample,
    SampleError,
    caption_turns,
    document_turns,
    make_sample,
)
from curation.sources.files import INLINE_BYTES, FileSource, InputFile, bad_sample, ranged_media, read_range
from curation.sources.jsonl import named_fields
from curation.sources.lines import parse_object
from curation.sources.tar import Group, Member, tar_groups

IMAGE_SUFFIXES = frozenset(["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"])
VIDEO_SUFFIXES = frozenset(["mp4", "webm", "mkv", "mov", "avi", "m4v", "mpg", "mpeg"])
# Longest text or metadata member.
MAX_TEXT_BYTES = 16 << 20
_NUMBERED = re.compile(r"(?:.*\.)?(\d+)\.\w+$")


@dataclass(frozen=True, kw_only=True)
class WebDatasetSource(FileSource):
    """One sample per key: images by number ("0.jpg", "1.jpg"), then as they lie; then videos; and a caption.

    captions: where the caption stands, first hit wins: a member suffix ("txt"), or a field of the metadata
    ("json:caption"). A sample with none of them is bad, one whose caption is empty is not. A sample without media is a
    text document. id, licence, url: fields of the metadata ("id" or "json:id"), which may be missing; without an id the
    key is the name.

    Other members are ignored. Compressed tars are refused: nothing in them can be read in place.
    """

    captions: tuple[str, ...] = ("txt", "json:caption", "json:text")
    id: str = ""
    licence: str = "license"
    url: str = "url"

    SUFFIXES: ClassVar[tuple[str, ...]] = (".tar",)

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """Runs of keys of one tar, from its headers.

        Raises:
            RecipeError: a tar is compressed.
        """
        return [part for file in self.inputs() for part in self._parts(file, limits)]

    def _parts(self, file: InputFile, limits: PartLimits) -> list[Part]:
        if file.name.lower().endswith((".gz", ".tgz", ".zst", ".bz2", ".xz")):
            raise RecipeError(
                f"{self.name}: {file.name} is compressed: nothing can be read in place. Unpack it to a .tar"
            )
        try:
            groups = tar_groups(file.uri)
        except OSError:
            return [Part(uri=file.uri, begin=0, end=1, rows=1, bytes=file.size)]
        parts: list[Part] = []
        begin, size = 0, 0
        for index, group in enumerate(groups):
            weight = sum(member.size for _, member in group.members)
            if index > begin and (index - begin >= limits.rows or size + weight > limits.bytes):
                parts.append(Part(uri=file.uri, begin=begin, end=index, rows=index - begin, bytes=size))
                begin, size = index, 0
            size += weight
        if groups:
            parts.append(Part(uri=file.uri, begin=begin, end=len(groups), rows=len(groups) - begin, bytes=size))
        return parts

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The samples of a run of keys."""
        try:
            groups = tar_groups(part.uri)[part.begin : part.end]
        except OSError as error:
            yield bad_sample(self.origin(part.uri), error, f"cannot be opened: {error.strerror}")
            return
        for group in groups:
            yield self._sample(part.uri, group)

    def _sample(self, uri: str, group: Group) -> Sample | BadSample:
        name = group.key.encode("utf-8", "backslashreplace").decode()
        origin = self.origin(uri, group.offset, name=name)
        try:
            if group.fault:
                raise SampleError(group.fault)
            fields = self._metadata(uri, group)
            wanted = {"name": self.id, "licence": self.licence, "url": self.url}
            named = named_fields(fields, **{key: field.removeprefix("json:") for key, field in wanted.items()})
            origin = self.origin(uri, group.offset, **named | {"name": named["name"] or name})
            media = _media(uri, group)
            text = self._caption(uri, group, fields)
            turns = caption_turns(text, [medium.kind for medium in media]) if media else document_turns(text)
            return make_sample(origin, turns, media)
        except SampleError as error:
            return bad_sample(origin, error, f"{Path(uri).name}: key {name[:200]!r}: {error}")

    def _metadata(self, uri: str, group: Group) -> Mapping[str, Any]:
        member = dict(group.members).get("json")
        return parse_object(_text(uri, member).encode()) if member else {}

    def _caption(self, uri: str, group: Group, fields: Mapping[str, Any]) -> str:
        members = dict(group.members)
        for place in self.captions:
            field = place.removeprefix("json:")
            if field == place and place in members:
                return _text(uri, members[place])
            if field != place and isinstance(fields.get(field), str):
                return fields[field]
        raise SampleError(f"no caption: looked for {', '.join(self.captions)}; set `captions` to where it stands")


def kind_of(suffix: str) -> Kind | None:
    """What a suffix ("jpg", "0.png", "mp4") says of its member, or None."""
    last = suffix.rpartition(".")[2].lower()
    return "image" if last in IMAGE_SUFFIXES else "video" if last in VIDEO_SUFFIXES else None


def _media(uri: str, group: Group) -> list[Media]:
    """Media in the order of their tags; inline while the sample stays small, else by reference."""
    found: list[tuple[Kind, str, Member]] = [
        (kind, suffix, member) for suffix, member in group.members if (kind := kind_of(suffix))
    ]
    found.sort(key=lambda item: (item[0], _order(item[1])))
    inline = sum(member.size for _, _, member in found) <= INLINE_BYTES
    return [member_media(kind, uri, member, inline=inline) for kind, _, member in found]


def member_media(kind: Kind, uri: str, member: Member, *, inline: bool = True) -> Media:
    """A member as a medium.

    Raises:
        SampleError: it is empty or cannot be read.
    """
    if not member.size:
        raise SampleError(f"member {member.name!r} is empty: wanted an encoded {kind}")
    return ranged_media(
        kind, Reference(uri=uri, member=member.name, offset=member.offset, size=member.size), inline=inline
    )


def _order(suffix: str) -> int:
    match = _NUMBERED.match(suffix)
    return int(match[1][:18]) if match else -1


def _text(uri: str, member: Member) -> str:
    if member.size > MAX_TEXT_BYTES:
        raise SampleError(f"member {member.name!r} has {member.size:,} bytes of text, limit {MAX_TEXT_BYTES:,}")
    data = read_range(Reference(uri=uri, member=member.name, offset=member.offset, size=member.size))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SampleError(
            f"member {member.name!r} is not UTF-8 at byte {error.start}: decode it with its real encoding"
        ) from error
