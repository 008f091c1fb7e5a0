"""Measure: all measures of a few files as a table, for people who choose bounds."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curation.batch import Batch
from curation.filters.catalogue import filters_without_weights
from curation.media.formats import IMAGES, sniff
from curation.media.probe import probe_media
from curation.operator import Filter, OperatorError, PartLimits, RecipeError, Source
from curation.sample import BadSample, Media, Origin, Sample, SampleError, caption_turns, document_turns, make_sample
from curation.sources import ConversationSource, FolderMedia, JsonlSource
from pipelines.steps import FilterStep, attempt

_TEXT_SUFFIXES = (".txt", ".md", ".text")
_LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst")
# A medium without a caption has nothing to say to these.
_TEXT_MODULES = ("rules", "text", "caption", "quality", "language", "conversation", "answers")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of every sample: `values` holds numbers, None where the measure does not apply, or what went wrong."""

    operator: Filter
    values: list[float | str | None]

    def verdict(self, value: float | str | None) -> str:
        """Why the default bounds would drop a sample with this value, "" where they would not."""
        if isinstance(value, str):
            return "error"
        if value is None:
            return ""
        if value != value:
            return "nan"
        low, high = self.operator.low, self.operator.high
        return "below" if low is not None and value < low else "above" if high is not None and value > high else ""


def samples_of(file: Path, *, limit: int) -> Iterator[tuple[str, Sample | BadSample]]:
    """The samples of a file under the names they are shown by: a picture or a clip with the caption in `NAME.txt` beside it, a text, or
    the first lines of a JSONL file (documents with `text`, or conversations).

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file: give pictures, clips, .txt or .jsonl files")
    origin = Origin(source="measure", locator=str(file), name=file.name)
    try:
        if file.name.lower().endswith(_LINE_SUFFIXES):
            source = _line_source(file)
            lines = (sample for part in source.parts(PartLimits()) for sample in source.read(part))
            for number, sample in enumerate(islice(lines, limit), start=1):
                yield f"{file.name}#{number}", _probed(sample)
        elif file.name.lower().endswith(_TEXT_SUFFIXES):
            yield file.name, make_sample(origin, document_turns(file.read_text(encoding="utf-8")))
        else:
            yield file.name, _medium_sample(file, origin)
    except (SampleError, UnicodeDecodeError) as error:
        yield file.name, BadSample(origin=origin, error=type(error).__name__, message=str(error))


def _probed(sample: Sample | BadSample) -> Sample | BadSample:
    """With the header facts of its media, which a run takes in its first pass."""
    try:
        return sample if isinstance(sample, BadSample) else replace(sample, media=tuple(map(probe_media, sample.media)))
    except SampleError as error:
        return BadSample(origin=sample.origin, error=type(error).__name__, message=str(error))


def _line_source(file: Path) -> Source:
    source = JsonlSource(str(file))
    first = next((s for part in source.parts(PartLimits()) for s in source.read(part)), None)
    if isinstance(first, Sample):
        return source
    return ConversationSource(str(file), media=(FolderMedia(folder=str(file.parent)),))


def _medium_sample(file: Path, origin: Origin) -> Sample:
    data = file.read_bytes()
    kind = "image" if sniff(data) in IMAGES else "video"
    beside = file.with_suffix(".txt")
    caption = beside.read_text(encoding="utf-8").strip() if beside.is_file() else ""
    return make_sample(origin, caption_turns(caption, [kind]), [probe_media(Media(kind=kind, data=data))])


Stretches = dict[str, list[tuple[float, float]]]  # shots, black and frozen stretches of a clip, in seconds


def measure_samples(batch: Batch) -> tuple[list[Measured], list[str]]:
    """Every measure that applies to one of the samples, and the names of those that could not be taken, with the reason."""
    rows, left_out = [], []
    samples = batch.samples
    for operator in filters_without_weights():
        try:
            step = FilterStep(name=operator.name, measure="", operator=operator)
            values = attempt(step, batch)
        except (OperatorError, RecipeError) as error:
            left_out.append(f"{operator.name}: {error}")
            continue
        batch.errors.clear()
        shown = [_shown(operator, sample, value) for sample, value in zip(samples, values, strict=True)]
        if any(value is not None for value in shown):
            rows.append(Measured(operator=operator, values=shown))
    return rows, left_out


def _shown(operator: Filter, sample: Sample, value: float | SampleError | None) -> float | str | None:
    says_nothing = sample.media and not sample.text()
    if says_nothing and type(operator).__module__.rpartition(".")[2] in _TEXT_MODULES:
        return None
    return str(value).splitlines()[0] if isinstance(value, SampleError) else value


def stretches_of(batch: Batch, index: int) -> Stretches:
    """Where shots, black and frozen stretches of a sample's clips lie; empty without clips, or where one does not decode."""
    found: Stretches = {}
    for number, medium in enumerate(batch.samples[index].media):
        if medium.kind == "video":
            try:
                look = batch.scan(index, number).look
            except SampleError:
                return {}
            for name, spans in (
                ("shots", look.shots),
                ("black", look.black_stretches),
                ("frozen", look.frozen_stretches),
            ):
                found.setdefault(name, []).extend(spans)
    return found


