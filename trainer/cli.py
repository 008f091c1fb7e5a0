"""Cli: the command vl3-train.

Exit codes: 0 done, 1 a dataset or checkpoint is at fault, 2 the command asks for what cannot be, 3 the run stopped
and can be resumed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.errors import ContractError, RunError, UsageError
from trainer.stages import LONG, STAGES

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        options.act(options)
    except (ContractError, RunError, UsageError, ValueError, OSError) as error:
        print(f"vl3-train: {error}", file=sys.stderr)
        return 1 if isinstance(error, ContractError) else 3 if isinstance(error, RunError | OSError) else 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="vl3-train", description="Train VideoLLaMA3 from curated shards; under torchrun for more than one rank."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "train a stage; resumes by itself when OUT holds a checkpoint")
    _stage_flags(run)
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--steps", type=int, help="steps in all (default: one epoch)")
    run.add_argument("--workers", type=int, default=0, help="loader processes per rank (0: none)")
    run.add_argument("--save-every", type=int, default=500, metavar="STEPS")
    run.add_argument("--keep", type=int, default=2, help="checkpoints to keep")
    run.add_argument("--timeout", type=float, default=600.0, help="seconds that a pack may take to load")
    run.add_argument(
        "--recompute",
        choices=["none", "vision", "language", "all"],
        default="none",
        help="blocks that keep only their inputs",
    )
    run.add_argument("--compile", action="store_true", help="compile every block")
    _run_flags(run)
    plan = _command(commands, "plan", _plan, "say what a stage would do, without training")
    _stage_flags(plan)
    plan.add_argument("--world-size", type=int, default=1, metavar="N")
    plan.add_argument("--json", action="store_true")
    evaluate = _command(commands, "eval", _eval, "held-out loss and accuracy per branch")
    evaluate.add_argument("checkpoint", metavar="CKPT")
    evaluate.add_argument("--shards", nargs="+", required=True, metavar="DIR")
    evaluate.add_argument("--stage", choices=list(STAGES), default="stage4", help="whose pixel rules and packs to use")
    evaluate.add_argument("--answers", action="store_true", help="also ask what the shards hold answers to")
    evaluate.add_argument("--samples", type=int, metavar="N", help="of each branch that are asked (default: all)")
    evaluate.add_argument("--json", action="store_true")
    generate = _command(commands, "generate", _generate, "answer a prompt about images or a video")
    generate.add_argument("checkpoint", metavar="CKPT")
    generate.add_argument("--prompt", required=True)
    generate.add_argument("--image", action="append", default=[], metavar="FILE")
    generate.add_argument("--video", action="append", default=[], metavar="FILE")
    generate.add_argument("--max-tokens", type=int, default=128)
    export = _command(commands, "export", _export, "write a model directory that transformers loads")
    export.add_argument("checkpoint", metavar="CKPT")
    export.add_argument("directory", type=Path, metavar="DIR")
    export.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    report = _command(commands, "report", _report, "one HTML page over the metrics of one or several runs")
    report.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="what run wrote to --out, or its metrics.jsonl"
    )
    report.add_argument("--to", type=Path, help="the page's file (default: report.html in the first RUN)")
    bench = _command(commands, "bench", _bench, "tokens/s, MFU and memory on the present device, by kind of pack")
    bench.add_argument("--model", default="tiny")
    bench.add_argument("--steps", type=int, default=3)
    bench.add_argument("--pack-tokens", type=int, default=None)
    bench.add_argument("--recompute", choices=["none", "vision", "language", "all"], default="none")
    bench.add_argument("--compile", action="store_true")
    bench.add_argument("--json", action="store_true")
    return top


def _command(commands: Any, name: str, act: Any, text: str) -> argparse.ArgumentParser:
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
    run.add_argument("--vision", metavar="CKPT", help="take its vision encoder (the 7B starts from the 2B's)")
    run.add_argument("--prefetch", type=int, default=0, metavar="BLOCKS", help="gather weights so many blocks ahead")
    run.add_argument("--milestones", type=int, default=0, metavar="STEPS", help="keep every checkpoint at a multiple")
    run.add_argument("--replicas", type=int, default=1, help="copies of the model, each sharded over its own ranks")
    run.add_argument("--deterministic", action="store_true", help="the same bits every time, also on a GPU")
    run.add_argument("--collect-every", type=int, default=50, metavar="STEPS", help="Python's garbage, on all ranks")
    run.add_argument("--profile", type=int, default=0, metavar="STEPS", help="record steps into OUT/profile")
    run.add_argument("--memory", action="store_true", help="record the GPU's allocations into OUT/memory")


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    """Values of the stage that flags replace."""
    changes = {name: getattr(options, name) for name in CHANGES if getattr(options, name) is not None}
    changes |= {"long": tuple(options.long)} if options.long else {}
    if options.repeat:
        changes["repeats"] = dict(_number_of(text, "--repeat text=0.5") for text in options.repeat)
    if options.mix:
        changes["mixture"] = dict(_number_of(text, "--mix text=0.2") for text in options.mix)
    if options.rate:
        changes["rates"] = dict(_number_of(text, "--rate language=1e-5") for text in options.rate)
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


def _parallel(options: argparse.Namespace) -> Any:
    from trainer.parallelize import Parallel

    return Parallel(
        recompute_vision=options.recompute in ("vision", "all"),
        recompute_language=options.recompute in ("language", "all"),
        compile=options.compile,
        prefetch=getattr(options, "prefetch", 0),
    )


def _run(options: argparse.Namespace) -> None:
    from trainer.train import Settings, train
    from trainer.upkeep import Upkeep

    progress = train(
        Settings(
            stage=options.stage,
            shards=tuple(options.shards),
            out=options.out,
            init=options.init,
            model=options.model,
            vision=options.vision,
            steps=options.steps,
            seed=options.seed,
            workers=options.workers,
            save_every=options.save_every,
            keep=options.keep,
            timeout=options.timeout,
            changes=_changes(options),
            parallel=_parallel(options),
            milestones=options.milestones,
            replicas=options.replicas,
            upkeep=Upkeep(
                deterministic=options.deterministic,
                collect_every=options.collect_every,
                profile=options.profile,
                memory=options.memory,
            ),
        )
    )
    print(f"{options.stage}: {progress.step:,} steps done; the model is in {options.out / 'model'}")


def _plan(options: argparse.Namespace) -> None:
    from model.config import ModelConfig
    from trainer.dataset import open_catalogue
    from trainer.flops import flop_model
    from trainer.mirror import local_dataset
    from trainer.mixture import with_repeats
    from trainer.plan import epoch_plans, with_step_size
    from trainer.stages import PRESETS, stage_for, with_changes
    from trainer.start import processor_of, read_config
    from trainer.summary import describe_summary, summarise

    source = options.init or options.model or "tiny"
    config = ModelConfig.preset(source) if source in PRESETS else read_config(Path(source))
    stage = with_changes(stage_for(options.stage, width=config.language.hidden, source=source), _changes(options))
    processor = processor_of(source)
    places = [local_dataset(place, rules=stage.rules, processor=processor) for place in options.shards]
    flops, catalogue = flop_model(config, stage), open_catalogue(places, stage.rules)
    stage = with_repeats(stage, catalogue)
    stage = with_step_size(stage, catalogue, flops, seed=options.seed)
    summary = summarise(epoch_plans(catalogue, stage, flops, seed=options.seed, epoch=0), options.world_size)
    print(json.dumps(summary, indent=1) if options.json else describe_summary(summary))


def _eval(options: argparse.Namespace) -> None:
    import torch

    from trainer.answers import describe_answers, score_answers
    from trainer.evaluate import evaluate
    from trainer.stages import stage_for
    from trainer.start import read_model

    model, processor = read_model(Path(options.checkpoint))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stage = stage_for(options.stage, width=model.config.language.hidden)
    scores = evaluate(model, processor, options.shards, stage, device=device)
    answers = (
        score_answers(model, processor, options.shards, stage, device=device, samples=options.samples)
        if options.answers
        else []
    )
    if options.json:
        found: dict[str, Any] = {name: asdict(score) for name, score in scores.items()}
        print(json.dumps(found | ({"answers": [asdict(one) for one in answers]} if answers else {}), indent=1))
        return
    print(f"{'branch':<20}{'loss':>10}{'accuracy':>10}{'tokens':>12}")
    for name, score in scores.items():
        print(f"{name:<20}{score.loss:>10.4f}{score.accuracy:>10.1%}{score.tokens:>12,}")
    if answers:
        print("\n" + describe_answers(answers))


def _generate(options: argparse.Namespace) -> None:
    from trainer.start import read_model

    model, processor = read_model(Path(options.checkpoint))
    content = (
        [{"type": "image"} for _ in options.image]
        + [{"type": "video"} for _ in options.video]
        + [{"type": "text", "text": options.prompt}]
    )
    conversation = [{"role": "user", "content": content}]
    print(
        model.eval().generate(
            processor, conversation, images=options.image, videos=options.video, max_new_tokens=options.max_tokens
        )
    )


def _export(options: argparse.Namespace) -> None:
    import torch

    from trainer.start import export

    export(Path(options.checkpoint), options.directory, dtype=getattr(torch, options.dtype))
    print(f"exported to {options.directory}")


def _report(options: argparse.Namespace) -> None:
    from trainer.report import write_report

    print(write_report(options.runs, options.to))


def _bench(options: argparse.Namespace) -> None:
    from trainer.bench import bench, describe_rows

    rows = bench(options.model, steps=options.steps, pack_tokens=options.pack_tokens, parallel=_parallel(options))
    print(json.dumps(rows, indent=1) if options.json else describe_rows(rows))
