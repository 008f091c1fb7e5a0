"""Four stages: a tiny model through all four, and what it then knows of held-out pictures and clips.

    python benchmarks/four_stages.py --yes [--out DIR] [--seeds 0 1] [--share 1.0] [--json FILE]

It is the captioner's training (`examples.assets.captioner`), a seed each: a small synthetic world is curated and trained on, stage
by stage; another one is only asked, each question by itself. After stage 3 every question about pictures is asked, after stage 4 those
about clips too. Each form of question stands beside chance, which is always giving its commonest answer. A seed takes some 60 minutes of
one core; --share 0.02 is a trial of a minute or two. An interrupted run goes on where it was: everything below DIR resumes by itself.
Without --yes it only says what it would do, so that running all benchmarks does not start it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for examples

from curation.sources.synthetic import write_synthetic  # noqa: E402
from examples.assets import captioner, recipes  # noqa: E402

HELD_OUT_SEED = 1_000_003
ASKED = ("stage3", "stage4")


def call(*command: str) -> str:
    """Run a module of ours; what it prints."""
    print("$", *command, flush=True)
    return subprocess.run(
        [sys.executable, "-m", *command], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ).stdout


def held_out(out: Path, samples: int) -> Path:
    """Shards of a world that nothing is trained on, with nothing wrong in it."""
    data, shards = out / "held_out", out / "asked"
    if not (shards / "manifest.json").is_file():
        write_synthetic(
            str(data), samples=samples, seed=HELD_OUT_SEED, defects=0.0, small=True, shares=captioner.SHARES
        )
        recipe = f"{recipes.__file__}:asked"
        call("pipelines", "run", recipe, "--data", str(data), "--out", str(shards), "--executor", "local")
    return shards


def ask(stage: str, run: Path, shards: Path, samples: int) -> list[dict[str, Any]]:
    """Scores by form of question."""
    command = ("trainer", "eval", str(run), "--shards", str(shards), "--stage", stage)
    found = json.loads(call(*command, "--answers", "--alone", "--samples", str(samples), "--json")).get("answers", [])
    return [row for row in found if stage == "stage4" or row["media"] == "image"]


def one_seed(out: Path, shards: Path, options: argparse.Namespace, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Train with one seed and ask."""
    whole, work = captioner.Training(seed=seed), out / f"seed{seed}"
    settings = replace(
        whole,
        samples=max(300, round(whole.samples * options.share)),
        vision=replace(whole.vision, steps=max(10, round(whole.vision.steps * options.share)), seed=seed),
        steps={stage: max(5, round(steps * options.share)) for stage, steps in whole.steps.items()},
    )
    captioner.write_corpora(work / "data", settings)
    before = captioner.begin(work / "begin", settings)
    answers: dict[str, list[dict[str, Any]]] = {}
    for stage, steps in settings.steps.items():
        before = captioner.run_stage(stage, work, before, steps=steps, seed=seed)
        if stage in ASKED:
            answers[stage] = ask(stage, before, shards, options.asked)
    return answers


def table(stage: str, found: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per form of question: mean over seeds, and the range."""
    rows: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for answers in found:
        for row in answers:
            rows[row["branch"], row["media"], row["kind"], row["form"]].append(row)
    result = []
    for (branch, media, kind, form), seeds in sorted(rows.items(), key=lambda item: -item[1][0]["questions"]):
        scores = [row["score"] for row in seeds]
        line = {
            "stage": stage, "branch": branch, "media": media, "kind": kind, "form": form, "questions": seeds[0]["questions"],
            "score": statistics.mean(scores), "low": min(scores), "high": max(scores), "chance": seeds[0]["chance"],
        }  # fmt: skip
        result.append(line)
        print(
            f"{stage}  {branch:<14}{media:<6}{kind:<10}{form:<26}{line['questions']:>6}  score {line['score']:6.1%}  "
            f"({line['low']:.1%} to {line['high']:.1%} over seeds)  chance {line['chance']:6.1%}"
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yes", action="store_true", help="start it")
    parser.add_argument("--out", type=Path, default=Path("four_stages"))
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the steps and samples that make the shipped weights"
    )
    parser.add_argument("--held-out", type=int, default=1500, help="samples of the world that is only asked")
    parser.add_argument("--asked", type=int, default=400, help="samples of each branch that are asked")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.yes:
        steps = sum(captioner.Training().steps.values()) * options.share
        print(f"four_stages: would train {steps:,.0f} steps for {len(options.seeds)} seeds; add --yes")
        return
    started, out = time.perf_counter(), options.out.resolve()
    shards = held_out(out, options.held_out)
    answers = [one_seed(out, shards, options, seed) for seed in options.seeds]
    rows = [row for stage in ASKED for row in table(stage, [found[stage] for found in answers])]
    print(f"{len(options.seeds)} seeds, {(time.perf_counter() - started) / 60:.0f} minutes")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
