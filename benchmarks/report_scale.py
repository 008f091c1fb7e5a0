"""Report at scale: time, memory and size of the report over a synthetic ledger, 10,000,000 rows unless told otherwise.

    python benchmarks/report_scale.py [--rows N] [--part-rows N] [--keep DIR]

The ledger has the columns, the files (one per part of 2,048 samples) and the skew of a real one: scores that later filters did not
measure, duplicates, quotas, quarantine. There are no media, so no thumbnail is made. The report is written by a process of its own,
whose CPU time and peak memory are those printed. Aim: at most 2 minutes, 2 GB, 20 MB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from curation.shards import Manifest, ShardEntry, write_manifest

ROOT = Path(__file__).parents[1]
BRANCHES = {"scene_image": 0.5, "documents": 0.2, "text": 0.25, "videos": 0.05}
FILTERS = {
    "Words": ("curation.filters.text.Words", 3.0, 256.0),
    "AspectRatio": ("curation.filters.image.AspectRatio", None, 3.0),
    "ShortSide": ("curation.filters.image.ShortSide", 64.0, None),
    "Aesthetic": ("curation.filters.aesthetic.Aesthetic", 4.5, None),
    "ImageTextSimilarity": ("curation.filters.alignment.ImageTextSimilarity", 0.28, None),
}
CHILD = """
import json, resource, sys, time
from pathlib import Path
started = time.perf_counter()
from pipelines.report import write_report
path = write_report(Path(sys.argv[1]))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"wall_s": time.perf_counter() - started, "cpu_s": usage.ru_utime + usage.ru_stime,
    "peak_mb": usage.ru_maxrss / 1024, "mb": path.stat().st_size / 1e6}))
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--part-rows", type=int, default=2048)
    options.add_argument("--keep", type=Path, help="write the dataset there and leave it; reuse it if it is there")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.keep or Path(temporary)
        if not (out / "manifest.json").is_file():
            started = time.perf_counter()
            write_dataset(out, rows=arguments.rows, part_rows=arguments.part_rows)
            print(f"ledger written in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        files = list((out / "ledger").iterdir())
        size = sum(path.stat().st_size for path in files)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(out)],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ,
        )
        facts = json.loads(done.stdout)
    print(f"{arguments.rows:,} ledger rows in {len(files):,} files ({size / 1e6:,.0f} MB)")
    print(
        f"report: {facts['wall_s']:.1f} s wall, {facts['cpu_s']:.1f} s CPU, {facts['peak_mb']:,.0f} MB peak, {facts['mb']:.2f} MB page"
    )
    met = facts["wall_s"] <= 120 and facts["peak_mb"] <= 2048 and facts["mb"] <= 20
    print("aim (120 s, 2 GB, 20 MB):", "met" if met else "missed")


def write_dataset(out: Path, *, rows: int, part_rows: int) -> None:
    """A dataset directory without shards' tars: ledger, manifest and the run's record."""
    random = np.random.default_rng(0)
    (out / "ledger").mkdir(parents=True, exist_ok=True)
    totals = {}
    for branch, share in BRANCHES.items():
        kept = tokens = 0
        wanted = int(rows * share)
        for number, begin in enumerate(range(0, wanted, part_rows)):
            part = f"{number:06d}-{random.integers(1 << 32):08x}"
            table = ledger_rows(random, branch, part, min(part_rows, wanted - begin))
            table.write_parquet(out / "ledger" / f"{branch}-{part}.parquet", compression="zstd")
            mine = table.filter(decision="kept")
            kept, tokens = kept + mine.height, tokens + int(mine["text_tokens"].sum())
        totals[branch] = {
            "samples": kept, "bytes": kept * 90_000, "text_tokens": tokens, "loss_tokens": tokens,
            "patches": 0, "visual_tokens": 0, "visual_tokens_kept": 0,
        }  # fmt: skip
    write_json(out, totals)


