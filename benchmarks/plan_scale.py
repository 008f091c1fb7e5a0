"""Plan scale: what planning an epoch costs with ten times the samples, and ten times again: memory, and time to the first step.

    python benchmarks/plan_scale.py --shards OUT [--samples 10000000 100000000 1000000000] [--stretches 3] [--json FILE]

The index of a finished dataset's first shard, three times over, stands for every shard of a made-up dataset of so many
samples (links to one file). Each size is planned in a process of its own: the manifest is opened, then the first
stretches of an epoch are planned, and one in its middle, as a resumed run does. Shards are not read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from curation.shards import ShardEntry, index_path, open_dataset, read_index, write_manifest  # noqa: E402
from model.config import ModelConfig  # noqa: E402
from trainer.dataset import open_catalogue  # noqa: E402
from trainer.flops import FlopModel  # noqa: E402
from trainer.plan import epoch_plans, stretches  # noqa: E402
from trainer.stages import COMPONENTS, STAGES  # noqa: E402

STAGE = STAGES["stage2"]
FLOPS = FlopModel(config=ModelConfig.preset("2b"), trains=COMPONENTS)


def make(directory: Path, source: Path, samples: int) -> None:
    """A dataset of indexes alone."""
    manifest, (first, *_) = open_dataset(source)
    index = pa.concat_tables([read_index(index_path(first))] * 3)
    (directory / "shards").mkdir(parents=True)
    real = directory / "index.parquet"
    pq.write_table(index, real, compression="zstd")
    counts: dict[str, Any] = {"samples": index.num_rows, "bytes": 0, "text_tokens": 0, "visual_tokens": 0}
    counts["sha256"], counts["index_sha256"] = "", hashlib.sha256(real.read_bytes()).hexdigest()
    entries = [ShardEntry(name=f"{number:06d}.tar", **counts) for number in range(-(-samples // index.num_rows))]
    for entry in entries:
        index_path(directory / "shards" / entry.name).symlink_to(real)
    write_manifest(directory, replace(manifest, shards=tuple(entries)))


def measure(directory: Path, number: int) -> dict[str, Any]:
    """In a process of its own: seconds of CPU, and the peak of memory after each part."""

    def spent() -> tuple[float, float]:
        return time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    started, base = spent()
    catalogue = open_catalogue([directory], STAGE.rules)
    opened, after_open = spent()
    plans = epoch_plans(catalogue, STAGE, FLOPS, seed=0, epoch=0)
    planned = len(next(plans).samples)
    first, after_first = spent()
    for _ in range(number - 1):
        planned += len(next(plans).samples)
    middle = len(stretches(catalogue, STAGE, seed=0, epoch=0)) // 2
    planned += len(next(epoch_plans(catalogue, STAGE, FLOPS, seed=0, epoch=0, first=middle)).samples)
    ended, after = spent()
    return {
        "samples": int(catalogue.samples.sum()), "shards": len(catalogue.shards), "stretches": 2 * middle,
        "open, s": opened - started, "first plan, s": first - opened, "samples/s": planned / (ended - opened),
        "MiB at start": base, "MiB opened": after_open, "MiB after the first": after_first, "MiB after all": after,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000_000, 100_000_000, 1_000_000_000])
    parser.add_argument("--stretches", type=int, default=3, help="planned one after the other")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.shards, options.stretches)))
        return
    rows = []
    for samples in options.samples:
        with tempfile.TemporaryDirectory() as directory:
            make(Path(directory) / "made", options.shards, samples)
            command = [sys.executable, __file__, "--measure", "--shards", str(Path(directory) / "made")]
            done = subprocess.run(
                [*command, "--stretches", str(options.stretches)], check=True, capture_output=True, text=True
            )
        rows.append(json.loads(done.stdout))
        print("  ".join(f"{name} {value:,.4g}" for name, value in rows[-1].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
