"""Stage targets: `make stage1` ... `make stage4` over a miniature of every corpus the paper names, and what came out of them.

    python benchmarks/stage_targets.py [--work DIR] [--stage N]...

The corpora are drawn by `tests/pipelines/mini_corpora.py` in the published formats, with a bad record in each. Checked per stage: the
target exits with 0; every corpus of the stage stands in the manifest; each has the share asked for within 1 % of all samples; `verify`
finds no fault; `vl3-train plan` takes the shards; `make stageN LIMIT=10` and the validation split do too. Exit code 1 if any of it fails.
Takes minutes: it is no test.
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "pipelines")]

from curation.shards import ShardReader, open_dataset, read_manifest  # noqa: E402
from pipelines.recipes.corpora import corpora_of  # noqa: E402
from pipelines.recipes.stages import stage_shares  # noqa: E402
from tests.pipelines.mini_corpora import WRITERS, write_corpora  # noqa: E402

# Asked of each stage: so many that one sample of each of the smallest corpora is no noticeable share.
SAMPLES = {1: 600, 2: 720, 3: 720, 4: 900}
WITHIN = 0.01


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, help="write there and leave it")
    options.add_argument("--stage", type=int, action="append", choices=SAMPLES, help="only this one; may be repeated")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        data = work / "corpora"
        if not data.is_dir():
            write_corpora(data, counts())
        print(f"{len(list(data.iterdir()))} corpora")
        faults = [f for stage in arguments.stage or SAMPLES for f in check(stage, data, work, SAMPLES[stage])]
    print("\n".join(faults) or "all as asked")
    return bool(faults)


def counts() -> dict[str, int]:
    """Samples of each corpus, so that every stage finds what its shares ask for, and some to hold out."""
    wanted = dict.fromkeys(WRITERS, 4)
    for stage, total in SAMPLES.items():
        shares = stage_shares(f"stage{stage}")
        for corpus, use in corpora_of(f"stage{stage}"):
            wanted[corpus.name] = max(wanted[corpus.name], math.ceil(1.05 * total * shares[corpus.branch(use)]) + 4)
    return wanted


def check(stage: int, data: Path, work: Path, samples: int) -> Iterator[str]:
    """Run a stage's target and look at what it made; yields what is wrong."""
    out, name = work / f"stage{stage}", f"stage{stage}"
    started = time.perf_counter()
    code, said = call(
        "make", "-o", ".venv/.ready", name, f"DATA={data}", f"OUT={out}", "WORKERS=2", f"BUDGET={samples}"
    )
    print(f"{name}: make exits {code} after {time.perf_counter() - started:.0f} s")
    if code:
        yield f"{name}: make exits {code}: {said[-1500:]}"
        return
    yield from shares(name, out)
    for tool, *arguments in (
        ("vl3-curate", "verify", out),
        ("vl3-train", "plan", name, "--shards", out, "--world-size", "8", "--model", "tiny"),
    ):
        code, said = call(sys.executable, "-m", {"vl3-curate": "pipelines", "vl3-train": "trainer"}[tool], *arguments)
        print(f"  {tool} {arguments[0]} exits {code}: {said.strip().splitlines()[-1][:150] if said.strip() else ''}")
        if code:
            yield f"{name}: {tool} {arguments[0]} exits {code}: {said[-1500:]}"
    yield from held_out(name, data, work)
    few = work / f"{name}_few"
    code, said = call("make", "-o", ".venv/.ready", name, f"DATA={data}", f"OUT={few}", "WORKERS=2", "LIMIT=10")
    if code:
        yield f"{name}: make LIMIT=10 exits {code}: {said[-1500:]}"
        return
    read = json.loads((few / "report.json").read_text())["seen"]["Run"]["samples read"]
    print(f"  make {name} LIMIT=10: {read} samples read of {len(corpora_of(name))} corpora")


def shares(name: str, out: Path) -> Iterator[str]:
    """Every corpus is there with the share it should have: as asked, but one sample at least."""
    manifest = read_manifest(out)
    got = {branch: total["samples"] for branch, total in manifest.branches.items()}
    asked, whole = manifest.mixture["asked"], sum(got.values())
    absent = [corpus.branch(use) for corpus, use in corpora_of(name) if not got.get(corpus.branch(use))]
    published = stage_shares(name)
    off = {branch: got[branch] / whole - asked[branch] for branch in got}
    worst = max(off, key=lambda branch: abs(off[branch]))
    print(
        f"  {whole} samples of {len(got)} corpora; furthest from its share: {worst}, by {100 * off[worst]:+.2f} % of all"
    )
    if absent:
        yield f"{name}: nothing of {', '.join(absent)}"
    yield from (f"{name}: {b} is {100 * v:+.2f} % off its share" for b, v in off.items() if abs(v) > WITHIN)
    yield from (
        f"{name}: {b} was asked for {asked[b]:.5f}, the paper's share is {share:.5f}"
        for b, share in published.items()
        if abs(asked.get(b, 0.0) - share) > 1e-4
    )


def held_out(name: str, data: Path, work: Path) -> Iterator[str]:
    """The validation split runs, and shares no sample with the stage."""
    out = work / f"{name}_validation"
    code, said = call(
        sys.executable,
        "-m",
        "pipelines",
        "run",
        f"{name}_validation",
        "--data",
        data,
        "--out",
        out,
        "--workers",
        "2",
        "--quiet",
    )
    if code:
        yield f"{name}: validation exits {code}: {said[-1500:]}"
        return
    sides = [contents(where) for where in (work / name, out)]
    both = set(sides[0]) & set(sides[1])
    print(f"  validation: {len(sides[1])} pictures, clips and texts held out, {len(both)} of them also trained on")
    if both:
        yield f"{name}: {len(both)} are both trained on and held out: {', '.join(sorted(sides[1][key] for key in both))[:400]}"


def contents(out: Path) -> dict[str, str]:
    """Digest of every picture, clip, and text of a sample without media, and the branch it is in."""
    found = {}
    for shard in open_dataset(out)[1]:
        with ShardReader(shard) as reader:
            for sample in reader:
                said = "".join(turn["text"] for turn in sample.fields["turns"]).encode()
                for data in sample.media or (said,):
                    found[hashlib.sha256(data).hexdigest()] = sample.fields["branch"]
    return found


def call(*command: object) -> tuple[int, str]:
    """Exit code and output of a command, run in the project's folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    program = shutil.which(str(command[0]), path=environment["PATH"]) or str(command[0])
    done = subprocess.run(
        [program, *map(str, command[1:])],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


if __name__ == "__main__":
    sys.exit(main())
