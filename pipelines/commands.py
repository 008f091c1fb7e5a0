"""Commands: what each subcommand of vl3-curate does; they read a dataset or a plan and print, and return the exit code."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curation.operator import PartLimits, RecipeError
from pipelines.events import SILENT_SECONDS, read_status
from pipelines.explain import explain_sample
from pipelines.plan import Plan, make_plan
from pipelines.progress import node_table, state_line, watch_line
from pipelines.recipe import load_recipe
from pipelines.signatures import write_signatures
from pipelines.statistics import dataset_statistics
from pipelines.store import Store
from pipelines.verify import verify_dataset

# In a log nothing is cut or folded to a terminal that is not there.
console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)


def resolve(options: argparse.Namespace) -> tuple[Plan, str]:
    """The plan of RECIPE and --data, and the recipe's file if it is one."""
    recipe = load_recipe(options.recipe, options.data)
    if options.seed is not None:
        recipe = dataclasses.replace(recipe, seed=options.seed)
    if getattr(options, "budget", None) and recipe.mixture:
        recipe = dataclasses.replace(recipe, mixture=dataclasses.replace(recipe.mixture, budget=options.budget))
    limits = PartLimits(rows=options.part_rows)
    seconds = getattr(options, "sample_seconds", 60.0)
    measures = getattr(options, "measures", None)
    plan = make_plan(
        recipe,
        options.out,
        data=options.data,
        limits=limits,
        limit=options.limit,
        sample_seconds=seconds,
        measures=measures,
    )
    return plan, str(Path(options.recipe.rpartition(":")[0]).absolute()) if ":" in options.recipe else ""


def plan(options: argparse.Namespace) -> int:
    """Print the DAG."""
    resolved, _ = resolve(options)
    facts = plan_facts(resolved)
    if options.probe:
        from pipelines.probe import probe, projection

        costs, peak = probe(resolved, samples=options.probe)
        whole = projection(costs, peak, workers=options.cluster_workers, price=options.price)
        facts |= {"probe": [dataclasses.asdict(cost) for cost in costs], "projection": whole}
    if options.json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return 0
    console.print(f"[bold]{facts['stage']}[/]  plan {facts['plan']}  seed {resolved.recipe.seed}")
    for branch in facts["branches"]:
        rows = f"{branch['rows']:,} samples" if branch["rows"] else "samples not counted yet"
        size = f"{branch['bytes'] / 1e6:,.1f} MB"
        passes = f"{branch['passes']} pass{'es' * (branch['passes'] != 1)} over the media"
        console.print(f"\n[bold]{escape(branch['name'])}[/]  {branch['parts']:,} parts, {rows}, {size}, {passes}")
        for node in branch["nodes"]:
            console.print(
                f"  {'=' if node['barrier'] else '-'} {escape(node['text'])}  [dim]{node['id']}  {node['done']}/{node['of']} done[/]"
            )
    for name, why in resolved.recipe.missing.items():
        console.print(f"[red]missing[/] {escape(name)}: {escape(why)}")
    mixture = resolved.recipe.mixture
    console.print(
        f"\nmixture  {escape(str(dict(mixture.weights)))} in {mixture.unit}, budget {mixture.budget}"
        if mixture
        else "\nmixture  everything"
    )
    if options.probe:
        _print_probe(facts, options.probe, options.cluster_workers)
    return 0


