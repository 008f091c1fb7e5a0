"""Runs on small synthetic corpora, as a user starts them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from run_checks import SAMPLES

from curation.operator import PartLimits
from curation.sources.synthetic import write_synthetic
from pipelines.plan import Plan, make_plan
from pipelines.recipe import Recipe
from pipelines.recipes import RECIPES
from pipelines.run import run


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five corpora with planted defects."""
    directory = tmp_path_factory.mktemp("corpora")
    write_synthetic(str(directory), samples=SAMPLES, seed=3, defects=0.15)
    return directory


@pytest.fixture
def plan_of(corpora: Path) -> Callable[..., Plan]:
    """A plan of a recipe (default: the demo) over the corpora."""

    def make(out: Path, recipe: Recipe | None = None, *, rows: int = 40, **options: object) -> Plan:
        recipe = recipe or RECIPES["demo"](str(corpora))
        return make_plan(recipe, out, data=str(corpora), limits=PartLimits(rows=rows), **options)  # pyright: ignore[reportArgumentType]

    return make


@pytest.fixture(scope="session")
def demo_dataset(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo recipe over the corpora, built once in this process; tests that change something copy it."""
    out = tmp_path_factory.mktemp("demo")
    plan = make_plan(RECIPES["demo"](str(corpora)), out, data=str(corpora), limits=PartLimits(rows=40))
    run(plan, workers=0, quiet=True)
    return out
