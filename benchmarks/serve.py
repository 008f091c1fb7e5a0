"""Serve: how long `vl3-curate serve` takes to answer a filter over 1,000,000 samples, page and all, over HTTP.

    python benchmarks/serve.py [--dataset DIR] [--rows N] [--rounds N]

The ledger of a finished dataset (default: the demo over synthetic corpora) is repeated under other ids until it has so many rows; the
samples of the first copy are found in its shards and shown with their captions, as those of any dataset. Timed is the whole answer: the
condition, the page's samples from shards and working files, and its HTML. Pictures are requests of their own. Aim: at most 300 ms.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from curation.sources.synthetic import write_synthetic
from pipelines.plan import make_plan
from pipelines.recipes import RECIPES
from pipelines.run import run
from pipelines.serve import DatasetServer

ASKED = {
    "numbers, kept": {"where": "Words > {n} AND decision = 'kept'"},
    "numbers, sorted": {"where": "Words > {n} AND decision = 'kept'", "sort": "Words", "descending": 1},
    "texts": {"where": "origin LIKE '%{n}%' AND branch <> 'videos'"},
    "both, sorted": {"where": "Words > {n} AND branch = 'text' AND origin LIKE '%7%'", "sort": "Words"},
    "dropped": {"where": "decision = 'dropped' AND Words < {n}00"},
    "everything, page 500": {"where": "Words >= 0 AND LENGTH(origin) > {n}", "page": 500},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dataset", type=Path)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=7)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "out"
        if arguments.dataset:
            shutil.copytree(arguments.dataset, out)
        else:
            write_synthetic(f"{temporary}/data", samples=600, seed=0)
            run(make_plan(RECIPES["demo"](f"{temporary}/data"), out), workers=0, quiet=True)
        grow(out / "ledger", arguments.rows)
        started = time.perf_counter()
        with DatasetServer(out) as server:
            threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
            print(f"{server.view.table.height:,} samples, read in {time.perf_counter() - started:.1f} s")
            worst = max(timed(server.server_port, name, asked, arguments.rounds) for name, asked in ASKED.items())
            server.shutdown()
    print(f"slowest median {1000 * worst:.0f} ms; aim (300 ms): {'met' if worst <= 0.3 else 'missed'}")


def grow(ledger: Path, rows: int) -> None:
    """Repeat the ledger under other ids; copies lie in no shard."""
    own = pl.concat([pl.read_parquet(path) for path in sorted(ledger.glob("*.parquet"))])
    for copy in range(1, -(-rows // own.height)):
        more = own.with_columns(
            pl.format("{}{}", pl.lit(f"{copy:08x}"), pl.col("id").str.slice(8)).alias("id"),
            pl.when(pl.col("decision") == "kept").then(pl.lit("dropped")).otherwise("decision").alias("decision"),
            pl.lit(None, pl.String).alias("shard"),
        )
        more.write_parquet(ledger / f"zz-copy-{copy:05d}.parquet")


def timed(port: int, name: str, asked: dict[str, object], rounds: int) -> float:
    """Median seconds of an answer; every round asks something new."""
    took, size = [], 0
    for number in range(rounds + 1):
        query = urlencode({key: str(value).replace("{n}", str(number + 3)) for key, value in asked.items()})
        started = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/?{query}")
        answer = connection.getresponse()
        page = answer.read()
        took.append(time.perf_counter() - started)
        connection.close()
        assert answer.status == 200, page[:500]
        assert b'class="error"' not in page, page[-800:]
        size = len(page)
    warm = sorted(took[1:])
    median = statistics.median(warm)
    print(
        f"  {name:24s} median {1000 * median:4.0f} ms, worst {1000 * warm[-1]:4.0f}, first {1000 * took[0]:4.0f}; page {size / 1024:.0f} kB"
    )
    return median


if __name__ == "__main__":
    main()
