"""Identity: the same dataset whatever happens, over a folder of real corpora as examples/corpus.py reads it.

    python benchmarks/identity.py --data CORPUS [--kills 3] [--seed 0]

The recipe runs by the local executor with one worker, by Ray with two, and by Ray killed -9 (driver and workers) at random moments and
begun again. Compared are the manifest, every shard and the ledger. Then: rows of the ledger against what the files hold, counted here;
`verify`; every key once, as the `webdataset` library reads the shards; a second run; a run with one bound changed.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import webdataset
from faults import CORPUS, ended

BOUND, CHANGED = "ShortSide(low=64)", "ShortSide(low=360)"


def started(recipe: Path, data: Path, out: Path, *how: str) -> "subprocess.Popen[str]":
    where = ["--data", str(data), "--out", str(out)]
    command = [sys.executable, "-m", "pipelines", "run", f"{recipe}:recipe", *where, *how, "--quiet"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def timed(recipe: Path, data: Path, out: Path, *how: str) -> tuple[float, str]:
    begun = time.perf_counter()
    said = ended(started(recipe, data, out, *how))
    return time.perf_counter() - begun, said


def killed(data: Path, out: Path, seconds: float, options: argparse.Namespace) -> list[float]:
    """When, in seconds after its start, each of the lives was killed, with everything that it had started; then one that ends."""
    draw, moments = random.Random(options.seed), []
    for _ in range(options.kills):
        process = started(CORPUS, data, out, "--executor", "ray", "--workers", "2")
        moment = draw.uniform(0.1, 0.9) * seconds / 2
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            moments.append(moment)
        process.communicate()
    ended(started(CORPUS, data, out, "--executor", "ray", "--workers", "2"))
    return moments


def digests(out: Path) -> dict[str, str]:
    """sha256 of the manifest, every shard and the ledger, by name."""
    files = [out / "manifest.json", *sorted((out / "shards").iterdir()), *sorted((out / "ledger").iterdir())]
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def held(data: Path) -> Counter[str]:
    """Samples in the files: rows, lines that are not blank, clips."""
    held: Counter[str] = Counter()
    for name in "image_text", "documents", "text":
        held[name] += sum(pq.read_metadata(file).num_rows for file in data.glob(f"{name}-*.parquet"))
    for name, file in (("text", data / "text.jsonl"), ("conversations", data / "conversations.jsonl")):
        held[name] += sum(bool(line.strip()) for line in file.open("rb")) if file.exists() else 0
    for file in data.glob("videos-*.tar"):
        with tarfile.open(file) as tar:
            held["videos"] += len({Path(member.name).stem for member in tar if member.isfile()})
    return held


def keys(out: Path) -> Counter[str]:
    shards = [str(shard) for shard in sorted((out / "shards").glob("*.tar"))]
    return Counter(sample["__key__"] for sample in webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))


def check(what: str, right: bool, figures: object) -> None:
    print(f"  {'ok    ' if right else 'WRONG '} {what}: {figures}", flush=True)
    if not right:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        compare(options, Path(root))


def compare(options: argparse.Namespace, root: Path) -> None:
    data, out = options.data, root / "local"
    alone, said = timed(CORPUS, data, out, "--executor", "local", "--workers", "1")
    print(f"  {said}")
    want = digests(out)
    two, _ = timed(CORPUS, data, root / "ray", "--executor", "ray", "--workers", "2")
    check("Ray with two workers", digests(root / "ray") == want, f"{len(want)} files; {two:.1f} s, alone {alone:.1f} s")
    moments = killed(data, root / "killed", two, options)
    check(
        f"{len(moments)} times killed",
        len(moments) == options.kills and digests(root / "killed") == want,
        ", ".join(f"after {m:.1f} s" for m in moments),
    )

    rows = pl.read_parquet(out / "ledger" / "*.parquet")
    seen = dict(rows["branch"].value_counts().iter_rows())
    check("a row per sample", seen == {name: n for name, n in held(data).items() if n}, seen)
    verified = subprocess.run([sys.executable, "-m", "pipelines", "verify", str(out)], capture_output=True, text=True)
    check("verify", verified.returncode == 0, verified.stdout.strip().splitlines()[-1])
    found = keys(out)
    kept = sum(shard["samples"] for shard in json.loads((out / "manifest.json").read_text())["shards"])
    check("webdataset", len(found) == kept and set(found.values()) == {1}, f"{len(found):,} keys, each once")

    again, said = timed(CORPUS, data, out, "--executor", "local", "--workers", "1")
    check("a second run", again < 5 and digests(out) == want, f"{again:.1f} s: {said}")
    changed = root / "changed.py"
    changed.write_text(CORPUS.read_text().replace(BOUND, CHANGED))
    seconds, said = timed(changed, data, out, "--executor", "local", "--workers", "1")
    fewer = sum(shard["samples"] for shard in json.loads((out / "manifest.json").read_text())["shards"])
    check(
        f"{CHANGED} instead of {BOUND}", fewer < kept and "media read 0, decoded 0" in said, f"{seconds:.1f} s: {said}"
    )


if __name__ == "__main__":
    main()
