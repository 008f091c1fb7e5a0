"""Four stages: a tiny model from random weights through all four, and what it then knows of held-out pictures and clips.

    python benchmarks/four_stages.py --yes [--out DIR] [--samples 6000] [--steps 300 1200 1500 1500] [--seeds 0]

Synthetic corpora of one seed are curated and trained on, stage by stage; others of another seed are only asked. After
stage 3 every question about pictures is asked, after stage 4 every one about clips too. Each form of question stands
beside chance, which is always giving its commonest answer. As it is, it takes some hours of one core;
--samples 500 --held-out 150 --asked 20 --steps 10 60 50 40 is a trial of a minute or two. An interrupted run goes on where
it was: everything below DIR resumes by itself. Without --yes it only says what it would do, so that running all
benchmarks does not start it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("stage1", "stage2", "stage3", "stage4")
HELD_OUT_SEED = 1_000_003
ASKED = {"stage3": ("conversations", "image_text", "documents"), "stage4": ("conversations", "videos", "image_text")}


def call(*command: str) -> None:
    print("$", *command[2:], flush=True)
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)


def curate(stage: str, data: Path, out: Path) -> None:
    if (out / "manifest.json").is_file():
        return
    call(
        "-m", "pipelines", "run", stage, "--data", str(data), "--out", str(out), "--executor", "local", "--workers", "1"
    )


def synthesise(directory: Path, samples: int, seed: int) -> None:
    if not (directory / "truth.jsonl").is_file():
        call("-m", "pipelines", "synth", str(directory), "--samples", str(samples), "--seed", str(seed))


def train(stage: str, shards: Path, out: Path, before: Path | None, steps: int, seed: int) -> None:
    init = ("--init", str(before)) if before else ("--model", "tiny")
    flags = ("--steps", str(steps), "--save-every", "200", "--seed", str(seed))
    call("-m", "trainer", "run", stage, "--shards", str(shards), "--out", str(out), *init, *flags)


def ask(stage: str, run: Path, shards: Path, samples: int) -> list[dict[str, Any]]:
    """Scores by form of question of the branches of a stage."""
    command = [sys.executable, "-m", "trainer", "eval", str(run), "--shards", str(shards), "--stage", stage]
    done = subprocess.run(
        [*command, "--answers", "--samples", str(samples), "--json"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return [row for row in json.loads(done.stdout).get("answers", []) if row["branch"] in ASKED[stage]]


def one_seed(out: Path, options: argparse.Namespace, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Train the four stages with one seed and ask."""
    before: Path | None = None
    answers: dict[str, list[dict[str, Any]]] = {}
    for stage, steps in zip(STAGES, options.steps, strict=True):
        run = out / f"seed{seed}" / stage
        train(stage, out / stage, run, before, steps, seed)
        if stage in ASKED:
            answers[stage] = ask(stage, run, out / "asked", options.asked)
        before = run
    return answers


def table(stage: str, found: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per form of question: mean over seeds, and the range."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for answers in found:
        for row in answers:
            rows[row["branch"], row["kind"], row["form"]].append(row)
    result = []
    for (branch, kind, form), seeds in sorted(rows.items(), key=lambda item: -item[1][0]["questions"]):
        scores = [row["score"] for row in seeds]
        line = {
            "stage": stage, "branch": branch, "kind": kind, "form": form, "questions": seeds[0]["questions"],
            "score": statistics.mean(scores), "low": min(scores), "high": max(scores), "chance": seeds[0]["chance"],
        }  # fmt: skip
        result.append(line)
        print(
            f"{stage}  {branch:<14}{kind:<10}{form:<26}{line['questions']:>6}  score {line['score']:6.1%}  "
            f"({line['low']:.1%} to {line['high']:.1%} over seeds)  chance {line['chance']:6.1%}"
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yes", action="store_true", help="start it")
    parser.add_argument("--out", type=Path, default=Path("four_stages"))
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--held-out", type=int, default=900, help="samples of the corpora that are only asked")
    parser.add_argument("--asked", type=int, default=120, help="samples of each branch that are asked")
    parser.add_argument("--steps", type=int, nargs=4, default=[300, 1200, 1500, 1500], metavar="N")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.yes:
        print(f"four_stages: would train {sum(options.steps):,} steps for {len(options.seeds)} seeds; add --yes")
        return
    started, out = time.perf_counter(), options.out.resolve()
    synthesise(out / "data", options.samples, 0)
    synthesise(out / "held_out", options.held_out, HELD_OUT_SEED)
    for stage in STAGES:
        curate(stage, out / "data", out / stage)
    curate("demo", out / "held_out", out / "asked")  # everything of it, unmixed
    answers = [one_seed(out, options, seed) for seed in options.seeds]
    rows = [row for stage in ASKED for row in table(stage, [found[stage] for found in answers])]
    print(f"{len(options.seeds)} seeds, {(time.perf_counter() - started) / 60:.0f} minutes")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
