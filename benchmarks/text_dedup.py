"""Near-duplicate texts, from reading to groups: ours beside peers, same texts, same shingles and bands, one core each, one run.

    python benchmarks/text_dedup.py [--texts 'DIR/text-*.parquet'] [--docs 50000] [--rounds 3] [--peer-python PATH]...

Texts are repeated with edits: each copy has a random share of its words replaced, from none to a third. Without --texts they are random
words. All sides read one Parquet file and find groups from word 5-grams, 112 permutations, 14 bands of 8 rows. Ours verifies every pair
(estimated similarity >= 0.5) and drops none for a text it was not compared with; the others join whatever shares a band.

recall: planted copies of true Jaccard >= 0.8 (0.7) that are in a group with their original. precision: of the texts that share a group,
those with a fellow of true Jaccard >= 0.5 (2,000 looked at, all fellows). CPU seconds of the process and its children.
"""

import argparse
import glob
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

PEERS = ("rensa", "rensa-matrix", "datasketch", "text-dedup", "data-juicer", "datatrove")
GROUPING = ("ours", "ours-datasketch", "rensa", "rensa-matrix", "datasketch")


def originals(pattern: str | None, generator: random.Random) -> list[str]:
    if pattern:
        files = sorted(glob.glob(pattern))
        return [t for file in files for t in pq.read_table(file, columns=["text"])["text"].to_pylist() if len(t) >= 200]
    vocabulary = [f"{generator.randrange(10**6):x}" for _ in range(20_000)]
    return [" ".join(generator.choices(vocabulary, k=generator.randrange(50, 800))) for _ in range(10_000)]


def edited(text: str, share: float, generator: random.Random) -> str:
    """The text with a share of its words replaced."""
    words = text.split(" ")
    for place in range(len(words)):
        if generator.random() < share:
            words[place] = f"x{generator.randrange(10**6)}"
    return " ".join(words)


def write_texts(path: Path, pattern: str | None, docs: int) -> list[tuple[int, int]]:
    """Write the file; returns planted pairs (original, copy) by row."""
    generator = random.Random(0)
    texts = originals(pattern, generator)[: int(0.8 * docs)]
    pairs = []
    for _ in range(docs - len(texts)):
        source = generator.randrange(len(texts) if not pairs else pairs[0][1])
        pairs.append((source, len(texts)))
        texts.append(edited(texts[source], generator.choice((0, 0.005, 0.02, 0.05, 0.1, 0.3)), generator))
    pq.write_table(pa.table({"id": [f"{n:032x}" for n in range(docs)], "text": texts}), path)
    return pairs


def ours(file: str, groups: str, hashes: str) -> None:
    """What the operator does in a run, without the run: signatures per part, then the choice."""
    from curation.select import MinHashDedup
    from curation.select.minhash import _binary

    select = MinHashDedup(num_perm=112, bands=(14, 8), hashes=hashes)  # pyright: ignore[reportArgumentType]
    warm = pl.DataFrame({"id": ["0" * 32, "1" * 32], "minhash": _binary(*select.signatures(["a b c", "a b c"]))})
    select.choose(warm)  # compiled code is kept beside the source; loading it is not timed, like the peers' imports
    cpu, wall = time.process_time(), time.perf_counter()
    tables = []
    for batch in pq.ParquetFile(file).iter_batches(batch_size=2048, columns=["id", "text"]):
        column = pl.from_arrow(batch)
        assert isinstance(column, pl.DataFrame)
        tables.append(column.select("id").with_columns(_binary(*select.signatures(column["text"]))))
    table = pl.concat(tables)
    dropped = select.choose(table)
    facts = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "kept": len(table) - len(dropped)}
    stands = table.select("id").join(dropped, on="id", how="left").select(pl.coalesce("duplicate_of", "id"))
    np.save(groups, stands.to_series().str.to_integer(base=16, dtype=pl.Int128).cast(pl.Int64).to_numpy())
    print(json.dumps(facts))