def _print_probe(facts: dict, samples: int, workers: int) -> None:
    table = Table(title=f"\nprobe of {samples:,} samples a branch", title_justify="left", box=None, header_style="bold")
    for column in ("branch", "node", "seen", "goes on", "ms a sample"):
        table.add_column(column, justify="left" if column in ("branch", "node") else "right")
    for cost in facts["probe"]:
        for node in cost["nodes"]:
            shown = (f"{node['seen']:,}", f"{100 * node['passing']:.1f} %", f"{1000 * node['seconds']:.3f}")
            table.add_row(escape(cost["branch"]), escape(node["node"]), *shown)
    console.print(table)
    for cost in facts["probe"]:
        if cost["suggestion"]:
            console.print(f"cheaper: {escape(cost['branch'])} in the order {escape(', '.join(cost['suggestion']))}")
    whole = facts["projection"]
    console.print(
        f"the whole: {whole['samples']:,} samples, {whole['bytes'] / 1e9:,.1f} GB to read, about {whole['kept']:,} kept; "
        f"{whole['worker_hours']:,.2f} worker hours = {whole['hours']:,.2f} h on {workers} workers, "
        f"{whole['peak_bytes'] / 1e9:,.1f} GB of memory, cost {whole['cost']:,.2f}. Without shards' writing and Selects over all samples"
    )


def plan_facts(plan: Plan) -> dict:
    """The plan as JSON: per branch its parts, passes and nodes with ids, and how many tasks of each are committed."""
    store = Store(root=plan.out)
    branches = []
    for branch in plan.branches:
        names = branch.part_names
        nodes = [_node(branch.source.name, branch.source.settings(), branch.source_id, store, names)]
        for segment in branch.segments:
            nodes += [
                _node(operator.name, operator.settings(), segment.id, store, names) for operator in segment.operators
            ]
            if segment.select:
                nodes.append(
                    _node(segment.select.name, segment.select.settings(), segment.select_id, store, ["dropped"])
                    | {"barrier": True}
                )
        passes = sum(1 for segment in branch.segments if not segment.empty)
        rows, size = sum(part.rows for part in branch.parts), sum(part.bytes for part in branch.parts)
        branches.append(
            {"name": branch.name, "parts": len(names), "rows": rows, "bytes": size, "passes": passes, "nodes": nodes}
        )
    return {"plan": plan.id, "stage": plan.recipe.stage, "recipe": plan.portable_recipe(), "branches": branches}


def _node(name: str, settings: dict, node: str, store: Store, names: Sequence[str]) -> dict:
    shown = ", ".join(
        f"{k}={v!r}" for k, v in settings.items() if k not in ("operator", "name", "version") and v is not None
    )
    done = sum(store.marker(node, part).exists() for part in names)
    return {"name": name, "text": f"{name}({shown})", "id": node, "done": done, "of": len(names), "barrier": False}


def run(options: argparse.Namespace) -> int:
    """Build the dataset."""
    from pipelines.run import run as run_plan

    resolved, recipe_file = resolve(options)
    if (missing := resolved.recipe.missing) and not options.allow_missing:
        listed = "; ".join(f"{name}: {why}" for name, why in list(missing.items())[:3])
        raise RecipeError(
            f"{resolved.recipe.stage}: {len(missing)} of its corpora cannot be read ({listed}{'; ...' if len(missing) > 3 else ''}). "
            "Put them there (vl3-curate doctor says how), or go without them and re-weigh: --allow-missing"
        )
    result = run_plan(
        resolved,
        executor=options.executor,
        workers=options.workers,
        recipe_file=recipe_file,
        quiet=options.quiet,
        report=not options.no_report,
    )
    manifest = result.manifest
    samples = sum(shard.samples for shard in manifest.shards)
    where = f"{options.out}: {samples:,} samples in {len(manifest.shards)} shards"
    if result.nothing_to_do:
        console.print(f"nothing to do: {where} are exactly this recipe over these sources")
        return 0
    seconds = result.seconds + result.report_seconds
    read, decoded = result.counters.get("media_read", 0), result.counters.get("media_decoded", 0)
    see = f"Then: vl3-curate report {options.out}" if options.no_report else f"See {options.out / 'report.html'}"
    console.print(f"{where}, in {seconds:,.1f} s; media read {read:,}, decoded {decoded:,}. {see}")
    return 0


