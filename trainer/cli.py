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
from trainer.flags import changes_of, parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser(ACTS).parse_args(arguments)
    try:
        options.act(options)
    except (ContractError, RunError, UsageError, ValueError, OSError) as error:
        print(f"vl3-train: {error}", file=sys.stderr)
        return 1 if isinstance(error, ContractError) else 3 if isinstance(error, RunError | OSError) else 2
    return 0


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
            language=options.language,
            vision=options.vision,
            steps=options.steps,
            seed=options.seed,
            workers=options.workers,
            save_every=options.save_every,
            keep=options.keep,
            timeout=options.timeout,
            changes=changes_of(options),
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
    from trainer.dataset import open_catalogue
    from trainer.flops import flop_model
    from trainer.mirror import local_dataset
    from trainer.mixture import with_repeats
    from trainer.plan import epoch_plans, with_step_size
    from trainer.stages import stage_for, with_changes
    from trainer.start import config_of, processor_of, source_of
    from trainer.summary import describe_summary, summarise

    source = source_of(init=options.init, model=options.model, language=options.language, vision=options.vision)
    config = config_of(source, vision=options.vision if options.language else None)
    stage = with_changes(stage_for(options.stage, width=config.language.hidden, source=source), changes_of(options))
    processor = processor_of(source, joined=bool(options.language))
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
        score_answers(
            model, processor, options.shards, stage, device=device, samples=options.samples, alone=options.alone
        )
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


ACTS = {
    "run": _run,
    "plan": _plan,
    "eval": _eval,
    "generate": _generate,
    "export": _export,
    "report": _report,
    "bench": _bench,
}
