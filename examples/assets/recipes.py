"""Recipes: what the captioner is trained on in each stage, over a small synthetic world (`write_synthetic(..., small=True)`)."""

from dataclasses import dataclass, replace

import numpy as np

from curation.batch import Batch
from curation.filters import ImageTextSimilarity
from curation.neural import EncoderSpec
from curation.operator import Filter
from pipelines.recipe import Branch, Mixture, Node, Recipe
from pipelines.recipes.branches import conversations, image_text, text, videos

BROKEN = 0.1  # share of a part's files that may be broken: some are, on purpose
FIT = 0.65  # least cosine of a picture and its caption (see examples/closed_loop.py)


@dataclass(frozen=True, kw_only=True)
class Clips(Filter):
    """Clips of a sample, >= 0; without bounds of its own it drops what has none."""

    low: float | None = 1

    def measure(self, batch: Batch) -> np.ndarray:
        """One count per sample."""
        return np.array([sum(medium.kind == "video" for medium in sample.media) for sample in batch.samples])


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
    """More clips, told and asked about, beside what went before, now with four patches to a visual token."""
    talks = conversations(data)
    source = replace(talks.source, title="clips")
    clips = replace(talks, name="clips", source=source, nodes=(Node(operator=Clips()), *talks.nodes))
    weights = {"clips": 0.2, "videos": 0.1, "conversations": 0.6, "image_text": 0.1}
    return _mixed("stage4", weights, clips, videos(data), talks, _scenes(data))


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
