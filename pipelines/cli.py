"""Command line of curation: vl3-curate.

Exit codes: 0 done, 1 found fault, 2 usage or recipe error (one line naming what to do), 3 run failed (run it again to resume).
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from curation.operator import ContractError, OperatorError, PartLimits, RecipeError
from curation.uris import directory
from pipelines import commands, looking, measure

DONE, FAULT, USAGE, FAILED = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except RecipeError as error:
        return _fail(USAGE, f"RecipeError: {error}")
    except FileNotFoundError as error:
        return _fail(USAGE, str(error))
    except (OperatorError, ContractError) as error:
        return _fail(
            FAILED, f"{type(error).__name__}: {error}. What is done is kept: run the same command again to resume"
        )
    except BrokenPipeError:
        return DONE  # the reader of our output (head) has seen enough
    except KeyboardInterrupt:
        return _fail(FAILED, "interrupted: what is done is kept; run the same command again to resume")


def _fail(code: int, message: str) -> int:
    print(f"vl3-curate: {message}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="vl3-curate", description="Curate image-text, video-text and text corpora into training shards."
    )
    commands_ = top.add_subparsers(required=True, metavar="COMMAND")

    plan = _command(
        commands_, "plan", commands.plan, "print what would run: DAG, rows, bytes, passes over media, what is done"
    )
    run = _command(commands_, "run", commands.run, "build the dataset, resuming what is there")
    sign = _command(
        commands_, "signatures", commands.signatures, "keep a run's signatures: a base for later runs' dedup"
    )
    sign.add_argument("--branch", required=True)
    sign.add_argument("--select", default="MinHashDedup", help="name of the Select (%(default)s)")
    sign.add_argument(
        "--to", type=Path, required=True, metavar="BASE", help="directory to write: MinHashDedup(base=BASE)"
    )
    sign.add_argument("--out", type=directory, required=True, help="the finished dataset of RECIPE")
    for sub in (plan, run, sign):
        sub.add_argument(
            "recipe",
            metavar="RECIPE",
            help="stage1 ... stage4 (or stageN_validation), demo, or path/to/file.py:function",
        )
        sub.add_argument("--data", required=True, help="directory the recipe reads")
        sub.add_argument("--limit", type=_positive, help="at most this many samples per branch (dry run)")
        sub.add_argument("--seed", type=int, help="seed of mixture and order (default: the recipe's)")
        sub.add_argument(
            "--part-rows", type=_positive, default=PartLimits().rows, help="samples per unit of work (%(default)s)"
        )
    plan.add_argument("--out", type=directory, default=directory("out"), help="say what is already done there")
    plan.add_argument("--json", action="store_true", help="for machines")
    plan.add_argument(
        "--probe", type=int, default=0, metavar="N", help="run the first N samples of every branch; project the whole"
    )
    plan.add_argument("--cluster-workers", type=_positive, default=os.cpu_count(), help="workers to project for")
    plan.add_argument("--price", type=float, default=0.0, help="of one worker hour")
    run.add_argument("--out", type=directory, required=True, help="the dataset directory")
    run.add_argument("--budget", type=_positive, help="size of the whole mixture, in its unit (default: all there is)")
    run.add_argument(
        "--allow-missing", action="store_true", help="go without corpora that are not there; recorded in the manifest"
    )
    run.add_argument("--executor", choices=("local", "ray"), default="local")
    run.add_argument(
        "--workers", type=int, help="worker processes (local; 0: in this process) or CPUs of Ray; default: all"
    )
    run.add_argument(
        "--sample-seconds",
        type=_seconds,
        default=60.0,
        help="a sample that stands still so long is quarantined (%(default)s)",
    )
    run.add_argument(
        "--measures",
        type=directory,
        metavar="DIR",
        help="keep what was measured here, where the runs of other stages find it (default: OUT/work)",
    )
    run.add_argument("--quiet", action="store_true", help="no progress")
    run.add_argument("--no-report", action="store_true", help="no report.html: `report DIR` writes it at any time")

    stats = _on_dataset(
        commands_, "stats", commands.stats, "shard statistics: samples, tokens, bytes, branches, scores, balance"
    )
    stats.add_argument("--json", action="store_true", help="for machines")
    report = _on_dataset(commands_, "report", commands.report, "write report.html again")
    report.add_argument("--price", type=float, help="of one worker hour, for the cost on the run's card; remembered")
    preview = _on_dataset(commands_, "preview", looking.preview, "a contact sheet of samples with captions, as PNG")
    preview.add_argument("--n", type=_positive, default=24, help="samples (%(default)s)")
    preview.add_argument("--to", type=Path, help="the picture's file (default: DIR/preview.png)")
    diff = _on_dataset(commands_, "diff", looking.diff, "what changed between two runs: recipe, counts, samples")
    diff.add_argument("after", metavar="DIR2", type=Path)
    diff.add_argument("--json", action="store_true", help="for machines")
    serve = _on_dataset(commands_, "serve", looking.serve, "browse the samples in a browser, on this machine only")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    serve.add_argument("--port", type=int, default=8765, help="0 takes a free one (%(default)s)")
    serve.add_argument(
        "--media",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="also show media of dropped samples from there",
    )
    numbers = _command(commands_, "measure", measure.measure, "all measures of a few files, as a table")
    numbers.add_argument("files", metavar="FILE", type=Path, nargs="+", help="pictures, clips, .txt, .jsonl")
    numbers.add_argument("--lines", type=_positive, default=8, help="read so many lines of a .jsonl (%(default)s)")
    numbers.add_argument("--json", action="store_true", help="for machines")
    explain = _on_dataset(commands_, "explain", commands.explain, "the fate of one sample, node by node")
    explain.add_argument("sample", metavar="ID|ORIGIN", help="sample id, or the id its source gave it")
    status = _on_dataset(commands_, "status", commands.status, "how a run in DIR stands, from another shell")
    status.add_argument("--json", action="store_true", help="for machines")
    verify = _on_dataset(commands_, "verify", commands.verify, "check everything a trainer relies on; exit 1 on fault")
    verify.add_argument("--no-decode", action="store_true", help="do not decode media")
    quarantine = _on_dataset(commands_, "quarantine", commands.quarantine, "what failed, by error")
    quarantine.add_argument(
        "--retry", action="store_true", help="forget failures, so that the next run tries those samples again"
    )
    doctor = _command(
        commands_, "doctor", commands.doctor, "which published corpora are there, readable, how large; exit 1 on fault"
    )
    doctor.add_argument("--data", required=True, help="directory with a folder per corpus")
    doctor.add_argument("--stage", choices=("stage1", "stage2", "stage3", "stage4"), help="only what this stage uses")
    doctor.add_argument("--samples", type=_positive, default=64, help="read so many of each corpus (%(default)s)")
    doctor.add_argument("--json", action="store_true", help="for machines")
    synth = _command(commands_, "synth", commands.synth, "write the synthetic corpora, the demo's input")
    synth.add_argument("directory", metavar="DIR", type=str)
    synth.add_argument("--samples", type=_positive, default=1000, help="in all (%(default)s)")
    synth.add_argument("--seed", type=int, default=0)
    synth.add_argument(
        "--defects", type=float, default=0.05, help="share of planted defects, recorded in truth.jsonl (%(default)s)"
    )
    synth.add_argument("--small", action="store_true", help="scenes and clips of few patches, quick to learn from")
    return top


def _command(
    commands_: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: Callable[[argparse.Namespace], int],
    help_: str,
) -> argparse.ArgumentParser:
    sub = commands_.add_parser(name, help=help_, description=help_)
    sub.set_defaults(command=function)
    return sub


def _on_dataset(
    commands_: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: Callable[[argparse.Namespace], int],
    help_: str,
) -> argparse.ArgumentParser:
    sub = _command(commands_, name, function, help_)
    sub.add_argument("directory", metavar="DIR", type=directory)
    return sub


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return seconds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
