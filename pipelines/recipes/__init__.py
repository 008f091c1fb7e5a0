"""Recipes: what comes with the project, by the name the command line knows."""

from collections.abc import Callable

from pipelines.recipe import Recipe
from pipelines.recipes.stages import demo, stage1, stage2, stage3, stage4, validation
from pipelines.recipes.vl3_syn7m import vl3_syn7m_detailed, vl3_syn7m_short


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
    "vl3_syn7m_short": vl3_syn7m_short,
    "vl3_syn7m_detailed": vl3_syn7m_detailed,
    "demo": demo,
}
