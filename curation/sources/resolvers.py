"""Resolvers: where a conversation's media names lead: a folder, the members of tars, or a column of Parquet files.

An index of names is built once per process and kept while the files do not change.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pyarrow as pa

from curation.media.cells import open_parquet
from curation.media.read import read_reference
from curation.operator import RecipeError
from curation.sample import Kind, Media, Reference, SampleError
from curation.sources.files import contained_file, find_files, ranged_media
from curation.sources.parquet import as_bytes
from curation.sources.tar import TarError, walk
from curation.uris import stat_uri

Repeats = Literal["refuse", "first"]
Version = tuple[tuple[str, int, str], ...]
Find = Callable[[str, Kind], Media | None]
# Where a name leads: file, offset of the bytes (tar) or row (Parquet), size in bytes (0 = unknown), and how often it
# stands there.
Place = tuple[str, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Resolver(ABC):
    """Finds media by the names that conversations use."""

    @abstractmethod
    def files(self) -> Sequence[str]:
        """The files that the media come from, for the source's fingerprint."""

    @abstractmethod
    def open(self) -> Find:
        """Called once per part; returns the function that looks names up.

        It gives the medium of a name, or None if it is not here, and raises SampleError if the name is unsafe or
        ambiguous or the bytes cannot be read.
        """

    @abstractmethod
    def where(self) -> str:
        """For messages: where was looked."""


@dataclass(frozen=True, kw_only=True)
class FolderMedia(Resolver):
    """Files below a folder. Names that lead out of it, by "..", absolute or through links, are refused.

    The folder may hold millions of files, so they are no part of the fingerprint: a changed picture changes its
    samples' ids, but not what is known to be done.
    """

    folder: str

    def files(self) -> Sequence[str]:
        """None: see the class."""
        return ()

    def open(self) -> Find:
        """Looks names up in the folder."""

        def find(name: str, kind: Kind) -> Media | None:
            place = contained_file(self.folder, name)
            if place is None:
                return None
            return ranged_media(kind, Reference(uri=str(place), size=_not_empty(name, place.stat().st_size)))

        return find

    def where(self) -> str:
        """The folder's name."""
        return Path(self.folder).name


@dataclass(frozen=True, kw_only=True)
class TarMedia(Resolver):
    """Members of tars, by their whole name. tars: a file, folder or glob.

    repeats: what to do about a name that stands twice.
    """

    tars: str
    repeats: Repeats = "refuse"

    def files(self) -> Sequence[str]:
        """The tars."""
        return [file.uri for file in find_files(self.tars, (".tar",), who=type(self).__name__)]

    def open(self) -> Find:
        """Looks names up among the members."""
        index = _tar_index(_version(self.files()))

        def find(name: str, kind: Kind) -> Media | None:
            place = index.get(name)
            if place is None:
                return None
            uri, offset, size, _ = _unique(name, place, self.repeats)
            return ranged_media(kind, Reference(uri=uri, member=name, offset=offset, size=_not_empty(name, size)))

        return find

    def where(self) -> str:
        """The tars' pattern."""
        return Path(self.tars).name


@dataclass(frozen=True, kw_only=True)
class ParquetMedia(Resolver):
    """Rows of Parquet files, by a column of names. Only that column is read to find them.

    paths: a file, folder or glob. column: of names. image: column of encoded bytes, or of structs {bytes, path}; both
    may be dotted ("image.path"). repeats: what to do about a name that stands twice.
    """

    paths: str
    column: str = "file_name"
    image: str = "image"
    repeats: Repeats = "refuse"

    def files(self) -> Sequence[str]:
        """The Parquet files."""
        return [file.uri for file in find_files(self.paths, (".parquet",), who=type(self).__name__)]

    def open(self) -> Find:
        """Looks names up in the column."""
        index = _parquet_index(self.column, self.image, _version(self.files()))

        def find(name: str, kind: Kind) -> Media | None:
            place = index.get(name)
            if place is None:
                return None
            uri, row, _, _ = _unique(name, place, self.repeats)
            member = _bytes_member(uri, self.image)
            data = read_reference(Reference(uri=uri, member=member, offset=row))
            size = _not_empty(name, len(data))
            return Media(kind=kind, data=data, reference=Reference(uri=uri, member=member, offset=row, size=size))

        return find

    def where(self) -> str:
        """The files' pattern and column."""
        return f"{Path(self.paths).name} ({self.column})"


def _version(uris: Sequence[str]) -> Version:
    return tuple((uri, *stat_uri(uri)) for uri in uris)


def _not_empty(name: str, size: int) -> int:
    if not size:
        raise SampleError(f"names {name!r}, which is empty: wanted an encoded picture or clip")
    return size


def _unique(name: str, place: Place, repeats: Repeats) -> Place:
    if place[3] > 1 and repeats == "refuse":
        raise SampleError(
            f"names {name!r}, which stands {place[3]} times: rename, or set repeats='first' if all are the same"
        )
    return place


def _add(index: dict[str, Place], name: str, place: Place) -> None:
    known = index.get(name)
    index[name] = (*known[:3], known[3] + 1) if known else place


@lru_cache(maxsize=4)
def _tar_index(version: Version) -> Mapping[str, Place]:
    index: dict[str, Place] = {}
    for uri, _, _ in version:
        try:
            for member in walk(uri):
                if not member.fault:
                    _add(index, member.name, (uri, member.offset, member.size, 1))
        except (TarError, OSError):  # what lies behind the fault is not found, which every sample that wants it says
            continue
    return index


@lru_cache(maxsize=4)
def _parquet_index(column: str, image: str, version: Version) -> Mapping[str, Place]:
    index: dict[str, Place] = {}
    for uri, _, _ in version:
        try:
            with open_parquet(uri) as file:
                for wanted in (column, image):
                    if wanted.split(".")[0] not in file.schema_arrow.names:
                        found = ", ".join(file.schema_arrow.names)
                        raise RecipeError(f"ParquetMedia: {Path(uri).name} has no column {wanted!r} but {found}")
                row = 0
                for batch in file.iter_batches(1 << 16, columns=[column], use_threads=False):
                    for value in _names(batch.column(0), column):
                        if value is not None:
                            _add(index, value.decode("utf-8", "surrogateescape"), (uri, row, 0, 1))
                        row += 1
        except (pa.ArrowException, OSError):  # as above
            continue
    return index


def _names(array: pa.Array, column: str) -> list[bytes | None]:
    for field in column.split(".")[1:]:
        array = array.field(field)
    return as_bytes(array).to_pylist()


@lru_cache(maxsize=256)
def _bytes_member(uri: str, image: str) -> str:
    with open_parquet(uri) as file:
        schema = file.schema_arrow
        struct = image in schema.names and pa.types.is_struct(schema.field(image).type)
    return f"column:{image}.bytes" if struct else f"column:{image}"
