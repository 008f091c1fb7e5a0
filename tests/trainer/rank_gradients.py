"""Run by test_ranks.py: losses and gradients of one step on several ranks, for each layout of ranks and each of its cases.

usage: rank_gradients.py LAYOUTS_FILE
"""

import json
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forked_ranks import fork_ranks
from PIL import Image
from torch.distributed.tensor import DTensor
from trainer_shards import COLOURS

from model import ModelConfig, Processor, VideoLLaMA3, pack
from model.batch import Encoded, PackedBatch
from model.stages import STAGE_RULES
from trainer.loader import LoadedPack
from trainer.optimizer import make_optimizer, set_trainable
from trainer.parallelize import Parallel, parallelize
from trainer.stages import SMALL_STAGES, Stage
from trainer.step import train_step
from trainer.world import World, join_world

TRAINS = {
    "everything": ("vision", "projector", "language"),
    "language frozen": ("vision", "projector"),
    "vision frozen": ("projector", "language"),
    "language alone": ("language",),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What trains, over how many packs; every third pack, from the first, holds pictures, the others text alone."""

    trains: str
    packs: int
    recompute: bool = False
    poisoned: int = -1  # a pack whose pixels are not a number

    @property
    def stage(self) -> Stage:
        """With beta1 = 0 Adam's first moment is the gradient itself."""
        return replace(
            SMALL_STAGES["stage3"], rates=dict.fromkeys(TRAINS[self.trains], 1e-3), betas=(0.0, 0.999), clip=0.0
        )


@cache
def made_pack(number: int) -> PackedBatch:
    """Texts alone, or pictures with a question and an answer."""
    random = np.random.default_rng([5, number])
    processor = replace(Processor.tiny(), rules=STAGE_RULES["stage3"])
    samples: list[Encoded] = []
    for _ in range(3):
        if number % 3:
            words = random.choice(["one", "two", "three", "red", "box", "moves"], random.integers(5, 40))
            samples.append(processor([{"role": "assistant", "content": " ".join(words)}]))
        else:
            name = str(random.choice(list(COLOURS)))
            noise = random.integers(0, 256, (*(14 * random.integers(4, 9, 2)), 3), dtype=np.uint8)
            turns = [
                {"role": "user", "content": "<image>\nWhat is the colour?"},
                {"role": "assistant", "content": f"The colour is {name}."},
            ]
            samples.append(processor(turns, images=[Image.fromarray(noise)]))
    return pack(samples)


def fresh(case: Case) -> VideoLLaMA3:
    torch.manual_seed(0)
    model = VideoLLaMA3(ModelConfig.preset("tiny")).train()
    set_trainable(model, case.stage)
    return model


def run(case: Case, world: World) -> dict[str, torch.Tensor]:
    """Loss, norm and gradients of one step over the world's ranks."""
    batches = [made_pack(number) for number in range(case.packs)]
    if case.poisoned >= 0:
        patches = torch.full(batches[case.poisoned].patches.shape, torch.nan)
        batches[case.poisoned] = replace(batches[case.poisoned], patches=patches)
    mine = [
        LoadedPack(
            number=number,
            batch=batches[number],
            branches=torch.zeros(3, dtype=torch.int64),
            keys=("a", "b", "c"),
            failures=(),
            seconds=0.0,
        )
        for number in range(world.rank, case.packs, world.size)
    ]
    model = fresh(case)
    recompute = {"recompute_vision": case.recompute, "recompute_language": case.recompute}
    parallelize(model, world, Parallel(**recompute, prefetch=2 * case.recompute))
    optimizer = make_optimizer(model, case.stage)
    planned = sum(batch.num_supervised for batch in batches)
    outcome = train_step(model, optimizer, mine, planned=planned, branches=1, clip=0.0, world=world).read()
    found = {"loss": torch.tensor(outcome.loss), "norm": torch.tensor(outcome.grad_norm)}
    if outcome.skipped:
        before = dict(fresh(case).named_parameters())
        return {name: torch.tensor(torch.equal(whole(p), before[name])) for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        if parameter in optimizer.state:
            found[name] = whole(optimizer.state[parameter]["exp_avg"])
    return found


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def run_layout(layout: dict[str, Any]) -> int:
    torch.set_num_threads(1)
    with join_world(replicas=layout["replicas"]) as world:
        found = [run(Case(**case), world) for case in layout["cases"]]
        if world.first:
            torch.save(found, Path(layout["out"]))
    return 0


if __name__ == "__main__":
    for one in json.loads(Path(sys.argv[1]).read_text()):
        if fork_ranks(one["ranks"], lambda one=one: run_layout(one)):
            sys.exit(f"{one['ranks']} ranks, {one['replicas']} replicas: failed")
