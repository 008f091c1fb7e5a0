"""Partitioned: Selects that pair samples under keys, so that no worker ever holds them all.

    keys        per part        numbers under which a sample may meet its duplicates, and a sketch to compare it by
    pairs       per key range   samples that met under a key and are alike
    survivors   once            from the pairs alone

`choose` does all of it in memory; the runner does the same in tasks. Both give the same answer, for any number of parts and key ranges.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from curation.operator import OperatorError, RecipeError, Select, digest
from curation.select.crowds import crowds_of
from curation.select.survivors import dropped_table

# What a directory of a base holds beside its tables: the settings that its signatures were taken with.
BASE_SETTINGS = "base.json"


@dataclass(frozen=True, kw_only=True)
class PartitionedSelect(Select):
    """Groups samples that are alike and keeps one of each group: the best score, then the smallest id.

    best: name of the score whose highest value survives (None: the smallest id alone); missing and NaN scores rank last.
    base: a directory of signatures of an earlier dataset (`vl3-curate signatures`). Its samples are not read again and stand before all
    others: what is alike one of them is dropped for it.
    """

    # Columns of the signature. A sample with a null in one of them is nobody's duplicate.
    COLUMNS: ClassVar[tuple[str, ...]]

    best: str | None = None
    base: str = ""

    @property
    @abstractmethod
    def alike(self) -> float:
        """Least share of equal bytes of two sketches for samples to be duplicates, in [0, 1]."""

    @abstractmethod
    def keys(self, table: pl.DataFrame) -> np.ndarray:
        """uint64 [N, B]: keys of each sample; only samples that share one are compared."""

    @abstractmethod
    def sketches(self, table: pl.DataFrame) -> np.ndarray:
        """uint8 [N, W]: the share of equal bytes says how alike two samples are."""

    @abstractmethod
    def signature_settings(self) -> dict[str, Any]:
        """What the signature columns depend on: a base must have been made with the same."""

    def settings(self) -> dict[str, Any]:
        """As of any operator, and the content of the base instead of where it lies."""
        settings = super().settings()
        if self.base:
            settings["base"] = digest(_read_settings(Path(self.base)))
        return settings

    def scores(self, table: pl.DataFrame) -> np.ndarray:
        """float64 [N], higher is better; -inf where missing.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        if self.best is None:
            return np.zeros(len(table))
        if self.best not in table.columns:
            raise OperatorError(
                f"{self.name}: no score {self.best!r}, only {', '.join(table.columns)}: put its filter first"
            )
        worst = float("-inf")
        return table[self.best].cast(pl.Float64).fill_nan(worst).fill_null(worst).to_numpy()

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

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `choose_and_tell`."""
        return self.choose_and_tell(table)[0]

    def choose_and_tell(self, table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """All of each group but its survivor, sorted by id, with the survivor as `duplicate_of`. At once, in memory.

        `similarity` is the share of equal bytes of their sketches.
        """
        from curation.select.linking import Nodes, Pairs, link, shared_keys, similarities, survivors

        table = table.drop_nulls(self.COLUMNS)
        tables = [(table, self.scores(table), False)]
        tables += [(theirs, np.zeros(len(theirs)), True) for theirs in map(self.base_table, self.base_files())]
        nodes = Nodes.concat([
            Nodes(ids=each["id"], scores=scores, fixed=np.full(len(each), fixed), sketches=self.sketches(each))
            for each, scores, fixed in tables
        ])  # fmt: skip
        keys = np.concatenate([self.keys(each) for each, _, _ in tables])
        ranks = nodes.ranks()
        found = []
        for column in range(keys.shape[1]):
            shared = shared_keys(keys[:, column])
            found.append(link(keys[shared, column], shared, nodes, ranks, low=self.alike))
        pairs = Pairs.concat(found)
        stands = survivors(pairs, nodes, ranks, low=self.alike)
        dropped = dropped_table(nodes.ids, stands, similarities(nodes.sketches, np.arange(len(nodes)), stands))
        return dropped, crowds_of(nodes.ids, pairs.crowds)

    def write_base(self, tables: Iterator[pl.DataFrame], directory: Path) -> int:
        """Keep signatures as a base for later runs; returns how many. Each table has `id` and the signature columns."""
        directory.mkdir(parents=True, exist_ok=True)
        rows, files = 0, {}
        for number, table in enumerate(tables):
            table = table.select("id", *self.COLUMNS).drop_nulls().sort("id")
            table.write_parquet(directory / f"{number:06d}.parquet")
            files[f"{number:06d}.parquet"] = digest(table["id"].to_list())
            rows += len(table)
        settings = {"signature": self.signature_settings(), "rows": rows, "files": files}
        (directory / BASE_SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return rows


def _read_settings(directory: Path) -> dict[str, Any]:
    try:
        settings = json.loads((directory / BASE_SETTINGS).read_text(encoding="utf-8"))
        if isinstance(settings["signature"], dict):
            return settings
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise RecipeError(f"base {directory}: no readable {BASE_SETTINGS}: make it with `vl3-curate signatures`")
