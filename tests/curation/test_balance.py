"""ClusterBalance and Balance: quotas against counting by hand; the random choice is stable and fair."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_semantic import Written, table_of, vectors_with_neighbours

from curation.batch import Batch
from curation.operator import OperatorError, RecipeError
from curation.sample import Origin, document_turns, make_sample
from curation.select.balance import Balance, ClusterBalance, share_out, within_quota
from curation.select.kmeans import fit_clusters, unit
from curation.select.priority import priorities, weighted_priorities


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40), st.integers(0, 6))
def test_a_quota_keeps_the_first_of_each_group(rows: list[tuple[int, int]], quota: int) -> None:
    groups, order = np.array([g for g, _ in rows], np.int64), np.array([o for _, o in rows], float)
    kept = within_quota(groups, order, quota=quota)
    wanted = {
        row
        for group in set(groups.tolist())
        for row in sorted((r for r in range(len(rows)) if groups[r] == group), key=lambda r: (order[r], r))[:quota]
    }
    assert set(np.flatnonzero(kept).tolist()) == wanted


def test_each_cluster_keeps_its_best() -> None:
    vectors = vectors_with_neighbours(300, seed=1)
    scores = np.random.default_rng(0).permutation(300).astype(float)
    table = table_of(vectors, Score=scores)
    balance = ClusterBalance(embed=Written(), clusters=8, quota=10, best="Score")
    chosen = balance.choose(table)
    kept = np.ones(300, bool)
    kept[[int(name) for name in chosen["id"]]] = False
    # The clusters themselves are found again: samples of one share a nearest centroid, so no kept one is worse than a dropped one.
    ids = table["id"]
    seeds = np.argsort(priorities(ids, 0))
    own = (unit(vectors) @ fit_clusters(vectors[seeds], 8).centroids.T).argmax(axis=1)
    for cluster in np.unique(own):
        members = np.flatnonzero(own == cluster)
        assert set(members[kept[members]]) == set(members[np.argsort(-scores[members])][:10])
    assert chosen["duplicate_of"].null_count() == len(chosen)
    assert balance.VERDICT == "quota"
    for seed in range(3):
        assert balance.choose(table.sample(fraction=1, shuffle=True, seed=seed)).equals(chosen)


def test_samples_without_a_vector_are_kept() -> None:
    table = table_of(vectors_with_neighbours(20)).with_columns(embedding=pl.lit(None, pl.Binary))
    assert ClusterBalance(embed=Written(), clusters=2, quota=1).choose(table).height == 0
    with pytest.raises(RecipeError, match="quota 0"):
        ClusterBalance(embed=Written(), clusters=2, quota=0)


def sources(counts: dict[str, int]) -> pl.DataFrame:
    values = [name for name, count in counts.items() for _ in range(count)]
    return pl.DataFrame({"id": [f"{n:06d}" for n in range(len(values))], "value": values})


def kept_values(balance: Balance, table: pl.DataFrame) -> Counter[str]:
    dropped = balance.choose(table)
    return Counter(table.join(dropped, on="id", how="anti")["value"].to_list())


def test_quotas_per_source() -> None:
    table = sources({"a": 50, "b": 5, "c": 20})
    assert kept_values(Balance(by="source", quota=10), table) == {"a": 10, "b": 5, "c": 10}
    assert kept_values(Balance(by="source", quota=10, quotas={"c": 3}), table) == {"a": 10, "b": 5, "c": 3}
    assert kept_values(Balance(by="source", quotas={"a": 7}), table) == {"a": 7, "b": 5, "c": 20}


def test_a_total_is_shared_out_by_weight_and_what_one_cannot_fill_goes_to_the_others() -> None:
    table = sources({"a": 1000, "b": 1000, "c": 10})
    assert kept_values(Balance(by="source", total=300, weights={"a": 2}), table) == {"a": 193, "b": 97, "c": 10}
    assert kept_values(Balance(by="source", total=100, weights={"a": 3, "c": 0}), table) == {"a": 75, "b": 25}
    with pytest.raises(RecipeError, match="either quota"):
        Balance(by="source")


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 30)), min_size=1, max_size=8), st.integers(0, 100))
def test_shares_fill_the_total_and_exceed_no_group(groups: list[tuple[float, int]], total: int) -> None:
    weights, counts = np.array([w for w, _ in groups]), np.array([c for _, c in groups])
    shares = share_out(total, weights, counts)
    assert (shares >= 0).all()
    assert (shares <= counts).all()
    assert shares.sum() == min(total, counts[weights > 0].sum())
    assert (shares[weights == 0] == 0).all()


def test_the_random_choice_is_stable_when_data_is_added() -> None:
    small, large = sources({"a": 400}), sources({"a": 1000})
    balance = Balance(by="source", quota=100, seed=3)
    before = set(small.join(balance.choose(small), on="id", how="anti")["id"])
    after = set(large.join(balance.choose(large), on="id", how="anti")["id"])
    assert {name for name in after if name < "000400"} <= before
    assert len(after) == 100
    other = Balance(by="source", quota=100, seed=4)
    assert set(small.join(other.choose(small), on="id", how="anti")["id"]) != before


def test_weighted_choice_takes_in_proportion() -> None:
    ids = pl.Series([f"{n}" for n in range(40_000)])
    weights = np.where(np.arange(40_000) % 2 == 0, 3.0, 1.0)
    taken = np.argsort(weighted_priorities(ids, 7, weights))[:2000]
    assert (weights[taken] == 3).mean() == pytest.approx(0.75, abs=0.03)  # three standard deviations
    assert np.isinf(weighted_priorities(ids[:3], 7, np.array([0.0, 1.0, 0.0]))).tolist() == [True, False, True]


def test_scores_are_cut_into_ranges_and_the_best_of_each_is_taken() -> None:
    table = pl.DataFrame(
        {"id": [f"{n:02d}" for n in range(30)], "Words": [float(n) for n in range(30)], "value": [None] * 30}
    )
    dropped = Balance(by="Words", edges=(9.0, 19.0), quota=2, best="Words").choose(table)
    assert set(table["id"]) - set(dropped["id"]) == {"08", "09", "18", "19", "28", "29"}
    with pytest.raises(OperatorError, match="no score 'Language'"):
        Balance(by="Language", quota=2).choose(table)


def test_facts_of_samples_are_columns() -> None:
    samples = [
        make_sample(Origin(source=s, locator="x", name="x", licence="MIT"), document_turns("a")) for s in ("p", "q")
    ]
    assert Balance(by="source", quota=1).signature(Batch(samples))["value"].to_list() == ["p", "q"]
    assert Balance(by="licence", quota=1).signature(Batch(samples))["value"].to_list() == ["MIT", "MIT"]
    assert Balance(by="Words", quota=1).signature(Batch(samples))["value"].to_list() == [None, None]
