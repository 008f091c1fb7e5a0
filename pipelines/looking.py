"""Looking: the commands of vl3-curate that show a dataset: preview, diff, serve."""

import argparse
import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curation.operator import RecipeError

console = Console(soft_wrap=True)


def preview(options: argparse.Namespace) -> int:
    """Write a contact sheet."""
    from pipelines.preview import write_preview

    path = options.to or options.directory / "preview.png"
    shown = write_preview(options.directory, path, samples=options.n)
    console.print(f"{path}: {shown:,} samples")
    return 0


def diff(options: argparse.Namespace) -> int:
    """Print what changed."""
    from pipelines.diff import dataset_diff

    facts = dataset_diff(options.directory, options.after)
    if options.json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return 0
    before, after = facts["kept"]
    same = "the shards hold the same bytes" if facts["same"] else "the shards differ"
    console.print(f"[bold]{before:,} -> {after:,}[/] samples in the shards; {same}")
    _table("recipe", ("setting", "before", "after"), [(k, *v) for k, v in facts["recipe"].items()])
    _table("samples", ("branch", "fate", "before", "after", "change"), [tuple(row.values()) for row in facts["counts"]])
    for name, other in (("gained", "before"), ("lost", "after")):
        rows = [(r["branch"], r["fate"], r["samples"], ", ".join(map(str, r["origin"]))) for r in facts[name]]
        _table(name, ("branch", f"{other}: what became of them", "samples", "some of them"), rows)
    _table(
        "scores that changed",
        ("score", "measured in both", "changed", "largest change"),
        [tuple(r.values()) for r in facts["scores"]],
    )
    return 0


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for number, column in enumerate(columns):
        figures = all(isinstance(row[number], int | float | None) for row in rows)
        table.add_column(column, justify="right" if figures else "left")
    for row in rows:
        table.add_row(*(escape(f"{v:,}" if isinstance(v, int) and not isinstance(v, bool) else str(v)) for v in row))
    console.print(table)


def serve(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from pipelines.serve import DatasetServer

    try:
        server = DatasetServer(options.directory, host=options.host, port=options.port, media=options.media)
    except (OSError, OverflowError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RecipeError(
            f"cannot listen at {options.host}:{options.port} ({error}): take another --port or --host"
        ) from error
    with server:
        console.print(f"{server.view.table.height:,} samples at {server.url}  (interrupt to stop)")
        if options.host not in ("127.0.0.1", "::1", "localhost"):
            console.print(f"everyone who reaches {escape(options.host)} can read this dataset", style="yellow")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("stopped")
    return 0
