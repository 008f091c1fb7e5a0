"""Flags: the command line of vl3-train, and what of a stage it replaces."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.stages import LONG, STAGES

Act = Callable[[argparse.Namespace], None]

CHANGES = (
    "pack_tokens",
    "pack_patches",
    "step_packs",
    "mixture_by",
    "step_tokens",
    "step_samples",
    "epochs",
    "clip",
    "clip_each",
    "spike",
    "average",
    "half_moments",
    "lora",
)  # values of a stage that a flag may replace


def parser(acts: Mapping[str, Act]) -> argparse.ArgumentParser:
    """The command line; `acts` says what each command does."""
    top = argparse.ArgumentParser(
        prog="vl3-train", description="Train VideoLLaMA3 from curated shards; under torchrun for more than one rank."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", acts["run"], "train a stage; resumes by itself when OUT holds a checkpoint")
    _stage_flags(run)
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--steps", type=_at_least(1), help="steps in all (default: one epoch)")
    run.add_argument("--workers", type=_at_least(0), default=0, help="loader processes per rank (0: none)")
    run.add_argument("--save-every", type=_at_least(0), default=500, metavar="STEPS", help="(0: only at the end)")
    run.add_argument("--keep", type=_at_least(1), default=2, help="checkpoints to keep")
    run.add_argument(
        "--timeout", type=_at_least(0, float), default=600.0, help="seconds that a pack may take to load (0: for ever)"
    )
    run.add_argument(
        "--recompute",
        choices=["none", "vision", "language", "all"],
        default="none",
        help="blocks that keep only their inputs",
    )
    run.add_argument("--compile", action="store_true", help="compile every block")
    _run_flags(run)
    plan = _command(commands, "plan", acts["plan"], "say what a stage would do, without training")
    _stage_flags(plan)
    plan.add_argument("--world-size", type=_at_least(1), default=1, metavar="N")
    plan.add_argument("--json", action="store_true")
    evaluate = _command(commands, "eval", acts["eval"], "held-out loss and accuracy per branch")
    evaluate.add_argument("checkpoint", metavar="CKPT")
    evaluate.add_argument("--shards", nargs="+", required=True, metavar="DIR")
    evaluate.add_argument("--stage", choices=list(STAGES), default="stage4", help="whose pixel rules and packs to use")
    evaluate.add_argument("--answers", action="store_true", help="also ask what the shards hold answers to")
    evaluate.add_argument(
        "--alone", action="store_true", help="without what was asked and answered before each question"
    )
    evaluate.add_argument(
        "--samples", type=_at_least(1), metavar="N", help="of each branch that are asked (default: all)"
    )
    evaluate.add_argument("--json", action="store_true")
    generate = _command(commands, "generate", acts["generate"], "answer a prompt about images or a video")
    generate.add_argument("checkpoint", metavar="CKPT")
    generate.add_argument("--prompt", required=True)
    generate.add_argument("--image", action="append", default=[], metavar="FILE")
    generate.add_argument("--video", action="append", default=[], metavar="FILE")
    generate.add_argument("--max-tokens", type=_at_least(1), default=128)
    export = _command(commands, "export", acts["export"], "write a model directory that transformers loads")
    export.add_argument("checkpoint", metavar="CKPT")
    export.add_argument("directory", type=Path, metavar="DIR")
    export.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    report = _command(commands, "report", acts["report"], "one HTML page over the metrics of one or several runs")
    report.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="what run wrote to --out, or its metrics.jsonl"
    )
    report.add_argument("--to", type=Path, help="the page's file (default: report.html in the first RUN)")
    bench = _command(
        commands, "bench", acts["bench"], "tokens/s, MFU and memory on the present device, by kind of pack"
    )
    bench.add_argument("--model", default="tiny")
    bench.add_argument("--steps", type=_at_least(1), default=3)
    bench.add_argument("--pack-tokens", type=int, default=None)
    bench.add_argument("--recompute", choices=["none", "vision", "language", "all"], default="none")
    bench.add_argument("--compile", action="store_true")
    bench.add_argument("--json", action="store_true")
    return top


def _at_least(lowest: int, kind: type[int] | type[float] = int) -> Callable[[str], Any]:
    """What reads a flag's number and refuses lower ones."""

    def read(text: str) -> float:
        number = kind(text)
        if not lowest <= number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text}: wanted a number of at least {lowest}")
        return number

    read.__name__ = kind.__name__  # what argparse calls it where it is no number
    return read