def shingles(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def quality(groups: np.ndarray, texts: list[str], pairs: list[tuple[int, int]]) -> dict[str, float]:
    found: dict[float, list[bool]] = defaultdict(list)
    for original, copy in pairs[:4000]:
        one, other = shingles(texts[original]), shingles(texts[copy])
        jaccard = len(one & other) / len(one | other)
        for level in (0.7, 0.8):
            if jaccard >= level:
                found[level].append(bool(groups[original] == groups[copy]))
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)
    together = [group for group in members.values() if len(group) > 1]
    grouped = [(row, group) for group in together for row in group]
    rows = random.Random(1).sample(grouped, min(2000, len(grouped)))
    right = [any(row != fellow and similar(texts[row], texts[fellow]) for fellow in group) for row, group in rows]
    return {
        "recall@.8": statistics.mean(found[0.8]),
        "recall@.7": statistics.mean(found[0.7]),
        "precision": statistics.mean(right),
    }


def similar(one: str, other: str) -> bool:
    first, second = shingles(one), shingles(other)
    return len(first & second) >= 0.5 * len(first | second)


def run_side(side: str, file: Path, groups: Path, pythons: list[str]) -> dict[str, Any]:
    if side.startswith("ours"):
        hashes = "datasketch" if side.endswith("datasketch") else "fast"
        commands = [[sys.executable, __file__, "--ours", str(file), str(groups), hashes]]
    else:
        script = str(Path(__file__).with_name("text_dedup_peers.py"))
        commands = [[python, script, side, str(file), str(groups)] for python in [*pythons, sys.executable]]
    facts: dict[str, Any] = {}
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"missing": f"failed: {done.stderr.strip()[-300:]}"}
        facts = json.loads(done.stdout.strip().splitlines()[-1])
        if "missing" not in facts:
            return facts
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", help="Parquet files with a column `text`")
    parser.add_argument("--docs", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peer-python", action="append", default=[], help="a Python that has peers installed; may be given again"
    )
    parser.add_argument("--sides", default=",".join(("ours", "ours-datasketch", *PEERS)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.parquet"
        pairs = write_texts(file, options.texts, options.docs)
        texts = pq.read_table(file, columns=["text"])["text"].to_pylist()
        characters = sum(map(len, texts)) / len(texts)
        print(f"{len(texts):,} texts of {characters:,.0f} characters, {len(pairs):,} of them edited copies", flush=True)
        times: dict[str, list[float]] = defaultdict(list)
        facts: dict[str, dict[str, Any]] = {}
        for _ in range(options.rounds):
            for side in options.sides.split(","):
                got = run_side(side, file, Path(folder) / f"{side}.npy", options.peer_python)
                facts.setdefault(side, {}).update(got)
                print(f"{side}: {got}", file=sys.stderr, flush=True)
                if "cpu" in got:
                    times[side].append(got["cpu"])
        show(times, facts, len(texts), {
            side: quality(np.load(Path(folder) / f"{side}.npy"), texts, pairs) for side in times if side in GROUPING
        })  # fmt: skip


def show(
    times: dict[str, list[float]], facts: dict[str, dict[str, Any]], docs: int, qualities: dict[str, dict[str, float]]
) -> None:
    columns = [
        "side",
        "CPU s (runs)",
        "texts / CPU s",
        "ours is x as fast",
        "kept",
        "recall@.8",
        "recall@.7",
        "precision",
    ]
    print("", *columns, "\n", sep=" | ", end="|---" * len(columns) + "|\n")
    for side, got in facts.items():
        if side not in times:
            print(f"| {side} | {got['missing']} |")
            continue
        middle = statistics.median(times[side])
        ratio = middle / statistics.median(times["ours"]) if "ours" in times else float("nan")
        runs = ", ".join(f"{seconds:.2f}" for seconds in times[side])
        said = " | ".join(f"{value:.3f}" for value in qualities.get(side, {}).values()) or " | | "
        print(f"| {side} | {runs} | {docs / middle:,.0f} | {ratio:.1f} | {got['kept']:,} | {said} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        ours(*sys.argv[2:])
    else:
        main()
