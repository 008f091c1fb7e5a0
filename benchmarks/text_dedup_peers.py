"""Peers of the text dedup benchmark: each finds groups of near-duplicates among the texts of one file. Run by a Python that has them.

    PEER_PYTHON benchmarks/text_dedup_peers.py rensa texts.parquet groups.npy

Word 5-grams, 112 permutations, 14 bands of 8 rows, one core. Prints {"cpu", "wall", "docs", "kept"}; writes one group number per text for
those that tell. Imports are not timed, except for peers that are whole command lines.
"""

import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NUM_PERM, BANDS, ROWS = 112, 14, 8
WORD = re.compile(r"\w+")
MODULES = {"rensa": "rensa", "rensa-matrix": "rensa", "datasketch": "datasketch", "datatrove": "datatrove",
           "text-dedup": "text_dedup", "data-juicer": "data_juicer"}  # fmt: skip


def read(file: str) -> list[str]:
    import pyarrow.parquet as pq

    return pq.read_table(file, columns=["text"])["text"].to_pylist()


def shingles(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))]


def grouped(digests: Any) -> list[int]:
    """Union of everything that shares a band: what the libraries leave to their users."""
    parents = list(range(len(digests)))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    seen: dict[tuple[int, Any], int] = {}
    for number, values in enumerate(digests):
        for band in range(BANDS):
            key = (band, tuple(values[band * ROWS : (band + 1) * ROWS]))
            other = seen.setdefault(key, number)
            if other != number:
                parents[root(number)] = root(other)
    return [root(node) for node in range(len(parents))]


def rensa(file: str) -> list[int]:
    from rensa import RMinHash

    digests = []
    for text in read(file):
        sketch = RMinHash(num_perm=NUM_PERM, seed=1)
        sketch.update(shingles(text))
        digests.append(sketch.digest())
    return grouped(digests)


def rensa_matrix(file: str) -> list[int]:
    from rensa import RMinHash

    texts = read(file)
    digests: list[list[int]] = []
    for first in range(0, len(texts), 2048):
        sets = [shingles(text) for text in texts[first : first + 2048]]
        digests += RMinHash.digest_matrix_from_token_sets(sets, num_perm=NUM_PERM, seed=1).to_rows()
    return grouped(digests)


def datasketch(file: str) -> list[int]:
    import xxhash
    from datasketch import MinHash

    encoded = ([shingle.encode() for shingle in shingles(text)] for text in read(file))
    sketches = MinHash.generator(encoded, num_perm=NUM_PERM, seed=1, hashfunc=xxhash.xxh32_intdigest)
    return grouped([sketch.hashvalues.tolist() for sketch in sketches])


def datatrove(file: str) -> int:
    """Its four stages, one worker; words by its default, spaCy."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader, ParquetReader
    from datatrove.pipeline.writers import JsonlWriter

    folder = Path(tempfile.mkdtemp())
    config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=ROWS)
    reader = lambda: ParquetReader(str(Path(file).parent), glob_pattern=Path(file).name)  # noqa: E731
    stages = [
        ([reader(), MinhashDedupSignature(f"{folder}/signatures", config=config)], 1),
        ([MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)], BANDS),
        ([MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=config)], 1),
        ([reader(), MinhashDedupFilter(f"{folder}/remove"), JsonlWriter(f"{folder}/kept")], 1),
    ]
    for number, (pipeline, tasks) in enumerate(stages):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{folder}/logs{number}").run()
    return sum(1 for _ in JsonlReader(f"{folder}/kept")())


def command(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments[:3]}: exit {done.returncode}\n{done.stderr[-2000:]}")


def text_dedup(file: str) -> int:
    folder = Path(tempfile.mkdtemp())
    options = {"path": "parquet", "data_files": file, "split": "train", "column": "text", "output": f"{folder}/out", "ngram": 5,
               "num_perm": NUM_PERM, "b": BANDS, "r": ROWS, "min_length": 1, "num_proc": 1, "hash_func": "xxh3", "hash_bits": 32,
               "batch_size": 10_000, "cache_dir": f"{folder}/cache"}  # fmt: skip
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command([sys.executable, "-m", "text_dedup.minhash", *flags], folder)
    from datasets import load_from_disk

    return len(load_from_disk(f"{folder}/out"))


def data_juicer(file: str) -> int:
    folder = Path(tempfile.mkdtemp())
    operator = {
        "tokenization": "space",
        "window_size": 5,
        "num_permutations": NUM_PERM,
        "num_bands": BANDS,
        "num_rows_per_band": ROWS,
    }
    recipe = {"project_name": "bench", "dataset_path": file, "export_path": f"{folder}/out.jsonl", "np": 1, "use_cache": False,
              "process": [{"document_minhash_deduplicator": operator}]}  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    command([str(Path(sys.executable).with_name("dj-process")), "--config", str(folder / "recipe.yaml")], folder)
    with open(folder / "out.jsonl") as lines:
        return sum(1 for _ in lines)


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main(side: str, file: str, groups: str) -> None:
    sides = {"rensa": rensa, "rensa-matrix": rensa_matrix, "datasketch": datasketch, "datatrove": datatrove,
             "text-dedup": text_dedup, "data-juicer": data_juicer}  # fmt: skip
    if importlib.util.find_spec(MODULES[side]) is None:
        print(json.dumps({"missing": f"{MODULES[side]} is not installed in {sys.executable}"}))
        return
    if side not in ("datatrove", "text-dedup", "data-juicer"):
        __import__(MODULES[side])
        __import__("pyarrow.parquet")
    cpu, wall = cpu_seconds(), time.perf_counter()
    found = sides[side](file)
    facts: dict[str, Any] = {"cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall}
    if isinstance(found, list):
        import numpy as np

        np.save(groups, np.array(found))
        found = len(set(found))
    print(json.dumps(facts | {"kept": found}))


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where text_dedup.py is ours
    # One core, and no telemetry or hub.
    os.environ |= dict.fromkeys(
        ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
    )
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    main(*sys.argv[1:])
