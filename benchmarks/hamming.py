"""All pairs within 3 bits of 2,000,000 64-bit hashes: CPU seconds, held against brute force on the first 50,000.

    python benchmarks/hamming.py [--rows 2000000] [--radius 3] [--rounds 3] [--json FILE]

Hashes are random words; every hundredth is another one with 1 to `radius` + 2 of its bits flipped. Each cut of the hash into blocks
is run, so that the chosen one is seen beside the others. One thread.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from curation.select.hamming import Blocks, near_pairs, plan_blocks


def planted(rows: int, radius: int, *, seed: int = 0) -> np.ndarray:
    """Random hashes among which every hundredth row is near another one."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, rows, dtype=np.uint64)
    for row in range(0, rows - 1, 100):
        bits = random.choice(64, random.integers(1, radius + 3), replace=False)
        hashes[row] = hashes[row + 1] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    return hashes


def brute_force(hashes: np.ndarray, radius: int) -> set[tuple[int, int]]:
    """Every pair compared."""
    pairs: set[tuple[int, int]] = set()
    for row in range(len(hashes) - 1):
        near = np.flatnonzero(np.bitwise_count(hashes[row + 1 :] ^ hashes[row]) <= radius)
        pairs.update((row, row + 1 + int(i)) for i in near)
    return pairs


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--radius", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    hashes = planted(options.rows, options.radius)
    near_pairs(hashes[:1000], radius=options.radius)  # compiles
    chosen = plan_blocks(options.rows, options.radius)
    figures: dict[str, Any] = {"rows": options.rows, "radius": options.radius, "chosen": str(chosen)}
    for clean in (1, 2, 3):
        blocks = Blocks(blocks=options.radius + clean, clean=clean)
        seconds, pairs = [], 0
        for _ in range(options.rounds):
            start = time.process_time()
            pairs = len(near_pairs(hashes, radius=options.radius, blocks=blocks).left)
            seconds.append(round(time.process_time() - start, 2))
        mark = "  <- chosen" if blocks == chosen else ""
        print(f"{blocks}: {blocks.tables} tables, {pairs:,} pairs, CPU s {seconds}{mark}", flush=True)
        figures[str(blocks)] = {"tables": blocks.tables, "pairs": pairs, "cpu_seconds": seconds}
    subset = hashes[:50_000]
    ours = near_pairs(subset, radius=options.radius)
    same = set(zip(ours.left.tolist(), ours.right.tolist(), strict=True)) == brute_force(subset, options.radius)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"first {len(subset):,} rows: {len(ours.left):,} pairs, equal to brute force: {same}; peak {peak} MiB")
    figures |= {"equals_brute_force": same, "peak_mib": peak}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
