"""Measures in a place of their own: what one dataset measured, the next of the same corpora need not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from run_checks import build, digests

from curation.filters import AspectRatio, Decodable, Sharpness, ShortSide
from curation.sources import ParquetSource
from pipelines.plan import Plan
from pipelines.quarantine import forget_failures
from pipelines.recipe import Recipe, branch

pytestmark = pytest.mark.slow


def pictures(corpora: Path, stage: str, sharp: float) -> Recipe:
    """Another stage's pictures have other bounds, and another order of filters."""
    source = ParquetSource(f"{corpora}/image_text-*.parquet", texts="texts", id="id")
    filters = (AspectRatio(high=3.0), ShortSide(low=32), Sharpness(low=sharp), Decodable())
    return Recipe(
        stage=stage,
        branches=(branch("pictures", source, *(filters if sharp else reversed(filters))),),
        max_failures=1.0,
    )


def test_next_dataset_decodes_nothing_and_has_the_bytes_of_one_made_alone(
    tmp_path: Path, corpora: Path, plan_of: Callable[..., Plan]
) -> None:
    first, second = pictures(corpora, "stage1", 1.0), pictures(corpora, "stage2", 0.0)
    shared = tmp_path / "measures"
    one = build(plan_of(tmp_path / "one", first, measures=shared))
    two = build(plan_of(tmp_path / "two", second, measures=shared))
    alone = build(plan_of(tmp_path / "alone", second))
    assert one.counters["media_decoded"] > 0
    # Those alone that the first stage's order of filters had dropped before they were decoded.
    assert two.counters.get("media_decoded", 0) < alone.counters["media_decoded"] / 2
    assert digests(tmp_path / "two") == digests(tmp_path / "alone")


def test_retry_forgets_failures_where_they_are_remembered(
    tmp_path: Path, corpora: Path, plan_of: Callable[..., Plan]
) -> None:
    recipe = pictures(corpora, "stage1", 1.0)
    plan = plan_of(tmp_path / "out", recipe, measures=tmp_path / "measures")
    build(plan)
    before = digests(tmp_path / "out")
    assert forget_failures(tmp_path / "out") > 0
    again = build(plan)
    assert 0 < again.counters["media_decoded"] <= 16
    assert digests(tmp_path / "out") == before
