"""Recipes: what the captioner is trained on in each stage, over a small synthetic world (`write_synthetic(..., small=True)`)."""

from pipelines.recipe import Mixture, Recipe
from pipelines.recipes.branches import conversations, image_text, text, videos

BROKEN = 0.1  # share of a part's files that may be broken: some are, on purpose


def words(data: str) -> Recipe:
    """What the language model reads before it sees anything: captions as text."""
    return Recipe(stage="stage2", branches=(text(data),))


def stage1(data: str) -> Recipe:
    """Scenes and their captions."""
    return Recipe(stage="stage1", branches=(image_text(data),), max_failures=BROKEN)


def stage2(data: str) -> Recipe:
    """The same, and text."""
    weights = {"image_text": 0.95, "text": 0.05}
    return Recipe(
        stage="stage2", branches=(image_text(data), text(data)), mixture=Mixture(weights=weights), max_failures=BROKEN
    )


def stage3(data: str) -> Recipe:
    """Questions and answers about scenes and clips; captions again, so that they are not forgotten."""
    weights = {"conversations": 0.45, "image_text": 0.45, "videos": 0.1}
    branches = (conversations(data), image_text(data), videos(data))
    return Recipe(stage="stage3", branches=branches, mixture=Mixture(weights=weights), max_failures=BROKEN)


def stage4(data: str) -> Recipe:
    """Clips above all, and what went before again, now with four patches to a visual token."""
    weights = {"videos": 0.25, "conversations": 0.4, "image_text": 0.35}
    branches = (videos(data), conversations(data), image_text(data))
    return Recipe(stage="stage4", branches=branches, mixture=Mixture(weights=weights), max_failures=BROKEN)


def asked(data: str) -> Recipe:
    """Everything with questions, unmixed: what a held-out world is asked by."""
    return Recipe(stage="stage3", branches=(conversations(data), videos(data)))
