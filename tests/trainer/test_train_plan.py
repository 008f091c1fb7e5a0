from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from trainer_shards import colour_sample, text_sample, write_dataset

from model.config import ModelConfig
from model.geometry import VisualRules
from trainer.dataset import Catalogue, Dataset, open_catalogue
from trainer.errors import UsageError
from trainer.flops import FlopModel
from trainer.mixture import draw, repetitions, with_repeats
from trainer.plan import Plan, epoch_plans, make_plan, share
from trainer.stages import STAGES, Stage
from trainer.summary import imbalance, summarise

FLOPS = FlopModel(config=ModelConfig.preset("2b"), trains=("language", "projector", "vision"))
STAGE = replace(STAGES["stage2"], pack_tokens=4096, pack_patches=16384, step_packs=8)


def made(number: int = 20_000, seed: int = 0) -> Dataset:
    """Columns of a corpus of three branches; no shards behind them."""
    random = np.random.default_rng(seed)
    branch = random.choice(3, number, p=[0.3, 0.5, 0.2]).astype(np.int16)
    length = np.clip(random.lognormal(6.0, 0.7, number), 20, 6000).astype(np.int64)
    patches = np.where(branch == 0, 0, np.where(branch == 1, length // 2, np.minimum(length * 4, 16384)))
    return Dataset(
        directories=(),
        shards=tuple(Path(f"{i:06d}.tar") for i in range(number // 500 + 1)),
        branches=("text", "image", "video"),
        rules=VisualRules(),
        digest="made",
        shard=(np.arange(number) // 500).astype(np.int32),
        row=(np.arange(number) % 500).astype(np.int32),
        branch=branch,
        length=length,
        loss_tokens=length // 3,
        patches=patches,
        visual_tokens=patches // 4,
        frame_squares=patches * 256,
        exact=np.ones(number, bool),
    )


def plan_of(dataset: Dataset, stage: Stage = STAGE, *, seed: int = 0, epoch: int = 0) -> Plan:
    return make_plan(dataset, stage, FLOPS, seed=seed, epoch=epoch)


def test_plan_shows_every_sample_once_or_counts_why_not() -> None:
    dataset = made()
    plan = plan_of(dataset)
    assert len(np.unique(plan.samples)) == len(plan.samples)
    assert len(plan.samples) + sum(plan.dropped.values()) == len(dataset)
    long = dataset.length > 4096
    assert plan.dropped["tokens above pack_tokens"] == int((long & (dataset.patches > 0)).sum()) > 0
    assert plan.shortened == int((long & (dataset.patches == 0)).sum()) > 0
    assert plan.sums(plan.dataset.length).max() <= 4096
    assert plan.sums(dataset.patches).max() <= 16384


def test_plan_depends_on_seed_and_epoch_only() -> None:
    first, again = plan_of(made()), plan_of(made())
    assert np.array_equal(first.samples, again.samples)
    assert np.array_equal(first.bounds, again.bounds)
    assert first.digest == plan_of(made(), epoch=1).digest != plan_of(made(), seed=1).digest
    assert not np.array_equal(first.samples[:50], plan_of(made(), epoch=1).samples[:50])


@pytest.mark.parametrize("world", [1, 2, 3, 8, 11])
def test_every_world_sees_the_same_samples_in_every_step(world: int) -> None:
    plan = plan_of(made(3000))
    for step in range(plan.num_steps):
        dealt = [share(plan.step(step), rank=rank, world=world) for rank in range(world)]
        assert len({len(packs) for packs in dealt}) == 1  # all ranks take the same number of micro-steps
        assert sorted(pack for packs in dealt for pack in packs if pack is not None) == list(plan.step(step))


def test_ranks_of_a_micro_step_cost_the_same() -> None:
    plan = plan_of(made())
    assert imbalance(plan, 8) <= 1.05
    assert imbalance(plan, 4) <= 1.05
    shuffled = replace(plan, flops=np.random.default_rng(0).permutation(plan.flops))
    assert imbalance(shuffled, 8) > 1.1  # what chance would give


def test_a_step_of_several_runs_keeps_a_wide_mixture_of_costs() -> None:
    plan = plan_of(made(), replace(STAGE, step_packs=64))
    steps = [plan.flops[plan.step(step)] for step in range(plan.num_steps - 1)]
    within = np.mean([costs.std() for costs in steps])
    assert within > 0.7 * plan.flops.std()


def test_plan_flops_equal_a_count_by_hand() -> None:
    dataset = made(200)
    plan = plan_of(dataset)
    pack = plan.pack(0)
    language = FLOPS.config.language
    per_token = (
        2 * language.layers * (language.hidden * (2 * 1536 + 2 * 256) + 3 * language.hidden * language.intermediate)
    )
    assert per_token == 2 * 1_310_195_712  # matrix weights of Qwen2.5-1.5B without embedding
    by_hand = 0.0
    for sample in pack:
        length, patches = int(dataset.length[sample]), int(dataset.patches[sample])
        by_hand += per_token * length + 2 * 1536 * 28 * length**2 + 2 * 1536 * 151936 * int(dataset.loss_tokens[sample])
        vision = 27 * (4 * 1152**2 + 2 * 1152 * 4304) + 588 * 1152
        by_hand += 2 * vision * patches + 4 * 1152 * 27 * int(dataset.frame_squares[sample])
        by_hand += 2 * (1152 * 1536 + 1536**2) * int(dataset.visual_tokens[sample])
    assert plan.flops[0] == pytest.approx(3 * by_hand, rel=1e-12)


def test_a_frozen_component_costs_what_its_backward_pass_needs() -> None:
    dataset = made(50)
    config = ModelConfig.preset("2b")

    def total(*trains: str) -> float:
        return float(make_plan(dataset, STAGE, FlopModel(config=config, trains=trains), seed=0, epoch=0).flops.sum())

    everything, nothing = total("vision", "projector", "language"), total()
    assert everything == pytest.approx(3 * nothing)
    assert nothing < total("language") < total("projector", "language") < everything
    assert total("vision", "projector") < everything


def test_repetitions_show_a_branch_as_often_as_asked() -> None:
    branch = made(5000).branch
    names = ("text", "image", "video")
    phase = np.random.default_rng(1).random(len(branch))
    epochs = [
        Counter(draw(branch, names, {"text": 0.3, "video": 2.5}, phase=phase, epoch=e).tolist()) for e in range(10)
    ]
    seen = sum(epochs, Counter())
    for number, rate in ((0, 0.3), (1, 1.0), (2, 2.5)):
        times = [seen[i] for i in np.flatnonzero(branch == number).tolist()]
        assert min(times) >= np.floor(10 * rate)
        assert max(times) <= np.ceil(10 * rate)
    assert all(epochs[0][i] in (2, 3) for i in np.flatnonzero(branch == 2).tolist())


def seen_in(catalogue: Catalogue, stage: Stage, epoch: int, *, first: int = 0) -> list[list[tuple[int, int]]]:
    """(shard, row) of every sample of each stretch from `first` on, pack after pack."""
    plans = epoch_plans(catalogue, stage, FLOPS, seed=0, epoch=epoch, first=first)
    return [
        list(zip(p.dataset.shard[p.samples].tolist(), p.dataset.row[p.samples].tolist(), strict=True)) for p in plans
    ]


def test_an_epoch_in_stretches_shows_the_same_samples_and_each_stretch_follows_from_its_number(mixed: Path) -> None:
    whole = replace(STAGE, repeats={"text": 0.5, "image_text": 2.0})
    stage, catalogue = replace(whole, stretch=30), open_catalogue([mixed], STAGE.rules)
    for epoch in (0, 1):
        found = seen_in(catalogue, stage, epoch)
        assert len(found) == 3
        assert Counter(one for part in found for one in part) == Counter(*seen_in(catalogue, whole, epoch))
        assert not set(found[0]) & set(found[1])
        assert seen_in(catalogue, stage, epoch, first=1) == found[1:]
    assert [set(part) for part in seen_in(catalogue, stage, 0)] != [set(part) for part in seen_in(catalogue, stage, 1)]


def test_a_stretch_with_nothing_to_train_on_is_left_out_and_an_epoch_of_them_is_refused(tmp_path: Path) -> None:
    apart = write_dataset(tmp_path, [text_sample(n) if n < 16 else colour_sample(n) for n in range(48)])
    catalogue = open_catalogue([apart], STAGE.rules)
    stage = replace(STAGE, stretch=16, repeats={"text": 0.0})
    assert sorted(map(len, seen_in(catalogue, stage, 0))) == [16, 16]
    with pytest.raises(UsageError, match="none of 16 samples can be trained on"):
        seen_in(catalogue, replace(stage, repeats={"text": 0.0, "image_text": 0.0}), 0)


def test_repetitions_follow_from_shares() -> None:
    rates = repetitions({"a": 0.5, "b": 0.5}, {"a": 900, "b": 300})
    assert rates == {"a": 1.0, "b": 3.0}
    with pytest.raises(UsageError, match="name every branch once"):
        repetitions({"a": 1.0}, {"a": 1, "b": 1})


@pytest.mark.parametrize("unit", ["tokens", "samples"])
def test_a_mixture_gives_each_branch_its_share_of_the_epoch(mixed: Path, unit: Literal["tokens", "samples"]) -> None:
    catalogue = open_catalogue([mixed], STAGE.rules)
    asked = replace(STAGE, mixture={"text": 3.0, "image_text": 1.0}, mixture_by=unit, pack_tokens=512)
    stage = with_repeats(asked, catalogue)
    assert min(stage.repeats.values()) == 1.0
    branches = summarise(epoch_plans(catalogue, stage, FLOPS, seed=0, epoch=0), 1)["branches"]
    assert branches["text"][unit] / branches["image_text"][unit] == pytest.approx(3.0, rel=0.05)
    with pytest.raises(UsageError, match="name every branch once"):
        with_repeats(replace(asked, mixture={"text": 1.0}), catalogue)


def test_repeating_an_unknown_branch_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="no branch vidoe; they hold text, image, video"):
        plan_of(made(10), replace(STAGE, repeats={"vidoe": 2.0}))


def test_a_plan_without_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="patches above pack_patches"):
        plan_of(made(100), replace(STAGE, pack_patches=1, repeats={"text": 0.0}))


def test_summary_accounts_for_all_tokens() -> None:
    dataset = made(5000)
    plan = plan_of(dataset)
    summary = summarise([plan], 8)
    assert (
        sum(row["tokens"] for row in summary["branches"].values())
        == summary["tokens"]
        == plan.dataset.length[plan.samples].sum()
    )
    assert summary["fill"] > 0.97
