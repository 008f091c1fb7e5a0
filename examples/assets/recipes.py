"""Recipes: what the captioner is trained on in each stage, over a small synthetic world (`write_synthetic(..., small=True)`)."""

from dataclasses import replace

from curation.filters import ImageTextSimilarity
from curation.neural import EncoderSpec
from pipelines.recipe import Branch, Mixture, Node, Recipe
from pipelines.recipes.branches import conversations, image_text, text, videos

BROKEN = 0.1  # share of a part's files that may be broken: some are, on purpose
FIT = 0.65  # least cosine of a picture and its caption (see examples/closed_loop.py)


def words(data: str) -> Recipe:
    """What the language model reads before it sees anything: captions as text."""
    return Recipe(stage="stage2", branches=(text(data),), max_failures=BROKEN)


def stage1(data: str) -> Recipe:
    """Scenes and their captions."""
    return Recipe(stage="stage1", branches=(_scenes(data),), max_failures=BROKEN)


def stage2(data: str) -> Recipe:
    """The same, and text."""
    return _mixed("stage2", {"image_text": 0.95, "text": 0.05}, _scenes(data), text(data))


def stage3(data: str) -> Recipe:
    """Questions and answers about scenes and clips; captions again, so that they are not forgotten."""
    weights = {"conversations": 0.65, "image_text": 0.25, "videos": 0.1}
    return _mixed("stage3", weights, conversations(data), _scenes(data), videos(data))


def stage4(data: str) -> Recipe:
    """Clips above all, and what went before again, now with four patches to a visual token."""
    weights = {"videos": 0.2, "conversations": 0.6, "image_text": 0.2}
    return _mixed("stage4", weights, videos(data), conversations(data), _scenes(data))


def asked(data: str) -> Recipe:
    """Everything with questions, unmixed: what a held-out world is asked by."""
    return Recipe(stage="stage3", branches=(conversations(data), videos(data)))


def _scenes(data: str) -> Branch:
    """Pictures whose captions fit. A few long captions of noise outweigh the rest: half of what is to be learnt from a pack, and
    nothing that can be.
    """
    chain = image_text(data)
    fits = Node(operator=ImageTextSimilarity(encoder=EncoderSpec.shipped(), low=FIT))
    return replace(chain, nodes=(*chain.nodes[:-1], fits, chain.nodes[-1]))


def _mixed(stage: str, weights: dict[str, float], *branches: Branch) -> Recipe:
    return Recipe(stage=stage, branches=branches, mixture=Mixture(weights=weights), max_failures=BROKEN)