def status(options: argparse.Namespace) -> int:
    """How a run stands; exit 1 when it ended badly or its driver went silent."""
    state = read_status(options.directory)
    if options.json:
        print(json.dumps(state, ensure_ascii=False, indent=1))
        return 0
    driver = f"process {state['process']} on {state['host']}"
    silent = not state["ended"] and state["silent"] > SILENT_SECONDS
    said = f"{driver} said so {state['silent']:,.0f} s ago"
    how = (
        f"ended: {state['ended']}"
        if state["ended"]
        else "its driver is silent: run again to resume"
        if silent
        else said
    )
    console.print(state_line(state), highlight=False)
    console.print(node_table(state))
    console.print(watch_line(state), highlight=False)
    console.print(f"[bold]{escape(how)}[/]")
    return 1 if silent or state["ended"] not in ("", "done") else 0


def stats(options: argparse.Namespace) -> int:
    """Shard statistics."""
    facts = dataset_statistics(options.directory)
    if options.json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return 0
    total = facts["total"]
    console.print(
        f"[bold]{facts['stage']}[/]  {total['samples']:,} samples, {total['shards']} shards, {total['bytes'] / 1e6:,.1f} MB"
    )
    _print_rows("branches", facts["branches"])
    _print_rows("scores (quantiles over all measured samples)", facts["scores"])
    _print_rows("sequence length in tokens", facts["tokens"])
    _print_rows("shards", facts["balance"])
    return 0


def _print_rows(title: str, rows: dict[str, dict[str, float]]) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    table.add_column("")
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, row in rows.items():
        table.add_row(escape(name), *(_number(row.get(column)) for column in columns))
    console.print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def report(options: argparse.Namespace) -> int:
    """Write report.html again."""
    from pipelines.report import write_report

    console.print(str(write_report(options.directory, price=options.price)))
    return 0


def explain(options: argparse.Namespace) -> int:
    """The fate of the samples of that id or origin."""
    fates = explain_sample(options.directory, options.sample)
    for fate in fates:
        console.print(fate)
    if not fates:
        console.print(f"{options.sample}: no sample of that id or origin in {options.directory / 'ledger'}")
    return 0 if fates else 1


def verify(options: argparse.Namespace) -> int:
    """Check the dataset."""
    checked = faults = 0
    for so_far, fault in verify_dataset(options.directory, decode=not options.no_decode):
        checked = so_far
        if fault:
            faults += 1
            console.print(escape(fault), style="red", highlight=False)
    console.print(f"{options.directory}: {checked:,} samples checked, {faults:,} faults")
    return 1 if faults else 0


def quarantine(options: argparse.Namespace) -> int:
    """List what failed; with --retry, forget it so that the next run tries again."""
    from pipelines.quarantine import forget_failures, quarantine_by_error

    if options.retry:
        forgotten = forget_failures(options.directory)
        console.print(f"{forgotten:,} failures forgotten: run the recipe again, and only those samples are tried again")
        return 0
    for line in quarantine_by_error(options.directory):
        console.print(escape(line), highlight=False)
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Say which corpora are there and how they are."""
    from pipelines.doctor import examine

    findings = examine(options.data, stage=options.stage, samples=options.samples)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    for finding in [] if options.json else findings:
        console.print(escape(str(finding)), style="red" if finding.fault else None, highlight=False)
    there = [finding for finding in findings if finding.there]
    faulty = sum(bool(finding.fault) for finding in there)
    if not options.json:
        console.print(f"{options.data}: {len(there)} of {len(findings)} corpora are there, {faulty} with faults")
    return 1 if faulty or not there else 0


def synth(options: argparse.Namespace) -> int:
    """Write the synthetic corpora."""
    from curation.sources.synthetic import write_synthetic

    counts = write_synthetic(
        options.directory, samples=options.samples, seed=options.seed, defects=options.defects, small=options.small
    )
    console.print(f"{options.directory}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    return 0


def signatures(options: argparse.Namespace) -> int:
    """Keep the signatures of a run's samples as a base."""
    resolved, _ = resolve(options)
    count = write_signatures(resolved, options.branch, options.select, options.to)
    print(f"{options.to}: signatures of {count:,} samples")
    return 0
