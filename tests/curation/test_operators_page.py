"""docs/operators.md: current, and every operator says what it measures, its range and its source."""

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from curation.filters.catalogue import filter_classes, filters_without_weights
from curation.operator import Filter

# A range, or a unit that has a natural one.
RANGE = re.compile(r"in [\[(]|>=? \d|1 where|1 to 10|0 to 8|[Tt]okens|Frames|Seconds|pixels")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("operators_page", DOCS / "operators.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_current(generator: ModuleType) -> None:
    assert (DOCS / "operators.md").read_text() == generator.page(), "run python docs/operators.py"


@pytest.mark.parametrize("kind", filter_classes(), ids=lambda kind: kind.__name__)
def test_filter_says_range_cost_and_source(generator: ModuleType, kind: type[Filter]) -> None:
    said = inspect.getdoc(kind) or ""
    assert "Source:" in said
    assert kind.__name__ == "HeadScore" or RANGE.search(said.split("\n\n")[0])  # its range is its head's
    assert generator.cost(kind) in ("columns", "text", "pixels", "frames", "pixels, frames", "model")


def test_catalogue_holds_every_variant_under_one_name() -> None:
    names = [operator.name for operator in filters_without_weights()]
    assert len(set(names)) == len(names)
    assert {"TopNgram[2]", "DuplicateNgrams[10]", "CharacterRatio[digit]", "Words"} <= set(names)
