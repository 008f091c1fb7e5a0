"""SemanticDedup: against brute force, whatever the order of rows; the cut is a bound."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from pictures import jpeg, photograph, sample_of

from curation.batch import Batch
from curation.operator import OperatorError
from curation.sample import Origin, document_turns, make_sample
from curation.select.colour_embedding import WIDTH, ColourEmbedding
from curation.select.kmeans import fit_clusters, unit
from curation.select.neighbours import nearest_before
from curation.select.semantic import SemanticDedup


@dataclass(frozen=True, kw_only=True)
class Written:
    """Vectors that are already in the table."""

    def open(self) -> Callable[[Batch], np.ndarray]:
        raise AssertionError("the table holds the vectors")


def vectors_with_neighbours(rows: int, width: int = 32, seed: int = 0) -> np.ndarray:
    """Float16 around some centres; a third are neighbours of others at cosines from 0.9 to 1."""
    random = np.random.default_rng(seed)
    centres = unit(random.standard_normal((8, width)))
    vectors = unit(centres[random.integers(0, 8, rows)] + unit(random.standard_normal((rows, width))))
    for row in range(0, rows - 1, 3):
        vectors[row] = unit(
            (vectors[row + 1] + random.uniform(0, 0.45) * unit(random.standard_normal((1, width)))[0])[None]
        )[0]
    return vectors.astype(np.float16)


def table_of(vectors: np.ndarray, **columns: object) -> pl.DataFrame:
    ids = [f"{row:05d}" for row in range(len(vectors))]
    return pl.DataFrame({"id": ids, "embedding": [row.tobytes() for row in vectors], **columns})


def brute_force(vectors: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    scores = unit(vectors) @ unit(vectors).T
    scores[ranks[None, :] >= ranks[:, None]] = -1
    return scores.max(axis=1)


def test_nearest_before_equals_brute_force_when_every_cluster_is_visited() -> None:
    vectors = vectors_with_neighbours(700)
    ranks = np.random.default_rng(1).permutation(700)
    clusters = fit_clusters(vectors, 12)
    best, parent = nearest_before(vectors, ranks, clusters, visited=len(clusters))
    np.testing.assert_allclose(best, brute_force(vectors, ranks), atol=1e-5)
    found = parent >= 0
    assert (found == (ranks > 0)).all()
    assert (ranks[parent[found]] < ranks[found]).all()
    cosines = np.einsum("nd,nd->n", unit(vectors[found]), unit(vectors[parent[found]]))
    np.testing.assert_allclose(cosines, best[found], atol=1e-5)


@pytest.mark.parametrize("two_levels", [False, True])
def test_few_clusters_visited_find_nearly_all_neighbours(two_levels: bool) -> None:
    vectors = vectors_with_neighbours(3000, seed=2)
    exact = brute_force(vectors, np.arange(3000))
    clusters = fit_clusters(vectors, 50, two_levels=two_levels)
    best, _ = nearest_before(vectors, np.arange(3000), clusters, visited=4)
    near = exact >= 0.95
    assert near.sum() > 300
    assert (best[near] >= exact[near] - 1e-4).mean() >= 0.99


def test_clusters_left_out_hold_nothing_above_the_floor() -> None:
    vectors = vectors_with_neighbours(2000, seed=8)
    clusters, ranks = fit_clusters(vectors, 30), np.arange(2000)
    exact = brute_force(vectors, ranks)
    best, _ = nearest_before(vectors, ranks, clusters, visited=len(clusters), floor=0.9)
    np.testing.assert_allclose(best[exact >= 0.901], exact[exact >= 0.901], atol=1e-5)
    assert (best < exact - 1e-3).any(), "something was left out"


def test_nearest_clusters_are_those_of_the_largest_products() -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((500, 16)).astype(np.float16)
    clusters = fit_clusters(vectors, 20)
    wanted = np.argsort(-(unit(vectors) @ clusters.centroids.T), axis=1)[:, :3]
    assert (clusters.nearest(vectors, 3) == wanted).mean() > 0.999


def test_an_overfull_cluster_is_cut() -> None:
    random = np.random.default_rng(4)
    heap = unit(np.ones((1, 24)) + 0.3 * random.standard_normal((4000, 24)))
    vectors = random.permutation(np.concatenate([heap, random.standard_normal((400, 24))]))
    clusters = fit_clusters(vectors, 44)
    largest = np.bincount(clusters.nearest(vectors, 1)[:, 0]).max()
    assert largest <= 8 * len(vectors) / 44


def by_hand(vectors: np.ndarray, cosine: float) -> dict[str, str]:
    """Each sample against all that come before it in id order; chains end at a survivor."""
    scores = np.round((unit(vectors) @ unit(vectors).T).astype(np.float64), 4)
    stands: dict[int, int] = {}
    for row in range(1, len(vectors)):
        parent = int(np.argmax(scores[row, :row]))
        if scores[row, parent] >= cosine:
            stands[row] = stands.get(parent, parent)
    return {f"{row:05d}": f"{parent:05d}" for row, parent in stands.items()}


def test_survivors_equal_brute_force_in_any_order() -> None:
    vectors = vectors_with_neighbours(400, seed=5)
    dedup = SemanticDedup(embed=Written(), cosine=0.95, clusters=6, visited=6)
    table = table_of(vectors)
    chosen = dedup.choose(table)
    assert dict(chosen.drop("similarity").iter_rows()) == by_hand(vectors, 0.95)
    for seed in range(3):
        assert dedup.choose(table.sample(fraction=1, shuffle=True, seed=seed)).equals(chosen)


def test_another_cut_uses_the_stored_similarity() -> None:
    table = table_of(vectors_with_neighbours(400, seed=6))
    strict, loose = (SemanticDedup(embed=Written(), cosine=cosine, clusters=6) for cosine in (0.99, 0.9))
    related = strict.relate(table)
    assert strict.relation_settings() == loose.relation_settings()
    assert strict.settings() != loose.settings()
    without_vectors = table.select("id").join(related, on="id")
    assert loose.choose(without_vectors).equals(loose.choose(table))
    assert set(strict.choose(without_vectors)["id"]) < set(loose.choose(without_vectors)["id"])


def test_the_best_score_survives_and_samples_without_vectors_are_left_alone() -> None:
    vectors = np.repeat(vectors_with_neighbours(1), 4, axis=0)
    table = table_of(vectors, Score=[0.5, None, 0.9, float("nan")])
    table = pl.concat(
        [table, pl.DataFrame({"id": ["x", "y"], "embedding": [None, None], "Score": [1.0, 1.0]}, schema=table.schema)]
    )
    assert dict(SemanticDedup(embed=Written(), best="Score").choose(table).drop("similarity").iter_rows()) == {
        "00000": "00002",
        "00001": "00002",
        "00003": "00002",
    }
    with pytest.raises(OperatorError, match="no score 'Aesthetic'"):
        SemanticDedup(embed=Written(), best="Aesthetic").choose(table)
    assert SemanticDedup(embed=Written()).choose(table.tail(2)).height == 0
    with pytest.raises(OperatorError, match=r"\[16, 32\] numbers"):
        SemanticDedup(embed=Written()).choose(pl.concat([table, table_of(vectors[:, :16], Score=[0.0] * 4)]))


def test_vectors_of_a_batch_do_not_depend_on_how_it_is_cut() -> None:
    samples = [sample_of(f"{n}", jpeg(photograph(n))) for n in range(6)]
    samples.insert(3, make_sample(Origin(source="t", locator="d", name="d"), document_turns("no picture")))
    dedup = SemanticDedup(embed=ColourEmbedding())
    whole = dedup.signature(Batch(samples))
    assert whole["embedding"].is_null().to_list() == [False] * 3 + [True] + [False] * 3
    assert set(whole["embedding"].drop_nulls().bin.size()) == {2 * WIDTH}
    assert pl.concat([dedup.signature(Batch(samples[:2])), dedup.signature(Batch(samples[2:]))]).equals(whole)


def test_colours_find_a_re_encoded_picture_among_others() -> None:
    samples = [sample_of(f"{n:02d}", jpeg(photograph(n))) for n in range(12)]
    samples += [sample_of(f"{n:02d}~", jpeg(photograph(n), 40)) for n in range(12)]
    table = (
        SemanticDedup(embed=ColourEmbedding())
        .signature(Batch(samples))
        .with_columns(id=pl.Series([s.origin.name for s in samples]))
    )
    chosen = SemanticDedup(embed=ColourEmbedding(), cosine=0.98, clusters=2).choose(table)
    assert dict(chosen.drop("similarity").iter_rows()) == {f"{n:02d}~": f"{n:02d}" for n in range(12)}
