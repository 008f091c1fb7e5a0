"""Measures: what was ever measured of a part, kept so that bounds can change without measuring again.

One file per part, outside of the commits: a cache that may be deleted, and whose content never changes a result, because a measure is
a function of the sample alone. Keyed by the measure's identity (bounds left out) and the row. Failures are remembered too, unless a
later try may succeed.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curation.sample import SampleError
from curation.uris import atomic
from pipelines.store import read_frame

Known = dict[int, Any]  # row -> a number, None, text, a JSON value; or the SampleError it failed with

_SCHEMA = {"measure": pl.String, "row": pl.Int32, "state": pl.String, "number": pl.Float64, "text": pl.String}


class Measures:
    """The measured values of one part: `known(id)` maps rows to values; values put there are saved."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Known] = {}
        self._changed = False
        if path.exists():
            self._load(read_frame(path))

    def known(self, measure: str) -> Mapping[int, Any]:
        """Values of one measure by row."""
        return self._known.get(measure, {})

    def put(self, measure: str, values: Iterable[tuple[int, Any]]) -> None:
        """Remember values; failures that may succeed later are left out."""
        known = self._known.setdefault(measure, {})
        for row, value in values:
            if not (isinstance(value, SampleError) and value.retryable):
                known[row] = value
                self._changed = True

    def forget_failures(self) -> int:
        """Forget every failure, so that those samples are tried again; returns how many there were."""
        failed = [
            (m, row)
            for m, known in self._known.items()
            for row, value in known.items()
            if isinstance(value, SampleError)
        ]
        for measure, row in failed:
            del self._known[measure][row]
        self._changed |= bool(failed)
        return len(failed)

    def save(self) -> None:
        """Write what is new, atomically."""
        if not self._changed:
            return
        rows = [
            (m, row, *_stored(value))
            for m, known in sorted(self._known.items())
            for row, value in sorted(known.items())
        ]
        table = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
        with atomic(self._path) as temporary:
            table.write_parquet(temporary, compression="zstd")
        self._changed = False

    def _load(self, table: pl.DataFrame) -> None:
        for measure, row, state, number, text in table.iter_rows():
            self._known.setdefault(measure, {})[row] = _restored(state, number, text)


def _stored(value: Any) -> tuple[str, float | None, str | None]:
    """(state, number, text) of a value."""
    if isinstance(value, SampleError):
        return "error", None, json.dumps([value.kind, str(value)], ensure_ascii=False)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return "number", value, None
    return "json", None, json.dumps(value, ensure_ascii=False)


def _restored(state: str, number: float | None, text: str | None) -> Any:
    if state == "error":
        kind, message = json.loads(text or "null")
        return SampleError(message, kind=kind)
    return number if state == "number" else json.loads(text or "null")
