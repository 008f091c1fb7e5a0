"""Page: report.html, one self-contained file: the funnel of every branch, what failed, the mixture, the shards."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from curation.shards import Manifest, read_manifest
from pipelines.quarantine import quarantine_by_error
from pipelines.store import atomic

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); --bar: #2a78b8; --lost: #d9822b; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child, td.text { text-align: left; }
.bar { display: block; height: .6rem; background: var(--lost); border-radius: 2px; min-width: 6rem; }
.bar > i { display: block; height: 100%; background: var(--bar); border-radius: 2px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; } .scroll { overflow-x: auto; } small { opacity: .7; }
@media print { body { margin: 0; } }
"""


def write_report(directory: Path) -> Path:
    """Write OUT/report.html from report.json, the manifest and the quarantine.

    Raises:
        FileNotFoundError: the directory holds no finished dataset.
    """
    manifest = read_manifest(directory)
    facts = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    sections = [_card(facts, manifest)]
    sections += [_funnel(name, nodes) for name, nodes in facts["branches"].items()]
    sections += [_mixture(manifest), _shards(manifest), _quarantine(directory), _recipe(manifest)]
    title = f"{escape(manifest.stage)} dataset"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style>'
    path = directory / "report.html"
    with atomic(path) as temporary:
        temporary.write_text(
            f"<!doctype html><html lang=en><head>{head}</head><body><h1>{title}</h1>{''.join(sections)}</body></html>\n"
        )
    return path


def _card(facts: Mapping[str, Any], manifest: Manifest) -> str:
    samples = sum(shard.samples for shard in manifest.shards)
    counters, executor = facts["counters"], facts["executor"]
    rows = [
        ("samples in shards", f"{samples:,}"),
        ("shards", f"{len(manifest.shards):,}, {sum(s.bytes for s in manifest.shards) / 1e6:,.1f} MB"),
        (
            "run",
            f"{facts['seconds']:,.1f} s on {executor['kind']} with {executor['slots']} workers at {executor['host']}, {facts['finished']}",
        ),
        ("tasks", f"{facts['tasks']['done']:,}, of them {facts['tasks']['already_done']:,} already done before"),
        ("media in this run", f"{counters['media_read']:,} read to be measured, {counters['media_decoded']:,} decoded"),
        ("recipe", f"{manifest.recipe_digest}, seed {manifest.seed}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in facts["versions"].items())),
    ]
    return "<table>" + "".join(f"<tr><td>{escape(k)}<td class=text>{escape(v)}" for k, v in rows) + "</table>"


def _funnel(branch: str, nodes: Iterable[Mapping[str, int]]) -> str:
    rows = []
    for node in nodes:
        lost = {k.removeprefix("dropped."): n for k, n in node.items() if k.startswith("dropped.") and n}
        lost |= {"quarantined": node["quarantined"]} if node["quarantined"] else {}
        share = node["kept"] / node["seen"] if node["seen"] else 1.0
        seconds = node.get("milliseconds", 0) / 1000
        rate = f"{node['seen'] / seconds:,.0f}/s" if seconds >= 0.01 else ""
        reasons = " · ".join(f"{escape(k)} {n:,}" for k, n in lost.items())
        bar = f'<span class=bar><i style="width:{100 * share:.1f}%"></i></span>'
        measured = f"{node.get('measured', 0):,}" + (
            f" <small>+ {node['reused']:,} known</small>" if node.get("reused") else ""
        )
        rows.append(
            f"<tr><td>{escape(str(node['node']))}<td>{node['seen']:,}<td>{node['kept']:,}<td>{100 * share:.1f} %<td>{bar}"
            f"<td class=text>{reasons}<td>{measured}<td>{rate}"
        )
    head = "<tr><th>node<th>samples seen<th>kept<th>share<th><th style='text-align:left'>lost because<th>measured<th>per worker"
    return f"<h2>{escape(branch)}</h2><div class=scroll><table>{head}{''.join(rows)}</table></div>"


def _mixture(manifest: Manifest) -> str:
    mixture = manifest.mixture
    rows = []
    for name, counts in manifest.branches.items():
        asked = mixture["asked"].get(name)
        rows.append(
            f"<tr><td>{escape(name)}<td>{'' if asked is None else f'{100 * asked:.2f} %'}<td>{100 * mixture['samples'].get(name, 0):.2f} %"
            f"<td>{100 * mixture['tokens'].get(name, 0):.2f} %<td>{counts.get('samples', 0):,}<td>{counts.get('text_tokens', 0):,}"
            f"<td>{counts.get('visual_tokens', 0):,}<td>{counts.get('visual_tokens_kept', 0):,}"
        )
    unit = f" (asked in {mixture['unit']})" if mixture["unit"] else " (everything kept goes in)"
    head = (
        "<tr><th>branch<th>asked<th>of samples<th>of tokens<th>samples<th>text tokens<th>visual tokens<th>after pruning"
    )
    return f"<h2>Mixture{unit}</h2><div class=scroll><table>{head}{''.join(rows)}</table></div>"


def _shards(manifest: Manifest) -> str:
    rows = [
        f"<tr><td>{escape(s.name)}<td>{s.samples:,}<td>{s.bytes / 1e6:,.1f} MB<td>{s.text_tokens:,}"
        f"<td>{s.visual_tokens:,}<td><small>{s.sha256[:16]}</small>"
        for s in manifest.shards[:200]
    ]
    more = f"<p>and {len(manifest.shards) - 200:,} more" if len(manifest.shards) > 200 else ""
    head = "<tr><th>shard<th>samples<th>size<th>text tokens<th>visual tokens<th>sha256"
    return f"<h2>Shards</h2><div class=scroll><table>{head}{''.join(rows)}</table></div>{more}"


def _quarantine(directory: Path) -> str:
    return f"<h2>Quarantine</h2><pre>{escape(chr(10).join(quarantine_by_error(directory)))}</pre>"


def _recipe(manifest: Manifest) -> str:
    text = json.dumps(manifest.recipe, ensure_ascii=False, indent=1)
    return f"<h2>Recipe</h2><details><summary>resolved settings</summary><pre>{escape(text)}</pre></details>"
