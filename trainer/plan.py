"""Plan: which samples make which pack, and which packs which step; pure in (dataset, stage, seed, epoch).

Nothing in it depends on the number of ranks or workers: a step is a set of packs, and whoever is there shares them out.

    draw by mixture -> shuffle shards, then samples -> pack -> sort by cost, deal neighbours together -> shuffle

A large epoch is planned stretch by stretch, each some shards drawn at random and planned by itself when it is reached:
neither memory nor the time to the first step grows with the number of samples.

Shapes: N samples seen in the epoch, G packs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from trainer.dataset import Catalogue, Dataset
from trainer.errors import UsageError
from trainer.fit import fit_media
from trainer.flops import FlopModel, PackCounts
from trainer.mixture import draw
from trainer.packing import pack_windows
from trainer.stages import STRETCH, Stage

COST_WINDOW = 64  # steps among which packs are sorted by cost
SHUFFLE_WINDOW = (
    1 << 16
)  # samples that are shuffled together: whole shards at a time, so that reads stay near each other


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """One stretch of an epoch. `dataset` is what was planned for: texts longer than a pack are shortened to one.

    `samples` holds sample numbers pack after pack; pack g is `samples[bounds[g]:bounds[g + 1]]`. Step s is the packs
    s * step_packs ... (the last step may have fewer), neighbours of like cost. `dropped` counts samples left out,
    per reason; `shortened` counts texts that are cut at their end.
    """

    dataset: Dataset
    stage: Stage
    epoch: int
    stretch: int
    digest: str
    samples: np.ndarray  # N
    bounds: np.ndarray  # G+1
    flops: np.ndarray  # G
    dropped: Counter[str]
    shortened: int = 0

    @property
    def num_packs(self) -> int:
        """Packs of the stretch."""
        return len(self.bounds) - 1

    @property
    def num_steps(self) -> int:
        """Steps of the stretch."""
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


def stretches(catalogue: Catalogue, stage: Stage, *, seed: int, epoch: int) -> list[list[int]]:
    """The shards of each stretch of an epoch: in random order, each stretch until it holds `stage.stretch` samples."""
    if len(catalogue.shards) == 1 or catalogue.samples.sum() <= stage.stretch:
        return [list(range(len(catalogue.shards)))]
    order = np.random.default_rng([seed, 4, epoch]).permutation(len(catalogue.shards))
    before = np.cumsum(catalogue.samples[order]) - catalogue.samples[order]
    starts = np.flatnonzero(np.diff(before // stage.stretch, prepend=-1))
    return [sorted(part.tolist()) for part in np.split(order, starts[1:])]


def epoch_plans(
    catalogue: Catalogue, stage: Stage, flops: FlopModel, *, seed: int, epoch: int, first: int = 0
) -> Iterator[Plan]:
    """The plans of an epoch, one after the other, from stretch `first` on; one with nothing to train on is left out.

    Raises:
        UsageError: no sample of the epoch fits a pack.
    """
    none = None
    for number, shards in enumerate(stretches(catalogue, stage, seed=seed, epoch=epoch)):
        if number < first:
            continue
        try:
            dataset = fit_media(catalogue.read(shards), stage)
            yield make_plan(dataset, stage, flops, seed=seed, epoch=epoch, stretch=number)
            none = False
        except NothingToTrainError as error:
            none = error if none is None else none
    if none and not first:
        raise none


class NothingToTrainError(UsageError):
    """No sample fits a pack."""


def make_plan(dataset: Dataset, stage: Stage, flops: FlopModel, *, seed: int, epoch: int, stretch: int = 0) -> Plan:
    """Plan one stretch of an epoch: all samples of `dataset`.

    Raises:
        NothingToTrainError: no sample fits a pack.
    """
    seen = draw(dataset.branch, dataset.branches, stage.repeats, phase=_phases(dataset.shard, seed), epoch=epoch)
    dataset, cut = shorten_texts(dataset, stage.pack_tokens)
    seen, dropped = _that_fit(dataset, stage, seen)
    if not len(seen):
        why = dict(dropped) or "their branches are shown 0 times"
        raise NothingToTrainError(
            f"{stage.name}: none of {len(dataset)} samples can be trained on ({why}). Raise --pack-tokens or --repeat, or curate again"
        )
    seen = seen[_shuffle(dataset.shard[seen], np.random.default_rng([seed, 2, epoch, stretch]))]
    numbers = pack_windows(
        dataset.length[seen],
        dataset.patches[seen],
        max_tokens=stage.pack_tokens,
        max_patches=stage.pack_patches,
        window=stage.window,
    )
    by_pack = np.argsort(numbers, kind="stable")
    costs = _costs(dataset, flops, seen, numbers)
    order = _deal(costs, stage, np.random.default_rng([seed, 3, epoch, stretch]))
    sizes = np.bincount(numbers)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    samples = seen[by_pack][_ranges(starts[order], sizes[order])]
    return Plan(
        dataset=dataset,
        stage=stage,
        epoch=epoch,
        stretch=stretch,
        digest=plan_digest(dataset.digest, stage, flops, seed),
        samples=samples,
        bounds=np.concatenate([[0], np.cumsum(sizes[order])]),
        flops=costs[order],
        dropped=dropped,
        shortened=int(cut[seen].sum()),
    )


def with_step_size(stage: Stage, catalogue: Catalogue, flops: FlopModel, *, seed: int) -> Stage:
    """The stage with as many packs per step as hold its `step_tokens` or `step_samples` on the mean of a stretch."""
    if not (stage.step_tokens or stage.step_samples):
        return stage
    one = replace(stage, step_tokens=0, step_samples=0, step_packs=1)
    plan = next(epoch_plans(catalogue, one, flops, seed=seed, epoch=0))
    held = plan.dataset.length[plan.samples].sum() if stage.step_tokens else len(plan.samples)
    packs = (stage.step_tokens or stage.step_samples) * plan.num_packs / held
    return replace(stage, step_tokens=0, step_samples=0, step_packs=max(1, round(float(packs))))


def plan_digest(dataset: str, stage: Stage, flops: FlopModel, seed: int) -> str:
    """Name of the order in which samples are seen; a checkpoint can only be resumed under the same.

    Args:
        dataset: digest of the indexes and the rules that they are counted for.
    """
    order = (
        stage.pack_tokens,
        stage.pack_patches,
        stage.step_packs,
        stage.alike,
        stage.window,
        sorted(stage.repeats.items()),
        stage.long or False,
    )
    if stage.repeats or stage.stretch != STRETCH:  # without them the order is what it was before there were stretches
        order = (*order, stage.stretch)
    return hashlib.sha256(repr((dataset, order, flops, seed)).encode()).hexdigest()[:32]


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


def _phases(shard: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each sample, the same in whatever stretch and epoch its shard is read."""
    numbers, sizes = np.unique(shard, return_counts=True)
    found = [np.random.default_rng([seed, 1, n]).random(size) for n, size in zip(numbers.tolist(), sizes, strict=True)]
    phases = np.empty(len(shard))
    phases[np.argsort(shard, kind="stable")] = np.concatenate(found)
    return phases


def _shuffle(shard: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A permutation: shards in random order, then samples at random among those of neighbouring shards."""
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
