"""Plan: which samples make which pack, and which packs which step; pure in (dataset, stage, seed, epoch).

Nothing in it depends on the number of ranks or workers: a step is a set of packs, and whoever is there shares them out.

    draw by mixture -> shuffle shards, then samples -> pack -> sort by cost, deal neighbours together -> shuffle

Shapes: N samples seen in the epoch, G packs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from trainer.dataset import Dataset
from trainer.errors import UsageError
from trainer.flops import FlopModel, PackCounts
from trainer.mixture import draw
from trainer.packing import pack_windows
from trainer.stages import Stage

COST_WINDOW = 64  # steps among which packs are sorted by cost
SHUFFLE_WINDOW = (
    1 << 16
)  # samples that are shuffled together: whole shards at a time, so that reads stay near each other


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """One epoch. `dataset` is what was planned for: texts that are longer than a pack are shortened to one.

    `samples` holds sample numbers pack after pack; pack g is `samples[bounds[g]:bounds[g + 1]]`. Step s is the packs
    s * step_packs ... (the last step may have fewer), neighbours of like cost. `dropped` counts samples left out,
    per reason; `shortened` counts texts that are cut at their end.
    """

    dataset: Dataset
    stage: Stage
    epoch: int
    digest: str
    samples: np.ndarray  # N
    bounds: np.ndarray  # G+1
    flops: np.ndarray  # G
    dropped: Counter[str]
    shortened: int = 0

    @property
    def num_packs(self) -> int:
        """Packs of the epoch."""
        return len(self.bounds) - 1

    @property
    def num_steps(self) -> int:
        """Steps of the epoch."""
        return -(-self.num_packs // self.stage.step_packs)

    def pack(self, number: int) -> np.ndarray:
        """Sample numbers of one pack."""
        return self.samples[self.bounds[number] : self.bounds[number + 1]]

    def step(self, number: int) -> range:
        """Pack numbers of one step."""
        first = number * self.stage.step_packs
        return range(first, min(first + self.stage.step_packs, self.num_packs))

    def sums(self, column: np.ndarray) -> np.ndarray:
        """A column of the dataset summed over each pack (G)."""
        return np.add.reduceat(column[self.samples], self.bounds[:-1])

    def loss_tokens(self, step: int) -> int:
        """Supervised tokens of one step as the indexes count them."""
        packs = self.step(step)
        samples = self.samples[self.bounds[packs.start] : self.bounds[packs.stop]]
        return int(self.dataset.loss_tokens[samples].sum())


def share(packs: range, *, rank: int, world: int) -> list[int | None]:
    """The packs of a step that one of `world` ranks works on, one per micro-step; None where it has nothing left to do.

    Micro-step m takes the world's next `world` packs, so that ranks work on neighbours, which cost the same.
    """
    micro_steps = -(-len(packs) // world)
    places = [m * world + rank for m in range(micro_steps)]
    return [packs[place] if place < len(packs) else None for place in places]


def make_plan(dataset: Dataset, stage: Stage, flops: FlopModel, *, seed: int, epoch: int) -> Plan:
    """Plan one epoch.

    Raises:
        UsageError: no sample fits a pack.
    """
    seen = draw(dataset.branch, dataset.branches, stage.repeats, seed=seed, epoch=epoch)
    dataset, cut = shorten_texts(dataset, stage.pack_tokens)
    seen, dropped = _that_fit(dataset, stage, seen)
    if not len(seen):
        raise UsageError(
            f"{stage.name}: none of {len(dataset)} samples can be trained on ({dict(dropped)}). Raise --pack-tokens, "
            "or curate again"
        )
    seen = seen[_shuffle(dataset.shard[seen], seed=seed, epoch=epoch)]
    numbers = pack_windows(
        dataset.length[seen],
        dataset.patches[seen],
        max_tokens=stage.pack_tokens,
        max_patches=stage.pack_patches,
        window=stage.window,
    )
    by_pack = np.argsort(numbers, kind="stable")
    costs = _costs(dataset, flops, seen, numbers)
    order = _deal(costs, stage, np.random.default_rng([seed, 3, epoch]))
    sizes = np.bincount(numbers)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    samples = seen[by_pack][_ranges(starts[order], sizes[order])]
    return Plan(
        dataset=dataset,
        stage=stage,
        epoch=epoch,
        digest=plan_digest(dataset, stage, flops, seed),
        samples=samples,
        bounds=np.concatenate([[0], np.cumsum(sizes[order])]),
        flops=costs[order],
        dropped=dropped,
        shortened=int(cut[seen].sum()),
    )


def with_step_size(stage: Stage, dataset: Dataset, flops: FlopModel, *, seed: int) -> Stage:
    """The stage with as many packs per step as hold its `step_tokens` or `step_samples` on the mean of an epoch."""
    if not (stage.step_tokens or stage.step_samples):
        return stage
    plan = make_plan(dataset, replace(stage, step_tokens=0, step_samples=0, step_packs=1), flops, seed=seed, epoch=0)
    held = plan.dataset.length[plan.samples].sum() if stage.step_tokens else len(plan.samples)
    packs = (stage.step_tokens or stage.step_samples) * plan.num_packs / held
    return replace(stage, step_tokens=0, step_samples=0, step_packs=max(1, round(float(packs))))


def plan_digest(dataset: Dataset, stage: Stage, flops: FlopModel, seed: int) -> str:
    """Name of the order in which samples are seen; a checkpoint can only be resumed under the same."""
    order = (
        stage.pack_tokens,
        stage.pack_patches,
        stage.step_packs,
        stage.alike,
        stage.window,
        sorted(stage.repeats.items()),
        stage.shrink,
    )
    return hashlib.sha256(repr((dataset.digest, order, flops, seed)).encode()).hexdigest()[:32]


def shorten_texts(dataset: Dataset, limit: int) -> tuple[Dataset, np.ndarray]:
    """The dataset with texts (samples without media) of more than `limit` tokens cut to it, and which they are.

    Source: the reference cuts every sample to the model's maximum of 16,384 tokens; cutting visual tokens would break a
    sample, so those with media are left out instead.
    """
    cut = (dataset.length > limit) & (dataset.patches == 0)
    length = np.where(cut, limit, dataset.length)
    loss_tokens = np.where(cut, np.minimum(dataset.loss_tokens, limit - 1), dataset.loss_tokens)
    return replace(dataset, length=length, loss_tokens=loss_tokens, exact=dataset.exact & ~cut), cut


def _that_fit(dataset: Dataset, stage: Stage, seen: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
    """Leave out what no pack can hold and what has nothing to learn from; every one of them is counted under one
    reason.
    """
    reasons = np.select(
        [
            dataset.length[seen] > stage.pack_tokens,
            dataset.patches[seen] > stage.pack_patches,
            dataset.loss_tokens[seen] < 1,
        ],
        [1, 2, 3],
        default=0,
    )
    names = {1: "tokens above pack_tokens", 2: "patches above pack_patches", 3: "no supervised token"}
    dropped = Counter(
        {name: int((reasons == number).sum()) for number, name in names.items() if (reasons == number).any()}
    )
    return seen[reasons == 0], dropped


def _shuffle(shard: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation: shards in random order, then samples at random among those of neighbouring shards."""
    random = np.random.default_rng([seed, 2, epoch])
    by_shard = np.argsort(random.permutation(int(shard.max()) + 1)[shard], kind="stable")
    window = np.arange(len(shard)) // SHUFFLE_WINDOW
    return by_shard[np.lexsort((random.random(len(shard)), window))]


