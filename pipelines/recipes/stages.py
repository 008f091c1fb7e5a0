"""Stages: the four training stages over one's own corpora, mixed by the categories of the paper.

Source: VideoLLaMA3, arXiv:2501.13106, tables 1-4 (samples per category; the cuts of each filter are not disclosed, ours are the
operators' defaults and what stands in `branches`).
"""

from pipelines.recipe import Mixture, Recipe
from pipelines.recipes.branches import conversations, documents, image_text, text, videos


def stage1(data: str) -> Recipe:
    """Vision encoder adaptation: scenes 11.84 M + scene text 0.93 M against documents 2.80 M."""
    weights = {"image_text": 0.82, "documents": 0.18}
    return Recipe(stage="stage1", branches=(image_text(data), documents(data)), mixture=Mixture(weights=weights))


def stage2(data: str) -> Recipe:
    """Vision-language alignment: scenes 17.25 M (with scene text), documents 2.72 M, text 1 M."""
    weights = {"image_text": 0.82, "documents": 0.13, "text": 0.05}
    branches = (image_text(data), documents(data), text(data))
    return Recipe(stage="stage2", branches=branches, mixture=Mixture(weights=weights))


def stage3(data: str) -> Recipe:
    """Multi-task fine-tuning: image and document instructions 13.92 M, text 2.21 M, video 2.92 M."""
    weights = {"conversations": 0.53, "documents": 0.2, "text": 0.12, "videos": 0.15}
    branches = (conversations(data), documents(data), text(data), videos(data))
    return Recipe(stage="stage3", branches=branches, mixture=Mixture(weights=weights))


def stage4(data: str) -> Recipe:
    """Video-centric fine-tuning: video 3.28 M (with streaming and grounding), images 0.88 M, text 1.56 M."""
    weights = {"videos": 0.3, "conversations": 0.43, "text": 0.27}
    branches = (videos(data), conversations(data), text(data))
    return Recipe(stage="stage4", branches=branches, mixture=Mixture(weights=weights))


def demo(data: str) -> Recipe:
    """Everything of the five corpora, unmixed: a quick look at one's own data."""
    branches = (image_text(data), documents(data), videos(data), text(data), conversations(data))
    return Recipe(stage="stage3", branches=branches)
