"""Base: signatures of an earlier dataset, against which later data are held without reading the old again.

A base is a directory of tables (`vl3-curate signatures`). Its samples stand before all others, whatever their scores, and are never
dropped: what is alike one of them is dropped for it.
"""

import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from curation.operator import OperatorError, RecipeError, Select, digest

# What a directory of a base holds beside its tables: the settings that its signatures were taken with.
BASE_SETTINGS = "base.json"
_WORST, _BASE = float("-inf"), float("inf")


@dataclass(frozen=True, kw_only=True)
class BasedSelect(Select):
    """A Select that can hold samples against a base.

    best: name of the score whose highest value survives; missing and NaN scores rank last. base: directory of a base, or "".
    """

    # Columns of the signature.
    COLUMNS: ClassVar[Collection[str]]

    best: str | None = None
    base: str = ""

    def settings(self) -> dict[str, Any]:
        """As of any operator, and the content of the base instead of where it lies."""
        settings = super().settings()
        if self.base:
            settings["base"] = digest(_read_settings(Path(self.base)))
        return settings

    def scored(self, table: pl.DataFrame, *, base: bool = False) -> pl.DataFrame:
        """The table with `score`, higher is better: inf of a base, finite or -inf (missing) of all others.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        if base or self.best is None:
            return table.with_columns(score=pl.lit(_BASE if base else 0.0))
        if self.best not in table.columns:
            raise OperatorError(
                f"{self.name}: no score {self.best!r}, only {', '.join(table.columns)}: put its filter first"
            )
        score = pl.col(self.best).cast(pl.Float64).fill_nan(_WORST).fill_null(_WORST)
        return table.with_columns(score=score.clip(upper_bound=sys.float_info.max))

    def comparable(self, table: pl.DataFrame) -> pl.DataFrame:
        """Samples that may have duplicates at all; a base keeps no others."""
        return table.drop_nulls(list(self.COLUMNS))

    def base_files(self) -> list[Path]:
        """Tables of the base, in order.

        Raises:
            RecipeError: it is no base, or was made with other settings.
        """
        if not self.base:
            return []
        theirs, ours = _read_settings(Path(self.base))["signature"], self.signature_settings()
        if different := sorted(key for key in theirs | ours if theirs.get(key) != ours.get(key)):
            pairs = ", ".join(f"{key} {theirs.get(key)!r} there, {ours.get(key)!r} here" for key in different)
            raise RecipeError(
                f"{self.name}: base {self.base} was made with other settings: {pairs}. Use the same, or make it again"
            )
        return sorted(Path(self.base).glob("*.parquet"))

    def base_table(self, file: Path) -> pl.DataFrame:
        """`id` and the signature columns of samples of the base."""
        return pl.read_parquet(file, columns=["id", *self.COLUMNS], glob=False)

    def with_base(self, table: pl.DataFrame) -> pl.DataFrame:
        """`id`, the signature columns and `score` of a table's samples and of the base's."""
        columns = ["id", *self.COLUMNS, "score"]
        tables = [self.scored(table).select(columns)]
        tables += [self.scored(self.base_table(file), base=True).select(columns) for file in self.base_files()]
        return pl.concat(tables, how="vertical_relaxed")

    def write_base(self, tables: Iterator[pl.DataFrame], directory: Path) -> int:
        """Keep signatures as a base for later runs; returns how many. Each table has `id` and the signature columns."""
        directory.mkdir(parents=True, exist_ok=True)
        rows, files = 0, {}
        for number, table in enumerate(tables):
            table = self.comparable(table.select("id", *self.COLUMNS)).sort("id")
            table.write_parquet(directory / f"{number:06d}.parquet")
            files[f"{number:06d}.parquet"] = digest(table["id"].to_list())
            rows += len(table)
        settings = {"signature": self.signature_settings(), "rows": rows, "files": files}
        (directory / BASE_SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return rows


def num_of_base(table: pl.DataFrame) -> int:
    """How many samples of a table with `score` are of a base; best first, they come first."""
    return int((table["score"] == _BASE).sum())


def of_base(scores: pl.Series) -> pl.Series:
    """Whose scores are those of a base, bool."""
    return scores == _BASE


def _read_settings(directory: Path) -> dict[str, Any]:
    try:
        settings = json.loads((directory / BASE_SETTINGS).read_text(encoding="utf-8"))
        if isinstance(settings["signature"], dict):
            return settings
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise RecipeError(f"base {directory}: no readable {BASE_SETTINGS}: make it with `vl3-curate signatures`")