def measure(options: argparse.Namespace) -> int:
    """Print all measures of the files, and of clips their stretches; exit 1 where a file could not be read."""
    found = [pair for file in options.files for pair in samples_of(file, limit=options.lines)]
    names = [name for name, sample in found if isinstance(sample, Sample)]
    samples = [sample for _, sample in found if isinstance(sample, Sample)]
    bad = {name: f"{sample.error}: {sample.message}" for name, sample in found if isinstance(sample, BadSample)}
    batch = Batch(samples)
    rows, left_out = measure_samples(batch)
    stretches = {name: found for index, name in enumerate(names) if (found := stretches_of(batch, index))}
    if options.json:
        values = {row.operator.name: dict(zip(names, map(_jsonable, row.values), strict=True)) for row in rows}
        told = {"measures": values, "stretches": stretches, "errors": bad, "left_out": left_out}
        print(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        _print(names, rows, bad, left_out)
        for name, found in stretches.items():
            for kind, spans in found.items():
                listed = "  ".join(f"{first:.2f}-{last:.2f}" for first, last in spans)
                print(f"{name}: {kind}, seconds: {listed or 'none'}")
    return 1 if bad else 0


def _jsonable(value: float | str | None) -> float | str | None:
    return str(value) if isinstance(value, float) and not -float("inf") < value < float("inf") else value


def _print(names: Sequence[str], rows: Sequence[Measured], bad: dict[str, str], left_out: Sequence[str]) -> None:
    # In a log nothing is cut or folded to a terminal that is not there.
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 80 + 24 * len(names))
    table = Table(box=None, header_style="bold")
    for column in ("", "bounds", *names):
        table.add_column(escape(column), justify="left" if column in ("", "bounds") else "right", no_wrap=column == "")
    for row in rows:
        cells = [_cell(row, value) for value in row.values]
        table.add_row(escape(row.operator.name), _bounds(row.operator), *cells)
    if names:
        console.print(table)
    for name, message in bad.items():
        console.print(f"{name}: {message}", style="red", markup=False, highlight=False)
    for message in left_out:
        console.print(f"left out: {message}", style="dim", markup=False, highlight=False)


def _cell(row: Measured, value: float | str | None) -> str:
    text = escape(value or "") if value is None or isinstance(value, str) else _number(value)
    verdict = row.verdict(value)
    said = text if verdict == "nan" else f"{text} {verdict}"
    return f"[red]{said}[/]" if verdict else text


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _bounds(operator: Filter) -> str:
    low, high = operator.low, operator.high
    return (
        f"{'' if low is None else f'{low:g}'} .. {'' if high is None else f'{high:g}'}"
        if (low, high) != (None, None)
        else ""
    )
