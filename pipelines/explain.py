"""Explain: the way of one sample, node by node, with its scores and its duplicates."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from rich.markup import escape
from rich.tree import Tree

from curation.shards import read_manifest
from pipelines.ledger import scan_ledger, scan_quarantine


def explain_sample(directory: Path, sample: str) -> list[Tree]:
    """One tree per sample of that id or that origin (a source may give an id twice)."""
    ledger = scan_ledger(directory)
    rows = ledger.filter((pl.col("id") == sample) | (pl.col("origin") == sample)).collect()
    return [_tree(directory, ledger, row) for row in rows.iter_rows(named=True)]


def _tree(directory: Path, ledger: pl.LazyFrame, row: Mapping[str, Any]) -> Tree:
    where = f"in {row['shard']}" if row["decision"] == "kept" else f"because {row['reason']}"
    tree = Tree(f"[bold]{row['id']}[/]  {escape(row['origin'])}  [bold]{row['decision']}[/] {escape(where)}")
    tree.add(escape(f"read by {row['source']} as {row['locator']} (branch {row['branch']}, part {row['part']})"))
    for text in _nodes(directory, row):
        tree.add(escape(text))
    if row["decision"] == "kept":
        tree.add(
            f"{row['text_tokens']:,} text tokens, {row['visual_tokens']:,} visual tokens, {row['visual_tokens_kept']:,} after pruning"
        )
    if row["duplicate_of"]:
        found = ledger.filter(pl.col("id") == row["duplicate_of"]).select("origin", "decision").collect().rows()
        who = f"{found[0][0]} ({found[0][1]})" if found else "(of a benchmark or a base, not of this dataset)"
        tree.add(escape(f"duplicate of {row['duplicate_of']}  {who}{_alike(row['similarity'])}"))
    twins = ledger.filter(pl.col("duplicate_of") == row["id"]).select("id", "origin", "similarity").head(20).collect()
    for twin, origin, similarity in twins.iter_rows():
        tree.add(escape(f"stands for its duplicate {twin}  {origin}{_alike(similarity)}"))
    if row["alternates"]:
        tree.add(f"carries {row['alternates']} other captions of its duplicates")
    if row["decision"] == "quarantined" and (quarantine := scan_quarantine(directory)) is not None:
        for error, message in (
            quarantine.filter(pl.col("id") == row["id"]).select("error", "message").collect().iter_rows()
        ):
            tree.add(escape(f"{error}: {message}"), style="red")
    return tree


def _alike(similarity: float | None) -> str:
    return "" if similarity is None else f", similarity {similarity:.4g}"


def _nodes(directory: Path, row: Mapping[str, Any]) -> list[str]:
    """What each operator of the branch said, up to where the sample ended."""
    operators = _operators(directory, row["branch"])
    if row["decision"] == "quarantined" and row["node"] not in [*(settings["name"] for settings in operators), "Count"]:
        return []  # its source could not read it: no operator ever saw it
    lines = []
    for settings in operators:
        name = settings["name"]
        bounds = ", ".join(f"{k} {settings[k]:g}" for k in ("low", "high") if settings.get(k) is not None)
        score = row.get(name)
        ended = row["node"] == name
        said = f" = {score:.6g}" if isinstance(score, float) else ""
        said += "".join(f", {n} {row[n]:.6g}" for n in _select_scores(settings) if isinstance(row.get(n), float))
        limits = f" ({bounds})" if bounds else ""
        lines.append(f"{name}{said}{limits}: {row['reason'] if ended else 'kept'}")
        if ended:
            break
    return lines


def _select_scores(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Ledger columns that a Select of ours left; () for anything else."""
    module, _, name = str(settings.get("operator", "")).rpartition(".")
    if not module.startswith("curation.select.") or importlib.util.find_spec(module) is None:
        return ()
    return getattr(getattr(importlib.import_module(module), name, None), "SCORES", ())


def _operators(directory: Path, branch: str) -> list[dict[str, Any]]:
    try:
        recipe = read_manifest(directory).recipe
    except FileNotFoundError:
        return []  # the run has not finished: the ledger alone must do
    return next((b["operators"] for b in recipe["branches"] if b["name"] == branch), [])