def _command(commands: Any, name: str, act: Act, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(act=act)
    return command


def _stage_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("stage", choices=list(STAGES), metavar="STAGE", help="stage1, stage2, stage3 or stage4")
    command.add_argument(
        "--shards", nargs="+", required=True, metavar="DIR", help="datasets, s3:// ones too, or folders of plain tars"
    )
    command.add_argument("--init", metavar="CKPT", help="run, checkpoint or model directory to start from")
    command.add_argument("--model", metavar="tiny|2b|7b|PATH", help="what to start from without --init (default: tiny)")
    command.add_argument(
        "--language",
        metavar="CKPT",
        help="start from this Qwen2.5 and the encoder of --vision, joined by a fresh projector",
    )
    command.add_argument("--vision", metavar="CKPT", help="take its vision encoder (the 7B starts from the 2B's)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--pack-tokens", type=int, help="language tokens of a pack")
    command.add_argument("--pack-patches", type=int, help="vision patches of a pack")
    command.add_argument("--step-packs", type=int, help="packs of a step over all ranks")
    command.add_argument("--epochs", type=int)
    command.add_argument("--step-tokens", type=int, help="language tokens of a step, instead of packs")
    command.add_argument("--step-samples", type=int, help="samples of a step, instead of packs")
    command.add_argument("--clip", type=float, help="largest gradient norm, 0 for none")
    command.add_argument("--clip-each", action="store_true", default=None, help="clip every component by its own norm")
    command.add_argument("--spike", type=float, metavar="SIGMAS", help="skip steps so far above the last 128")
    command.add_argument("--average", type=float, metavar="DECAY", help="keep and hand over averaged weights")
    command.add_argument("--half-moments", action="store_true", default=None, help="AdamW's moments in bf16")
    command.add_argument(
        "--long",
        nargs="+",
        choices=LONG,
        help="how media that exceed a pack are seen, the first that fits (default: the sample is left out)",
    )
    command.add_argument("--lora", type=int, metavar="RANK", help="train low-rank additions to the language model")
    command.add_argument(
        "--rate",
        action="append",
        default=[],
        metavar="COMPONENT=RATE",
        help="peak learning rate of vision, projector or language; 0 freezes it",
    )
    command.add_argument(
        "--repeat",
        action="append",
        default=[],
        metavar="BRANCH=TIMES",
        help="how often an epoch shows a branch (default: 1)",
    )
    command.add_argument(
        "--mix",
        action="append",
        default=[],
        metavar="BRANCH=SHARE",
        help="share of the epoch of every branch, instead of --repeat",
    )
    command.add_argument("--mix-by", dest="mixture_by", choices=["tokens", "samples"], help="(default: tokens)")


def _run_flags(run: argparse.ArgumentParser) -> None:
    """Flags that change no order of samples."""
    run.add_argument(
        "--prefetch", type=_at_least(0), default=0, metavar="BLOCKS", help="gather weights so many blocks ahead"
    )
    run.add_argument(
        "--milestones", type=_at_least(0), default=0, metavar="STEPS", help="keep every checkpoint at a multiple"
    )
    run.add_argument(
        "--replicas", type=_at_least(1), default=1, help="copies of the model, each sharded over its own ranks"
    )
    run.add_argument("--deterministic", action="store_true", help="the same bits every time, also on a GPU")
    run.add_argument(
        "--collect-every", type=_at_least(0), default=50, metavar="STEPS", help="Python's garbage, on all ranks"
    )
    run.add_argument("--profile", type=_at_least(0), default=0, metavar="STEPS", help="record steps into OUT/profile")
    run.add_argument("--memory", action="store_true", help="record the GPU's allocations into OUT/memory")


def changes_of(options: argparse.Namespace) -> dict[str, Any]:
    """Values of the stage that flags replace."""
    changes = {name: getattr(options, name) for name in CHANGES if getattr(options, name) is not None}
    changes |= {"long": tuple(options.long)} if options.long else {}
    if options.repeat:
        changes["repeats"] = dict(_number_of(text, "--repeat text=0.5") for text in options.repeat)
    if options.mix:
        changes["mixture"] = dict(_number_of(text, "--mix text=0.2") for text in options.mix)
    if options.rate:
        changes["rate"] = dict(_number_of(text, "--rate language=1e-5") for text in options.rate)
    return changes


def _number_of(text: str, example: str) -> tuple[str, float]:
    """NAME=NUMBER."""
    name, found, number = text.rpartition("=")
    try:
        if not found or not 0 <= float(number) < float("inf"):
            raise ValueError
        return name, float(number)
    except ValueError:
        raise UsageError(
            f"{example.split()[0]} {text}: wanted a name and a number of at least 0, for example {example}"
        ) from None
