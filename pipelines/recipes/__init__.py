"""Recipes: what comes with the project, by the name the command line knows."""

from collections.abc import Callable

from pipelines.recipe import Recipe
from pipelines.recipes.stages import demo, stage1, stage2, stage3, stage4

RECIPES: dict[str, Callable[[str], Recipe]] = {
    "stage1": stage1,
    "stage2": stage2,
    "stage3": stage3,
    "stage4": stage4,
    "demo": demo,
}
