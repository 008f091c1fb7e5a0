"""Overview: the run's card, the graph with counts and rates, the funnel of every branch, what failed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from charts import Block, Facts, Section, Share, Table
from pipelines.ledger import scan_quarantine
from pipelines.report.blocks import Chain, Folded, Link
from pipelines.report.material import Material
from pipelines.report.survey import Survey

_HIDDEN = ("operator", "name", "version", "content")  # digests of a benchmark's files say nothing to people
QUARANTINE_EXAMPLES = 3


def card(material: Material, survey: Survey) -> Section:
    """What was built, by which recipe, where, in what time."""
    manifest, run = material.manifest, material.run
    executor = run.get("executor", {})
    decisions = dict(survey.reasons.group_by("decision").agg(pl.col("samples").sum()).iter_rows())
    node_seconds = (
        sum(node.get("milliseconds", 0) for nodes in run.get("branches", {}).values() for node in nodes) / 1000
    )
    values: dict[str, Any] = {
        "samples read": survey.rows,
        "in the shards": decisions.get("kept", 0),
        "dropped": decisions.get("dropped", 0),
        "quarantined": decisions.get("quarantined", 0),
        "shards": len(manifest.shards),
        "megabytes": sum(s.bytes for s in manifest.shards) / 1e6,
        "stage": manifest.stage,
        "seed": manifest.seed,
        "recipe digest": manifest.recipe_digest,
        "plan": run.get("plan"),
        "executor": f"{executor.get('kind', '')}, {executor.get('slots', '')} workers at {executor.get('host', '')}"
        if executor
        else None,
        "hosts of its tasks": ", ".join(_hosts(material.directory)) or None,
        "finished": run.get("finished"),
        "wall clock, s": run.get("seconds"),
        "time in operators, s of a worker": node_seconds or None,
        "worker hours": _worker_hours(run),
        "cost, in the prices' currency": _cost(run),
        "tasks": _tasks(run),
        "media read and decoded": _media(run),
        "tokenizer": manifest.counted_with.get("tokenizer"),
        "versions": ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items()) or None,
    }
    shown = {name: value for name, value in values.items() if value is not None}
    return Section(title="Run", blocks=[Facts(values=shown)])


def _hosts(directory: Path) -> list[str]:
    """Machines that did tasks of it, by what the run wrote down of each."""
    path = directory / "run.jsonl"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        return sorted({json.loads(line)["host"] for line in lines if '"host"' in line and line.endswith("\n")})


def _worker_hours(run: Mapping[str, Any]) -> float | None:
    """What the run took of its workers, whatever an hour of one costs."""
    slots = max(1, run.get("executor", {}).get("slots", 1))
    return run["seconds"] * slots / 3600 if run.get("seconds") is not None else None


def _cost(run: Mapping[str, Any]) -> float | None:
    """Worker hours at their price (`report --price`), and captions by the prices of their `Endpoint`; None where no price is known."""
    captions = run.get("counters", {}).get("caption_cost_millionths", 0) / 1e6
    return captions + run.get("price", 0.0) * (_worker_hours(run) or 0.0) or None


def _tasks(run: Mapping[str, Any]) -> str | None:
    tasks = run.get("tasks")
    return f"{tasks['done']:,}, {tasks['already_done']:,} of them already done before" if tasks else None


def _media(run: Mapping[str, Any]) -> str | None:
    counters = run.get("counters")
    return f"{counters['media_read']:,} and {counters['media_decoded']:,} in this run" if counters else None


def graph(material: Material, survey: Survey) -> Section:
    """Every branch as a chain of nodes with what is left after each."""
    blocks = [Chain(title=branch, links=_links(material, survey, branch)) for branch in material.branches]
    lead = (
        "Each branch from its source to the shards: samples left after each node, why others were lost, and samples per second of one "
        "worker. A thick frame is a decision over all samples. The bar is what is left of the branch."
    )
    return Section(title="Graph", lead=lead, blocks=blocks)


def steps(material: Material, survey: Survey, branch: str) -> list[tuple[str, int, dict[str, int]]]:
    """Nodes of a branch in order: name, samples that came, samples lost by reason. From the ledger."""
    recorded = [node["node"] for node in material.run.get("branches", {}).get(branch, [])]
    source = next(b["source"]["name"] for b in material.manifest.recipe["branches"] if b["name"] == branch)
    names = recorded or [source, *(o["name"] for o in material.operators(branch))]
    mine = survey.reasons.filter(pl.col("branch") == branch)
    lost: dict[str, dict[str, int]] = {}
    for node, reason, samples in (
        mine.filter(pl.col("node").is_not_null()).select("node", "reason", "samples").iter_rows()
    ):
        lost.setdefault(node, {})[reason] = samples
    came = int(mine["samples"].sum())
    ordered = [*names, *(node for node in lost if node not in names)]
    out = []
    for name in ordered:
        out.append((name, came, lost.get(name, {})))
        came -= sum(lost.get(name, {}).values())
    return out


def _links(material: Material, survey: Survey, branch: str) -> list[Link]:
    nodes = {node["node"]: node for node in material.run.get("branches", {}).get(branch, [])}
    settings = {o["name"]: o for o in material.operators(branch)}
    total = survey.count(branch=branch)
    links = []
    for name, came, lost in steps(material, survey, branch):
        left = came - sum(lost.values())
        seconds = nodes.get(name, {}).get("milliseconds", 0) / 1000
        reasons = [f"{reason.rpartition('.')[2]} {count:,}" for reason, count in sorted(lost.items())]
        said = ", ".join(f"{k} {_brief(v)}" for k, v in settings.get(name, {}).items() if k not in _HIDDEN and _told(v))
        links.append(
            Link(
                name=name,
                settings=said if len(said) < 160 else said[:159] + "…",
                seen=came,
                kept=left,
                share=left / total if total else 0.0,
                rate=f"{came / seconds:,.0f}/s" if seconds >= 0.01 else "",
                lost=", ".join(reasons),
                barrier=".select." in str(settings.get(name, {}).get("operator", "")) or name == "Mixture",
            )
        )
    return links


def _told(value: Any) -> bool:
    """Whether a setting says anything: what is not set does not."""
    return value is not None and value not in ("", [], {})


def _brief(value: Any) -> str:
    """A setting on one line. Of settings within settings what they are called: all of them stand in the recipe below."""
    if isinstance(value, Mapping):
        called = next((value[key] for key in ("model", "name", "path", "url") if value.get(key)), None)
        return str(called or value.get("operator", "")).rpartition("/")[2] or "as by default"
    if isinstance(value, list):
        return "[" + ", ".join(_brief(each) for each in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def funnel(material: Material, survey: Survey) -> Section:
    """Samples that came to each node, were kept, and were lost by reason: they add up, or this raises."""
    tables: list[Block] = []
    for branch in material.branches:
        rows = []
        for name, came, lost in steps(material, survey, branch):
            left = came - sum(lost.values())
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(lost.items()))
            rows.append((name, came, left, Share(left / came if came else 1.0), reasons))
        kept = survey.count(branch=branch, decision="kept")
        assert rows[-1][2] == kept, f"{branch}: {rows[-1][2]} left after the last node, {kept} in the ledger as kept"
        tables.append(Table(title=branch, columns=("node", "samples came", "kept", "share", "lost because"), rows=rows))
    lead = "Every sample read is counted once: kept, or lost at one node for one reason. Look for nodes that take more than you expect."
    return Section(title="Funnel", lead=lead, blocks=tables)


def quarantine(material: Material) -> Section | None:
    """What failed, by node and error, with examples."""
    table = scan_quarantine(material.directory)
    if table is None:
        return None
    by = ["branch", "node", "error"]
    few = pl.col("message").fill_null("").str.slice(0, 300).head(QUARANTINE_EXAMPLES)
    counted = table.group_by(by).agg(
        pl.len().alias("samples"),
        pl.col("retryable").sum().alias("again"),
        pl.col("origin").head(QUARANTINE_EXAMPLES),
        few,
    )
    rows = []
    for row in counted.sort("samples", *by, descending=[True, False, False, False]).collect().iter_rows(named=True):
        examples = "; ".join(f"{o}: {m}" for o, m in zip(row["origin"], row["message"], strict=True))
        rows.append((row["branch"], row["node"], row["error"], row["samples"], row["again"], examples))
    columns = ("branch", "node", "error", "samples", "may succeed later", "examples")
    lead = "Samples put aside because they failed. Look for errors with a cause upstream: fix it and run quarantine --retry."
    return Section(title="Quarantine", lead=lead, blocks=[Table(columns=columns, rows=rows)])


def recipe(material: Material) -> Section:
    """The resolved recipe, as the manifest holds it."""
    text = json.dumps(material.manifest.recipe, ensure_ascii=False, indent=1)
    return Section(
        title="Recipe",
        lead="All settings, as recorded in manifest.json.",
        blocks=[Folded(title="resolved settings", text=text)],
    )
