"""Recipes: what comes with the project, by the name the command line knows."""

from collections.abc import Callable

from pipelines.recipe import Recipe
from pipelines.recipes.stages import demo, stage1, stage2, stage3, stage4, validation


def _validation_of(stage: Callable[[str], Recipe]) -> Callable[[str], Recipe]:
    return lambda data: validation(stage(data))


RECIPES: dict[str, Callable[[str], Recipe]] = {
    "stage1": stage1,
    "stage2": stage2,
    "stage3": stage3,
    "stage4": stage4,
    "stage1_validation": _validation_of(stage1),
    "stage2_validation": _validation_of(stage2),
    "stage3_validation": _validation_of(stage3),
    "stage4_validation": _validation_of(stage4),
    "demo": demo,
}
