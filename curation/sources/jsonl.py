"""JsonlSource: text documents, one JSON object per line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from curation.operator import Part, PartLimits
from curation.sample import BadSample, Sample, SampleError, document_turns, make_sample
from curation.sources.files import FileSource, bad_sample
from curation.sources.lines import Line, LineCounter, cut_lines, parse_object, read_lines


@dataclass(frozen=True, kw_only=True)
class JsonlSource(FileSource):
    """One text document per line of plain, gzip or Zstandard files. Blank lines are no samples.

    text: field of the document. id, licence, url: fields of origin, "" for none; they may be missing in a line.
    """

    text: str = "text"
    id: str = ""
    licence: str = ""
    url: str = ""

    SUFFIXES: ClassVar[tuple[str, ...]] = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson")

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """Byte ranges of plain files; a compressed file is one part, since it can only be read from its beginning."""
        return [part for file in self.inputs() for part in cut_lines(file, limits)]

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The documents whose lines start in the part."""
        try:
            with LineCounter(part.uri) as counter:
                for line in read_lines(part):
                    yield self._sample(part.uri, line, counter)
        except OSError as error:
            yield bad_sample(self.origin(part.uri), error, f"cannot be opened: {error.strerror}")

    def _sample(self, uri: str, line: Line, counter: LineCounter) -> Sample | BadSample:
        origin = self.origin(uri, line.offset)
        try:
            if line.fault:
                raise SampleError(line.fault)
            fields = parse_object(line.data)
            origin = self.origin(
                uri, line.offset, **named_fields(fields, name=self.id, licence=self.licence, url=self.url)
            )
            text = fields.get(self.text)
            if not isinstance(text, str):
                raise SampleError(f"field {self.text!r} is {type(text).__name__}: wanted a string")
            return make_sample(origin, document_turns(text))
        except SampleError as error:
            return bad_sample(origin, error, f"{counter.where(line.offset)}: {error}")


def named_fields(fields: Mapping[str, Any], **names: str) -> dict[str, str]:
    """Some fields of an object as strings, "" where it has none."""
    values = {key: fields.get(name) if name else None for key, name in names.items()}
    return {key: "" if value is None else str(value) for key, value in values.items()}