def ledger_rows(random: np.random.Generator, branch: str, part: str, rows: int) -> pl.DataFrame:
    """One part's rows: each filter in turn drops what is outside its bounds, and later scores stay null."""
    halves = random.integers(0, 1 << 63, size=(2, rows), dtype=np.uint64)
    ids = [f"{high:016x}{low:016x}" for high, low in zip(*halves.tolist(), strict=True)]
    values = {
        "Words": np.round(random.lognormal(2.6, 0.9, rows)),
        "AspectRatio": 1 + random.exponential(0.5, rows),
        "ShortSide": np.round(random.normal(420, 160, rows).clip(8)),
        "Aesthetic": random.normal(5.2, 0.7, rows),
        "ImageTextSimilarity": random.normal(0.3, 0.04, rows),
    }
    names = ["Words"] if branch == "text" else list(FILTERS)
    alive, node, reason = np.ones(rows, dtype=bool), np.full(rows, None, object), np.full(rows, None, object)
    scores: dict[str, pl.Series] = {}
    for name in FILTERS:
        measured = alive if name in names else np.zeros(rows, dtype=bool)
        scores[name] = pl.Series(name, np.where(measured, values[name], np.nan)).fill_nan(None)
        _, low, high = FILTERS[name]
        for bound, word, out in ((low, "below", lambda v, b: v < b), (high, "above", lambda v, b: v > b)):
            gone = measured & alive & out(values[name], bound) if bound is not None else np.zeros(rows, dtype=bool)
            node[gone], reason[gone] = name, f"{name}.{word}"
            alive &= ~gone
    twins = alive & (random.random(rows) < 0.04)
    original = np.full(rows, None, object)
    original[twins] = [ids[i] for i in random.integers(0, max(1, rows // 10), int(twins.sum()))]
    node[twins], reason[twins] = "ExactDedup", "ExactDedup.duplicate"
    alive &= ~twins
    bad = alive & (random.random(rows) < 0.001)
    node[bad], reason[bad] = "Decodable", "Decodable.error"
    alive &= ~bad
    counts = [
        np.where(alive, random.integers(low, high, rows), 0)
        for low, high in ((8, 900), (8, 500), (64, 3000), (64, 3000))
    ]
    text, loss, patches, visual = (pl.Series(values=c, dtype=pl.Int32) for c in counts)
    return pl.DataFrame({
        "id": ids, "branch": branch, "source": f"{branch}-*.parquet", "origin": [f"{branch}_{part}_{i:07d}" for i in range(rows)],
        "locator": [f"{branch}-{part}.parquet#{i}" for i in range(rows)], "part": part,
        "decision": np.where(bad, "quarantined", np.where(alive, "kept", "dropped")),
        "node": pl.Series(node.tolist(), dtype=pl.String), "reason": pl.Series(reason.tolist(), dtype=pl.String),
        "duplicate_of": pl.Series(original.tolist(), dtype=pl.String),
        "similarity": np.where(twins, 1.0, None).astype(float), "alternates": pl.Series([0] * rows, dtype=pl.Int32),
        "shard": pl.Series(["000000.tar" if kept else None for kept in alive], dtype=pl.String), "licence": "CC-BY-4.0",
        "text_tokens": text, "loss_tokens": loss, "patches": patches, "visual_tokens": visual, "visual_tokens_kept": visual, **scores,
    })  # fmt: skip


def write_json(out: Path, totals: dict[str, dict[str, int]]) -> None:
    """The manifest and report.json."""
    operators = [
        {"operator": operator, "name": name, "version": 1, "low": low, "high": high}
        for name, (operator, low, high) in FILTERS.items()
    ]
    dedup = {"operator": "curation.select.exact.ExactDedup", "name": "ExactDedup", "version": 1, "by": "content"}
    recipe = {
        "branches": [
            {
                "name": branch,
                "source": {"name": "ParquetSource", "operator": "curation.sources.parquet.ParquetSource"},
                "operators": [*(operators[:1] if branch == "text" else operators), dedup],
            }
            for branch in BRANCHES
        ]
    }
    samples = sum(total["samples"] for total in totals.values())
    shares = {branch: total["samples"] / samples for branch, total in totals.items()}
    entries = [
        ShardEntry(name=f"{i:06d}.tar", sha256="0" * 64, index_sha256="0" * 64, samples=4096, bytes=400 << 20, text_tokens=1 << 20,
            visual_tokens=1 << 22)
        for i in range(samples // 4096 + 1)
    ]  # fmt: skip
    manifest = Manifest(
        stage="stage2",
        recipe=recipe,
        recipe_digest="synthetic",
        seed=0,
        counted_with={},
        shards=tuple(entries),
        branches=totals,
        mixture={"unit": "", "asked": {}, "samples": shares, "tokens": shares},
        licences={"CC-BY-4.0": samples},
        origins={f"{branch}-*.parquet": total["samples"] for branch, total in totals.items()},
    )
    write_manifest(out, manifest)
    (out / "report.json").write_text("{}")


if __name__ == "__main__":
    main()
