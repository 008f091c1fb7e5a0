"""MinHash dedup of ten million documents from synthetic signatures, by the tasks of a run: time, peak memory, recall, false drops.

    python benchmarks/minhash_scale.py [--docs 10000000] [--folder DIR]

Signatures stand in for texts (reading and signing texts is measured by text_dedup.py). 30 % of the documents are copies of another one,
anywhere in the corpus, with a Jaccard similarity drawn from [0.6, 1); the rest are unlike all others. One process does all tasks one
after the other; on a cluster the runs, and then the key ranges, are done side by side.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from curation.select import MinHashDedup
from curation.select.minhash import _binary
from pipelines.select import decide_by_pairs, pair_range, write_run
from pipelines.store import Store

RUN = 131_072  # documents: 64 parts of 2,048
KEYS = 4 << 20


def values_of(documents: np.ndarray, count: int) -> np.ndarray:
    """uint32 [N, count]: numbers drawn by document and place alone, so that a copy can be written without its original."""
    mixed = documents[:, None].astype(np.uint64) * np.uint64(count) + np.arange(count, dtype=np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(32)).astype(np.uint32)


def planted(docs: int) -> tuple[np.ndarray, np.ndarray]:
    """For each document the one it is a copy of (itself for originals), and how alike."""
    generator = np.random.default_rng(0)
    copy = generator.random(docs) < 0.3
    originals = np.flatnonzero(~copy)
    source = np.arange(docs)
    source[copy] = originals[generator.integers(0, len(originals), int(copy.sum()))]
    return source, generator.uniform(0.6, 1.0, docs)


def run_table(first: int, last: int, source: np.ndarray, jaccard: np.ndarray, count: int) -> pl.DataFrame:
    documents = np.arange(first, last)
    values = values_of(documents, count)
    copies = np.flatnonzero(source[first:last] != documents)
    kept = np.random.default_rng(first).random((len(copies), count)) < jaccard[first + copies, None]
    values[copies] = np.where(kept, values_of(source[first + copies], count), values[copies])
    ids = [f"{document:032x}" for document in documents.tolist()]
    cells = _binary(values, np.ones(len(values), dtype=bool))
    rows = {"id": ids, "minhash": cells, "row": documents.astype(np.int32)}
    return pl.DataFrame(rows).with_columns(part=pl.lit(f"{first // RUN:06d}"))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=int, default=10_000_000)
    parser.add_argument(
        "--folder", help="where the tasks' tables go, some 2 kB per document; default: a temporary folder"
    )
    options = parser.parse_args()
    select = MinHashDedup()
    source, jaccard = planted(options.docs)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Store(root=Path(folder))
        timed = [time.process_time(), time.perf_counter()]

        def lap(what: str) -> None:
            now = [time.process_time(), time.perf_counter()]
            print(
                f"{what}: {now[0] - timed[0]:.0f} CPU s, {now[1] - timed[1]:.0f} s, peak {peak():.2f} GiB so far",
                flush=True,
            )
            timed[:] = now

        runs, keys, spent = [], 0, 0.0
        for first in range(0, options.docs, RUN):
            begun = time.process_time()
            table = run_table(first, min(first + RUN, options.docs), source, jaccard, select.num_perm)
            spent += time.process_time() - begun
            runs.append(f"{first // RUN:06d}")
            keys += write_run(store, "minhash", select, runs[-1], table, rows=len(table))["keys"]
        lap(f"{len(runs)} runs ({spent:.0f} CPU s of it drawing signatures)")
        of = max(1, -(-keys // KEYS))
        facts = [pair_range(store, "minhash", select, runs, number, of) for number in range(of)]
        crowded = sum(each["keys"] for fact in facts for each in fact["crowds"].values())
        lap(f"{of} key ranges, {sum(fact['pairs'] for fact in facts):,} pairs, crowded keys {crowded}")
        _, dropped = decide_by_pairs(store, "minhash", select, runs, of)
        lap("survivors")
        check(dropped, source, jaccard, select)


def check(dropped: pl.DataFrame, source: np.ndarray, jaccard: np.ndarray, select: MinHashDedup) -> None:
    """Copies are dropped for one of their family as often as the curve says, and nothing else is dropped."""
    pairs = dropped.select("row", survivor=pl.col("duplicate_of").str.to_integer(base=16, dtype=pl.Int64))
    rows, survivors = pairs["row"].to_numpy(), pairs["survivor"].to_numpy()
    family = source[source]
    wrong = int((family[rows] != family[survivors]).sum())
    copies = np.flatnonzero(source != np.arange(len(source)))
    # Of a pair the one with the larger id goes, so a copy before its original drops the original instead.
    alone = np.bincount(family, minlength=len(source))[family[copies]] == 2
    gone = np.zeros(len(source), dtype=bool)
    gone[rows] = True
    pair = np.maximum(copies, source[copies])[alone]
    bands, height = select.banding
    predicted = 1 - (1 - jaccard[copies[alone]] ** height) ** bands
    print(f"dropped {len(dropped):,}; for another family {wrong}; recall over families of two {gone[pair].mean():.4f}, "
          f"predicted {predicted.mean():.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
