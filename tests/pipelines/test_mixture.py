"""Mixture: quotas, and what changes when data is added."""

import dataclasses
import hashlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.operator import OperatorError, RecipeError
from curation.sources import JsonlSource
from pipelines.mixture import branch_quotas, choose, lay_into_shards, uniform
from pipelines.recipe import Mixture, Recipe, ShardLimits, branch
from pipelines.recipes import RECIPES


def samples(**branches: int) -> pl.DataFrame:
    rows = [
        {
            "branch": name,
            "id": hashlib.blake2b(f"{name}{i}".encode(), digest_size=16).hexdigest(),
            "tokens": 10 + i % 7,
            "bytes": 100,
        }
        for name, number in branches.items()
        for i in range(number)
    ]
    return pl.DataFrame(rows)


def test_without_a_budget_the_scarcest_branch_is_used_whole() -> None:
    chosen = choose(samples(a=300, b=30), Mixture(weights={"a": 3, "b": 1}), seed=0).filter("chosen")
    assert dict(chosen.group_by("branch").len().iter_rows()) == {"a": 90, "b": 30}


def test_a_budget_in_tokens_is_met_to_less_than_a_sample() -> None:
    chosen = choose(
        samples(a=300, b=300), Mixture(weights={"a": 1, "b": 1}, unit="tokens", budget=4000), seed=0
    ).filter("chosen")
    for _, tokens in chosen.group_by("branch").agg(pl.col("tokens").sum()).iter_rows():
        assert 2000 - 16 < tokens <= 2000


def test_adding_data_only_displaces_samples_and_swaps_none() -> None:
    mixture = Mixture(weights={"a": 1, "b": 1}, budget=200)
    before = set(choose(samples(a=300, b=300), mixture, seed=0).filter("chosen")["id"])
    after = set(choose(samples(a=400, b=300), mixture, seed=0).filter("chosen")["id"])
    old = set(samples(a=300, b=300)["id"])
    assert after & old <= before


def test_order_of_arrival_changes_nothing() -> None:
    table = samples(a=200, b=50)
    mixture = Mixture(weights={"a": 1, "b": 1})
    placed = [
        lay_into_shards(choose(t, mixture, seed=1), ShardLimits(samples=16), seed=1).sort("id")
        for t in (table, table.sample(fraction=1.0, shuffle=True, seed=9))
    ]
    assert placed[0].equals(placed[1])


def test_shards_respect_every_limit_and_hold_every_chosen_sample() -> None:
    placed = lay_into_shards(
        choose(samples(a=500), None, seed=0), ShardLimits(samples=64, tokens=500, bytes=1 << 20), seed=0
    )
    shards = placed.group_by("shard").agg(pl.len(), pl.col("tokens").sum())
    assert placed["shard"].null_count() == 0
    assert shards["len"].max() <= 64
    assert shards["tokens"].max() <= 500
    assert sorted(shards["shard"].to_list()) == list(range(shards.height))


def test_draws_are_uniform_and_differ_by_seed_and_purpose() -> None:
    ids = samples(a=4000)["id"]
    drawn = {key: uniform(ids, seed=key[0], purpose=key[1]) for key in ((0, "order"), (1, "order"), (0, "mixture"))}
    for values in drawn.values():
        assert abs(values.astype(float).mean() / 2**64 - 0.5) < 0.02
        assert len(set(values.tolist())) == len(values)
    assert len({values.tobytes() for values in drawn.values()}) == 3


def test_what_cannot_be_met_is_said_with_numbers() -> None:
    with pytest.raises(OperatorError, match="no sample of b"):
        branch_quotas({"a": 5}, Mixture(weights={"a": 1, "b": 1}))
    with pytest.raises(OperatorError, match="lower the budget to 20"):
        branch_quotas({"a": 100, "b": 10}, Mixture(weights={"a": 1, "b": 1}, budget=50))


def test_recipes_that_cannot_run_are_refused_before_anything_is_read() -> None:
    text = branch("text", JsonlSource("nowhere/*.jsonl"))
    with pytest.raises(RecipeError, match="name every branch once"):
        Recipe(stage="stage2", branches=(text,), mixture=Mixture(weights={"texts": 1.0}))
    with pytest.raises(RecipeError, match="stage 'stage5'"):
        Recipe(stage="stage5", branches=(text,))
    with pytest.raises(RecipeError, match="can only start a branch"):
        branch("text", JsonlSource("a"), JsonlSource("b"))


def test_a_group_keeps_its_share_and_deals_it_by_weight() -> None:
    mixture = Mixture(weights={"scenes": 3, "text": 1}, groups={"scenes": {"a": 6, "b": 3, "c": 1}})
    quotas = branch_quotas({"a": 1000, "b": 1000, "c": 1000, "text": 100}, mixture)
    assert quotas == {"a": 180, "b": 90, "c": 30, "text": 100}
    assert mixture.shares() == pytest.approx({"a": 0.45, "b": 0.225, "c": 0.075, "text": 0.25})


def test_what_a_corpus_lacks_goes_to_the_others_of_its_group() -> None:
    mixture = Mixture(weights={"scenes": 3, "text": 1}, groups={"scenes": {"a": 6, "b": 3, "c": 1}})
    quotas = branch_quotas({"a": 20, "b": 1000, "c": 1000, "text": 100}, mixture)
    assert quotas == {"a": 20, "b": 210, "c": 70, "text": 100}


def test_a_corpus_far_below_one_sample_still_gets_one() -> None:
    mixture = Mixture(weights={"scenes": 1}, groups={"scenes": {"big": 1e6, "tiny": 1, "middle": 5e5}}, budget=31)
    quotas = branch_quotas({"big": 100, "tiny": 5, "middle": 100}, mixture)
    assert quotas == {"big": 20, "tiny": 1, "middle": 10}


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.floats(0.01, 1000), st.integers(1, 300)), min_size=2),
    st.integers(1, 2000),
)
def test_a_group_is_filled_to_the_sample(members: dict[str, tuple[float, int]], budget: int) -> None:
    amounts = {name: amount for name, (_, amount) in members.items()}
    budget = min(budget, sum(amounts.values()))
    mixture = Mixture(weights={"g": 1}, groups={"g": {n: w for n, (w, _) in members.items()}}, budget=budget)
    quotas = branch_quotas(amounts, mixture)
    assert sum(quotas.values()) == max(budget, len(members)) or budget < len(members)
    assert all(0 <= quotas[name] <= amounts[name] and quotas[name] == int(quotas[name]) for name in quotas)


def test_a_branch_in_two_groups_is_refused(corpora: Path) -> None:
    demo = RECIPES["demo"](str(corpora))
    names = [branch.name for branch in demo.branches]
    groups = {"x": dict.fromkeys(names, 1.0), "y": {names[0]: 1.0}}
    with pytest.raises(RecipeError, match=names[0]):
        dataclasses.replace(demo, mixture=Mixture(weights={"x": 1, "y": 1}, groups=groups))
