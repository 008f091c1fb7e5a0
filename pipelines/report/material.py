"""Material: what a report is made from: the manifest, what the run recorded of itself, and the ledger."""

import importlib
import importlib.util
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from charts import Bounds
from curation.shards import Manifest, read_manifest
from pipelines.ledger import FIXED, scan_ledger, score_columns
from pipelines.samples import SampleFinder

# Columns that Selects and other operators may add to a ledger and that are no scores of samples.
NOT_SCORES = ("cluster", "group")


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """A finished dataset, opened for looking at it."""

    directory: Path
    manifest: Manifest
    run: Mapping[str, Any]

    @classmethod
    def open(cls, directory: Path, *, price: float | None = None) -> "Material":
        """Read the manifest and report.json, into which a price of a worker hour is put.

        Raises:
            FileNotFoundError: the directory holds no finished dataset.
        """
        path = directory / "report.json"
        run = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        run |= {} if price is None else {"price": price}
        return cls(directory=directory, manifest=read_manifest(directory), run=run)

    @cached_property
    def ledger(self) -> pl.LazyFrame:
        """The whole ledger, lazily."""
        return scan_ledger(self.directory)

    @cached_property
    def scores(self) -> list[str]:
        """Scores in the recipe's order: columns of numbers that are none of the fixed ones."""
        schema = self.ledger.collect_schema()
        return [n for n in score_columns(self.ledger) if schema[n].is_numeric() and n.lower() not in NOT_SCORES]

    @cached_property
    def finder(self) -> SampleFinder:
        """Finds samples of this dataset."""
        return SampleFinder(directory=self.directory)

    @cached_property
    def branches(self) -> list[str]:
        """Names of the branches, in the recipe's order."""
        return [branch["name"] for branch in self.manifest.recipe["branches"]]

    def operators(self, branch: str) -> list[Mapping[str, Any]]:
        """The resolved operators of a branch, in order."""
        return next((b["operators"] for b in self.manifest.recipe["branches"] if b["name"] == branch), [])

    def bounds(self, branch: str, score: str) -> Bounds | None:
        """The bounds that the branch puts on a score; None when it has no such filter."""
        settings = next((o for o in self.operators(branch) if o["name"] == score), None)
        return None if settings is None else Bounds(low=settings.get("low"), high=settings.get("high"))

    def describe(self, operator: str) -> str:
        """The first line of an operator's docstring: the quantity and its unit. Only our own operators are looked up, since a manifest may
        come from anywhere; "" for others.
        """
        module, _, name = operator.rpartition(".")
        if not module.startswith("curation.") or importlib.util.find_spec(module) is None:
            return ""
        text = inspect.getdoc(getattr(importlib.import_module(module), name, None)) or ""
        return " ".join(text.split("\n\n")[0].split())

    def rows(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """Ledger rows by id."""
        found = self.ledger.filter(pl.col("id").is_in(ids)).collect(engine="streaming")
        return {row["id"]: row for row in found.iter_rows(named=True)}

    def extras(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a row says beyond the fixed columns, without what is not known."""
        return {name: value for name, value in row.items() if name not in FIXED and value is not None}
