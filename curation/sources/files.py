"""Files: where sources find their input, how samples are named after it, and how bytes of a range are taken up."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from blake3 import blake3

from curation.operator import RecipeError, Source
from curation.sample import BadSample, Kind, Media, Origin, Reference, SampleError
from curation.uris import find_uris, is_remote, name_of_uri, open_uri, root_of_url

# Media up to this size ride inline with the sample, because their bytes are read for the digest anyway; larger ones are
# only referred to.
INLINE_BYTES = 64 << 20
_MAGIC = "*?["
_BLOCK = 1 << 20
_LINE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file of a source.

    `uri` opens it; `name` is relative to the source's folder, so ids survive a move; size in bytes.
    """

    uri: str
    name: str
    size: int


@dataclass(frozen=True, kw_only=True)
class FileSource(Source):
    """A source over files.

    path: a file, a folder (searched recursively for the source's suffixes) or a glob. title: the source's name in
    origins, by default the last component of `path`; sample ids cover it, so a recipe refuses two sources of one title.
    """

    path: str = field(kw_only=False)
    title: str = ""

    SUFFIXES: ClassVar[tuple[str, ...]] = ()

    def inputs(self) -> tuple[InputFile, ...]:
        """The files, sorted by name.

        Raises:
            RecipeError: there are none.
        """
        return find_files(self.path, self.SUFFIXES, who=self.name)

    def files(self) -> Sequence[str]:
        """Every file that the samples depend on, sorted."""
        return sorted(file.uri for file in self.inputs())

    @property
    def origin_source(self) -> str:
        """What the origins of its samples call this source."""
        return self.title or _last_component(self.path)

    def origin(
        self, uri: str, place: int | str | None = None, *, name: str = "", licence: str = "", url: str = ""
    ) -> Origin:
        """Where a sample lies: `place` is its row, byte offset or the like; none means the file as a whole."""
        file = _name_below(self.path, uri)
        locator = file if place is None else f"{file}#{place}"
        return Origin(
            source=self.origin_source,
            locator=locator,
            name=_line(name) or locator,
            licence=_line(licence),
            url=_line(url),
        )


@lru_cache(maxsize=256)
def _last_component(path: str) -> str:
    return name_of_uri(path) if is_remote(path) else Path(path).expanduser().absolute().name


@lru_cache(maxsize=256)
def _name_below(path: str, uri: str) -> str:
    if is_remote(path):
        return uri.removeprefix(root_of_url(path)).lstrip("/")
    return Path(uri).relative_to(root_of(path)).as_posix()


def find_files(path: str, suffixes: Sequence[str], *, who: str) -> tuple[InputFile, ...]:
    """The files that a path or URL, folder or glob means, sorted by name. Hidden files are no input.

    Raises:
        RecipeError: there is no such file, or its store does not answer.
    """
    files = _remote_files(path, suffixes, who) if is_remote(path) else _local_files(path, suffixes)
    if not files:
        raise RecipeError(
            f"{who}: nothing to read at {path!r}: wanted a file, a folder with {', '.join(suffixes)} files, or a glob"
        )
    return tuple(sorted(files, key=lambda file: file.name))


def _remote_files(path: str, suffixes: Sequence[str], who: str) -> list[InputFile]:
    try:
        return [InputFile(uri=uri, name=name, size=size) for uri, name, size in find_uris(path, suffixes)]
    except OSError as error:
        raise RecipeError(f"{who}: {path}: {error}: check the address and the credentials") from error


def _local_files(path: str, suffixes: Sequence[str]) -> list[InputFile]:
    root, place = root_of(path), Path(path).expanduser().absolute()
    if place.is_file():
        found = [place]
    elif place.is_dir():
        found = [file for file in place.rglob("*") if file.name.lower().endswith(tuple(suffixes))]
    else:
        found = list(root.glob(place.relative_to(root).as_posix())) if root != place else []
    return [
        InputFile(uri=str(file), name=file.relative_to(root).as_posix(), size=file.stat().st_size)
        for file in found
        if file.is_file() and not file.name.startswith(".")
    ]


def root_of(path: str) -> Path:
    """What names are relative to: the folder itself, a file's parent, or a glob's longest part without wildcards."""
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        return place
    parts = place.parts
    plain = next((i for i, part in enumerate(parts) if any(c in part for c in _MAGIC)), len(parts) - 1)
    return Path(*parts[:plain])


def bad_sample(origin: Origin, error: Exception, message: str = "") -> BadSample:
    """What a source yields for a sample it cannot read; grouped by the error that caused it."""
    cause = error.__cause__ or error
    retryable = getattr(error, "retryable", False) or (
        isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    )
    return BadSample(
        origin=origin, error=type(cause).__name__, message=_line(message or str(error)), retryable=retryable
    )


def _line(text: str) -> str:
    """What the input says of itself, fit for tables and terminals: valid Unicode, of bounded length."""
    text = text[:_LINE] if len(text) > _LINE else text
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def read_range(reference: Reference) -> bytes:
    """The bytes of a range of a file.

    Raises:
        SampleError: they cannot be read in full.
    """
    return b"".join(_blocks(reference))


def ranged_media(kind: Kind, reference: Reference, *, inline: bool = True) -> Media:
    """A medium from a range of a file: with its bytes, or else only its digest, taken in one streaming read.

    Raises:
        SampleError: the range cannot be read in full.
    """
    if inline and reference.size <= INLINE_BYTES:
        return Media(kind=kind, reference=reference, data=read_range(reference), size=reference.size)
    hashed = blake3()
    for block in _blocks(reference):
        hashed.update(block)
    return Media(kind=kind, reference=reference, size=reference.size, digest=hashed.hexdigest())


def _blocks(reference: Reference) -> Iterator[bytes]:
    name = reference.member or Path(reference.uri).name
    left = reference.size
    try:
        with open_uri(reference.uri) as file:
            file.seek(reference.offset)
            while left and (block := file.read(min(left, _BLOCK))):
                left -= len(block)
                yield block
    except OSError as error:
        raise SampleError(f"{name}: {error.strerror or error}", retryable=True) from error
    if left:
        raise SampleError(
            f"{name}: {left:,} of {reference.size:,} bytes are missing at the end of the file", retryable=True
        )


def contained_file(folder: str, name: str) -> Path | None:
    """The file `name` inside `folder`, following links; None if there is none.

    Raises:
        SampleError: the name is absolute, climbs out of the folder or reaches out of it by a link, or is no plain file.
    """
    if not safe_name(name):
        raise SampleError(f"unsafe media name {name[:200]!r}: wanted a path inside the media folder, without '..'")
    root = Path(folder).expanduser().resolve()
    try:
        real = (root / name).resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:
        raise SampleError(f"names {name!r}, which cannot be opened: {error}") from error
    if not real.is_relative_to(root):
        raise SampleError(f"names {name!r}, a link that leaves {root.name}: copy the file into the folder")
    if not real.is_file():
        raise SampleError(f"names {name!r}, which is no file")
    return real


def safe_name(name: str, *, longest: int = 1024) -> bool:
    """Whether a path stays where it is put: no root, drive, '..', backslash or control character; not too long."""
    if not name or len(name) > longest or name.startswith("/") or "\\" in name or os.path.splitdrive(name)[0]:
        return False
    return ".." not in name.split("/") and ":" not in name.split("/")[0] and all(c.isprintable() for c in name)
