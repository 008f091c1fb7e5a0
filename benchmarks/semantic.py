"""Semantic dedup and balance of 1,000,000 vectors of 512 numbers with planted neighbours: time, memory, recall.

    python benchmarks/semantic.py [--rows 1000000] [--width 512] [--cosine 0.95] [--spread 1.0] [--json FILE]

Vectors lie around random centres (--spread: length of the noise around a centre of length 1; "inf" = no structure at all, the worst
case for clusters), as float16 in a file that is memory-mapped. Two in a hundred are neighbours of an earlier one, at a cosine between
--cosine and 1. Recall: planted neighbours whose similarity reaches --cosine. A second figure checks the rest: of 2,000 random
vectors, how many have the similarity that brute force over all vectors finds, where that reaches --cosine.
"""

import argparse
import json
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from curation.select.balance import within_quota
from curation.select.kmeans import fit_clusters, unit
from curation.select.neighbours import nearest_before
from curation.select.semantic import default_clusters


def write_vectors(path: Path, *, rows: int, width: int, cosine: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """The file, in pieces; returns rows of planted neighbours and the rows they were planted at."""
    random = np.random.default_rng(0)
    centres = unit(random.standard_normal((max(1, rows // 500), width), dtype=np.float32))
    planted, sources = [], []
    with path.open("wb") as file:
        for begin in range(0, rows, 50_000):
            count = min(50_000, rows - begin)
            noise = unit(random.standard_normal((count, width), dtype=np.float32))
            block = (
                noise if math.isinf(spread) else unit(centres[random.integers(0, len(centres), count)] + spread * noise)
            )
            late = np.arange(count // 2, count)[::25]
            early = random.integers(0, count // 2, len(late))
            wanted = random.uniform(cosine + 0.002, 1.0, len(late)).astype(np.float32)[:, None]
            aside = random.standard_normal((len(late), width), dtype=np.float32)
            aside = unit(aside - (aside * block[early]).sum(axis=1, keepdims=True) * block[early])
            block[late] = wanted * block[early] + np.sqrt(1 - wanted**2) * aside
            planted.append(begin + late)
            sources.append(begin + early)
            block.astype(np.float16).tofile(file)
    return np.concatenate(planted), np.concatenate(sources)


def brute_force(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The largest cosine with any earlier row."""
    queries, best = unit(vectors[rows]), np.full(len(rows), -1, np.float32)
    for begin in range(0, len(vectors), 16384):
        scores = queries @ unit(vectors[begin : begin + 16384]).T
        scores[np.arange(begin, begin + scores.shape[1])[None, :] >= rows[:, None]] = -1
        best = np.maximum(best, scores.max(axis=1))
    return best


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--cosine", type=float, default=0.95)
    parser.add_argument("--spread", type=float, default=1.0)
    parser.add_argument("--visited", type=int, default=4)
    parser.add_argument("--floor", type=float, default=0.9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {key: value for key, value in vars(options).items() if key != "json"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.f16"
        planted, sources = write_vectors(
            path, rows=options.rows, width=options.width, cosine=options.cosine, spread=options.spread
        )
        vectors = np.memmap(path, np.float16, "r", shape=(options.rows, options.width))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        wall, cpu = time.perf_counter(), time.process_time()

        def lap(name: str) -> None:
            figures[name] = [round(time.perf_counter() - wall, 1), round(time.process_time() - cpu, 1)]
            print(f"{name:12} {figures[name][0]:8.1f} s since the start, {figures[name][1]:8.1f} CPU s", flush=True)

        count = default_clusters(options.rows)
        sample = vectors[
            np.sort(np.random.default_rng(1).choice(options.rows, min(options.rows, 64 * count), replace=False))
        ]
        clusters = fit_clusters(np.random.default_rng(2).permutation(sample), count)
        lap("k-means")
        best, _ = nearest_before(
            vectors, np.arange(options.rows), clusters, visited=options.visited, floor=options.floor
        )
        lap("neighbours")
        kept = within_quota(
            clusters.nearest(vectors, 1)[:, 0],
            np.random.default_rng(3).random(options.rows),
            quota=options.rows // count // 2,
        )
        lap("balance")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        cosines = np.einsum("nd,nd->n", unit(vectors[planted]), unit(vectors[sources]))
        wanted = cosines >= options.cosine
        recall = float((best[planted[wanted]] >= options.cosine).mean())
        rows = np.sort(np.random.default_rng(4).choice(options.rows, min(options.rows, 2000), replace=False))
        exact = brute_force(vectors, rows)
        near = exact >= options.cosine
        agree = float((best[rows[near]] >= exact[near] - 1e-3).mean()) if near.any() else math.nan
    figures |= {
        "clusters": len(clusters),
        "recall": recall,
        "brute_force_near": int(near.sum()),
        "brute_force_agree": agree,
    }
    figures |= {"peak_mib": peak, "peak_mib_before": before, "kept_by_balance": int(kept.sum())}
    print(f"{options.rows:,} x {options.width}, {len(clusters):,} clusters, {options.visited} visited")
    print(f"recall {recall:.4f} of {int(wanted.sum()):,} planted; balance kept {int(kept.sum()):,}; peak {peak:,} MiB")
    print(f"brute force: {int(near.sum())} of {len(rows):,} have a neighbour, {agree:.4f} of them found")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
