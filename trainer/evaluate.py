"""Evaluate: loss and token accuracy of a checkpoint per branch, on shards held out from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model import Processor, VideoLLaMA3
from trainer.dataset import open_shards
from trainer.encode import StageEncoder
from trainer.flops import FlopModel
from trainer.loader import PackReader, load_packs
from trainer.mirror import local_dataset
from trainer.plan import make_plan
from trainer.stages import Stage
from trainer.step import branch_of_targets


@dataclass(frozen=True, kw_only=True)
class BranchScore:
    """Of one branch: nats per supervised token, and the share of them whose token had the highest score, in [0, 1]."""

    loss: float
    accuracy: float
    tokens: int


def evaluate(
    model: VideoLLaMA3,
    processor: Processor,
    shards: Sequence[Path | str],
    stage: Stage,
    *,
    device: torch.device,
    workers: int = 0,
    packs: int | None = None,
) -> dict[str, BranchScore]:
    """Score every sample once (or those of the first `packs` packs), and "all" for everything together."""
    places = [local_dataset(place, rules=stage.rules, processor=processor) for place in shards]
    dataset = open_shards(places, stage.rules, tokenizer=processor.tokenizer.digest())
    plan = make_plan(dataset, stage, FlopModel(config=model.config, trains=()), seed=0, epoch=0)
    numbers = range(plan.num_packs)[:packs]
    sums = torch.zeros(3, len(dataset.branches), dtype=torch.float64)  # loss, correct, tokens
    model.to(device).eval()
    with torch.inference_mode():
        for loaded in load_packs(PackReader(plan, StageEncoder(processor, stage.rules)), numbers, workers=workers):
            result = model.token_losses(loaded.batch.to(device))
            owners = branch_of_targets(loaded.batch, loaded.branches)
            for row, values in enumerate((result.losses, result.correct, torch.ones_like(result.losses))):
                sums[row].index_add_(0, owners, values.double().cpu())
    scores = {
        name: _score(*sums[:, number].tolist()) for number, name in enumerate(dataset.branches) if sums[2, number] > 0
    }
    return scores | {"all": _score(*sums.sum(dim=1).tolist())}


def _score(loss: float, correct: float, tokens: float) -> BranchScore:
    return BranchScore(loss=loss / max(1, tokens), accuracy=correct / max(1, tokens), tokens=int(tokens))
