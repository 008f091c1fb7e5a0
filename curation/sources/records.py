"""RecordSource: corpora whose samples are told by records: what a record is, and what becomes of it, are two settings.

    records   where records lie: JSON lists, lines and maps, Parquet rows, tar keys, tables, one file each, joined annotations
    form      what a record becomes: a caption, questions, boxes, a page in reading order, moments, a stream (curation.forms)
    media     where the names in a record lead (curation.sources.resolvers)

so that a published dataset is a value, not a class. A record may become several samples or none.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from curation.media.excerpt import cut_clip, excerpt_reference
from curation.media.pages import PAGE
from curation.media.read import read_reference
from curation.operator import Part, PartLimits, jsonable
from curation.sample import BadSample, Kind, Media, Reference, Sample, SampleError, Turn, make_sample
from curation.sources.files import FileSource, InputFile, bad_sample, find_files, ranged_media
from curation.sources.resolvers import Find, Resolver

# What a reader gives for a record: its fields. Encoded media in it are `Encoded`.
Record = Mapping[str, Any]
# Samples of one record; real ones have at most the questions about one picture.
MAX_SAMPLES_PER_RECORD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Encoded bytes that stand in a record: a cell of a Parquet file, or a member of a tar (then `data` is None)."""

    reference: Reference
    data: bytes | None = None

    def page(self, number: int) -> "Encoded":
        """A page of this PDF, counted from 0, as a picture that is rendered when it is read."""
        place = self.reference
        return Encoded(reference=replace(place, member=f"{PAGE}{number}:{place.size}:{place.member}", size=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of a clip, from `begin` to `end` seconds: a clip of its own, cut when it is read."""

    clip: str | Encoded
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A sample as a form writes it: turns with tags, and in their order the media, by name or encoded.

    name: the id the corpus gives it; licence and url as the record states them.
    """

    turns: tuple[Turn, ...]
    media: tuple[tuple[Kind, str | Encoded | Stretch], ...] = ()
    name: str = ""
    licence: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Form(ABC):
    """What a record becomes. Forms are frozen values; the same record gives the same drafts."""

    # Raised whenever the code would write other turns for the same settings.
    VERSION: ClassVar[int] = 1

    @abstractmethod
    def drafts(self, record: Record) -> Iterable[Draft]:
        """The samples that the record becomes.

        Raises:
            SampleError: the record is malformed: it is one bad sample.
        """


@dataclass(frozen=True, kw_only=True)
class Records(ABC):
    """Where records lie in a file, and how they are read. SINGLE: every file is one record, so files share parts."""

    SUFFIXES: ClassVar[tuple[str, ...]] = ()
    SINGLE: ClassVar[bool] = False

    def companions(self, file: InputFile) -> Sequence[str]:
        """Further files that the records of this one depend on."""
        del file
        return ()

    @abstractmethod
    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """The file cut into parts."""

    @abstractmethod
    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """Records of a part with their place, which must not depend on how parts are cut.

        Raises:
            OSError: the file cannot be opened.
        """


@dataclass(frozen=True, kw_only=True)
class RecordSource(FileSource):
    """Samples from records. See the module; `path` names the files of records, `media` where their media lie.

    terms: licence of samples that state none.
    """

    records: Records
    form: Form
    media: tuple[Resolver, ...] = ()
    terms: str = ""

    def inputs(self) -> tuple[InputFile, ...]:
        """The files of records, sorted by name."""
        return find_files(self.path, self.records.SUFFIXES, who=self.name)

    def settings(self) -> dict[str, Any]:
        """As every operator's, with the version of the form, which is part of what is read."""
        return super().settings() | {
            "form": {"form": type(self.form).__name__, "version": self.form.VERSION} | _fields(self.form),
            "records": {"records": type(self.records).__name__} | _fields(self.records),
            "media": [{"resolver": type(resolver).__name__} | _fields(resolver) for resolver in self.media],
        }

    def files(self) -> Sequence[str]:
        """The files of records, what they depend on, and the files of the media."""
        inputs = self.inputs()
        beside = {uri for file in inputs for uri in self.records.companions(file)}
        media = {uri for resolver in self.media for uri in resolver.files()}
        return sorted({*(file.uri for file in inputs), *beside, *media})

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """As the records are cut."""
        files = self.inputs()
        if not self.records.SINGLE:
            return [part for file in files for part in self.records.parts(file, limits)]
        cuts = [(at, min(at + limits.rows, len(files))) for at in range(0, len(files), limits.rows)]
        return [
            Part(uri=self.path, begin=a, end=b, rows=b - a, bytes=sum(file.size for file in files[a:b]))
            for a, b in cuts
        ]

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The samples of a part's records."""
        finders = [resolver.open() for resolver in self.media]
        single = [Part(uri=file.uri) for file in self.inputs()[part.begin : part.end]] if self.records.SINGLE else []
        for piece in single or [part]:
            try:
                for place, record in self.records.read(piece):
                    yield from self._samples(piece.uri, place, record, finders)
            except OSError as error:
                yield bad_sample(self.origin(piece.uri), error, f"cannot be opened: {error.strerror or error}")

    def _samples(
        self, uri: str, place: int | str, record: Record | SampleError, finders: Sequence[Find]
    ) -> Iterator[Sample | BadSample]:
        origin = self.origin(uri, place)
        try:
            if isinstance(record, SampleError):
                raise record
            drafts = list(self.form.drafts(record))
            if len(drafts) > MAX_SAMPLES_PER_RECORD:
                raise SampleError(f"{len(drafts):,} samples in one record, limit {MAX_SAMPLES_PER_RECORD}: cut it up")
        except SampleError as error:
            yield bad_sample(origin, error, f"{Path(uri).name}#{place}: {error}")
            return
        for number, draft in enumerate(drafts):
            spot = f"{place}.{number}" if number else place
            origin = self.origin(uri, spot, name=draft.name, licence=draft.licence or self.terms, url=draft.url)
            try:
                media = [_medium(kind, value, finders, self.media) for kind, value in draft.media]
                yield make_sample(origin, draft.turns, media)
            except SampleError as error:
                yield bad_sample(origin, error, f"{Path(uri).name}#{spot}: {error}")


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _medium(
    kind: Kind, value: str | Encoded | Stretch, finders: Sequence[Find], resolvers: Sequence[Resolver]
) -> Media:
    if isinstance(value, Stretch):
        return _cut(_medium(kind, value.clip, finders, resolvers), value)
    if isinstance(value, Encoded):
        if value.data is None and value.reference.addressable:
            return ranged_media(kind, value.reference)
        if value.data is None:
            return Media(kind=kind, data=read_reference(value.reference), reference=value.reference)
        if not value.data:
            raise SampleError(f"{value.reference.member} holds no bytes: wanted an encoded {kind}. Embed the file")
        return Media(kind=kind, data=value.data, reference=value.reference)
    for find in finders:
        if medium := find(value, kind):
            return medium
    looked = ", ".join(resolver.where() for resolver in resolvers) or "nowhere: set `media`"
    raise SampleError(f"names {value!r}, not found in {looked}")


def _cut(clip: Media, stretch: Stretch) -> Media:
    """The stretch, encoded anew: it has to begin at its first moment, where a copy begins at a key frame."""
    if clip.reference is None or not clip.reference.addressable:
        raise SampleError("only clips in files and tars can be cut: write this one to a file")
    begin, end = round(1000 * stretch.begin), round(1000 * stretch.end)
    data = cut_clip(clip.data or read_reference(clip.reference), begin=begin, end=end, way="encode")
    place = excerpt_reference(clip.reference, begin=begin, end=end, way="encode", size=len(data))
    return Media(kind="video", data=data, reference=place)
