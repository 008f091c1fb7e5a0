"""Exact dedup of ten million keys: CPU seconds of the choice, at several shares of duplicates.

    python benchmarks/exact_keys.py [--keys 10000000] [--rounds 3]

Random 128-bit keys and ids, a score to choose by; from the table of signatures to the table of what is dropped. The survivors of a
fiftieth of the keys are checked against a second way (sort, then the first of each key).
"""

import argparse
import time

import numpy as np
import polars as pl

from curation.select import ExactDedup


def table_of(keys: int, distinct: int, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, distinct, keys, dtype=np.uint64)
    high, low = drawn * np.uint64(0x9E3779B97F4A7C15), (drawn + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
    ids = generator.integers(0, 1 << 64, (keys, 2), dtype=np.uint64).astype(">u8").tobytes().hex()
    return pl.DataFrame({
        "id": [ids[32 * row : 32 * row + 32] for row in range(keys)],
        "key_high": high,
        "key_low": low,
        "Score": generator.integers(0, 4, keys).astype(float),
    })  # fmt: skip


def by_sorting(table: pl.DataFrame) -> set[str]:
    ordered = table.sort("key_high", "key_low", "Score", "id", descending=[False, False, True, False])
    return set(ordered["id"]) - set(ordered.unique(["key_high", "key_low"], keep="first", maintain_order=True)["id"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    select = ExactDedup(best="Score")
    select.choose(table_of(1000, 500, 0))  # compiles
    print("| distinct keys | dropped | CPU s (runs) | wall s (runs) |\n|---|---|---|---|")
    for share in (10.0, 1.0, 0.2):
        table = table_of(options.keys, int(share * options.keys), 1)
        spent = []
        for _ in range(options.rounds):
            cpu, wall = time.process_time(), time.perf_counter()
            dropped = select.choose(table)
            spent.append((time.process_time() - cpu, time.perf_counter() - wall))
        some = table.filter(pl.col("key_high") % 50 == 0)  # whole groups of keys; sorting all would take minutes
        if set(dropped.join(some, on="id", how="semi")["id"]) != by_sorting(some):
            raise SystemExit("other survivors than by sorting")
        runs = [", ".join(f"{run[kind]:.2f}" for run in spent) for kind in (0, 1)]
        print(
            f"| {share:g} x as many drawn from | {100 * len(dropped) / len(table):.0f} % | {runs[0]} | {runs[1]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