def _costs(dataset: Dataset, flops: FlopModel, seen: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Training flops of each pack."""
    length = dataset.length[seen]
    return np.bincount(
        numbers,
        flops.training(
            PackCounts(
                tokens=length,
                squares=length**2,
                loss_tokens=dataset.loss_tokens[seen],
                patches=dataset.patches[seen],
                frame_squares=dataset.frame_squares[seen],
                visual_tokens=dataset.visual_tokens[seen],
            )
        ),
    )


def _deal(costs: np.ndarray, stage: Stage, random: np.random.Generator) -> np.ndarray:
    """Order of the packs such that runs of `alike` packs cost the same, and the runs come in random order.

    A step of several runs (accumulation) so keeps a wide mixture, though the ranks of each micro-step work on like
    packs.
    """
    shuffled = random.permutation(len(costs))
    run = min(stage.alike, stage.step_packs)
    window = np.arange(len(costs)) // (COST_WINDOW * stage.step_packs)
    by_cost = shuffled[np.lexsort((costs[shuffled], window))]
    runs = -(-len(costs) // run)
    last_is_short = len(costs) % run != 0  # it stays last, so that all other steps are whole
    order = random.permutation(runs - last_is_short)
    if last_is_short:
        order = np.append(order, runs - 1)
    sizes = np.minimum(run, len(costs) - order * run)
    return by_cost[_ranges(order * run, sizes)]


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each run, end to end."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
