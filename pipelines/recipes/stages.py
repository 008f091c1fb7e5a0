"""Stages: the four training stages of VideoLLaMA3 as recipes.

Over a directory with a folder per corpus (DATA/llava_pretrain/..., see `corpora`), a stage is the paper's: every corpus it names,
weighed by the published totals of its category. Over a directory as `vl3-curate synth` writes it, and as one's own data may lie
(see `branches`), it is the same mixture by kind of data.

Every stage holds 0.5 % of its pictures, clips and texts out of training (`HeldOut`); `stageN_validation` is that rest.

Source: VideoLLaMA3, arXiv:2501.13106, tables 1-4. Only the totals of categories are published: inside a category corpora weigh what
the paper says of them, else their published size, at most the category's total. Cuts of filters are not disclosed either; ours are
the operators' defaults and what stands in `branches`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curation.filters import HeldOut
from curation.neural import CaptionerSpec
from curation.neural.prompts import BRIEF, DETAILED, GUIDED
from curation.operator import Operator, RecipeError
from curation.transforms import Recaption
from curation.uris import is_remote
from pipelines.recipe import Branch, Mixture, Node, Recipe, branch
from pipelines.recipes.branches import CHAINS, OWN_RULES, conversations, documents, image_text, text, videos
from pipelines.recipes.corpora import CORPORA, corpora_of
from pipelines.recipes.corpus import Corpus, Use

# Samples per category, in millions.
TOTALS: Mapping[str, Mapping[str, float]] = {
    "stage1": {"scene_image": 11.84, "scene_text": 0.93, "document": 2.80},
    # Text: table 2 prints 6.25, but the total of 21.97 and figure 2 leave 1.00 beside the five visual rows, so 1.00 it is here;
    # `paper(..., totals={"text": 6.25})` is the other reading.
    "stage2": {"scene_image": 12.56, "scene_text": 4.69, "document": 2.68, "chart": 0.04, "fine_grained": 1.00, "text": 1.00},
    "stage3": {
        "image_general": 9.87, "document": 1.31, "chart": 1.00, "ocr": 0.83, "grounding": 0.50, "multi_image": 0.41, "text": 2.21,
        "video": 2.92,
    },
    "stage4": {"video": 3.03, "streaming": 0.0362, "temporal_grounding": 0.21, "image_only": 0.88, "text": 1.56},
}  # fmt: skip
# The same by kind of data, for one's own corpora.
OWN_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "stage1": {"image_text": 0.82, "documents": 0.18},  # scenes and scene text 12.77 M, documents 2.80 M
    "stage2": {"image_text": 0.82, "documents": 0.13, "text": 0.05},  # 17.25 M with scene text, 2.72 M, 1 M
    "stage3": {
        "conversations": 0.53,
        "documents": 0.2,
        "text": 0.12,
        "videos": 0.15,
    },  # instructions 13.92 M, text 2.21 M, video 2.92 M
    "stage4": {"videos": 0.3, "conversations": 0.43, "text": 0.27},  # video 3.28 M, images 0.88 M, text 1.56 M
}
OWN_BRANCHES = {
    "image_text": image_text,
    "documents": documents,
    "text": text,
    "videos": videos,
    "conversations": conversations,
}


def stage1(data: str) -> Recipe:
    """Vision encoder adaptation: scenes, scene text, documents."""
    return _stage("stage1", data)


def stage2(data: str) -> Recipe:
    """Vision-language alignment: scenes, scene text, documents, charts, regions, text."""
    return _stage("stage2", data)


def stage3(data: str) -> Recipe:
    """Multi-task fine-tuning: instructions over images, documents and videos, text."""
    return _stage("stage3", data)


def stage4(data: str) -> Recipe:
    """Video-centric fine-tuning: video, streaming, temporal grounding; images and text again."""
    return _stage("stage4", data)


def demo(data: str) -> Recipe:
    """Everything of the five corpora, unmixed: a quick look at one's own data."""
    branches = (image_text(data), documents(data), videos(data), text(data), conversations(data))
    return Recipe(stage="stage3", branches=branches)


def has_corpora(data: str) -> bool:
    """Whether the directory holds folders of published corpora."""
    if is_remote(data):
        return any(not corpus.missing(data, use) for corpus in CORPORA for use in corpus.uses[:1])
    return any((Path(data) / corpus.name).is_dir() for corpus in CORPORA)


def _stage(stage: str, data: str) -> Recipe:
    return paper(stage, data) if has_corpora(data) else own(stage, data)


def own(stage: str, data: str) -> Recipe:
    """A stage over corpora by kind: image_text-*.parquet, documents-*.parquet, videos-*.tar, text*, conversations.jsonl."""
    weights = OWN_WEIGHTS[stage]
    branches = tuple(_for_training(OWN_BRANCHES[name](data), OWN_RULES[name]) for name in weights)
    return Recipe(stage=stage, branches=branches, mixture=Mixture(weights=weights))


def paper(
    stage: str,
    data: str,
    *,
    totals: Mapping[str, float] | None = None,
    captioner: CaptionerSpec | None = None,
    extra: Mapping[str, Sequence[Operator]] | None = None,
) -> Recipe:
    """A stage over the corpora that the paper names.

    Corpora that are not there are named in the recipe's `missing`; the shares of what is there stay as they are to each other.

    Args:
        totals: other totals of some categories, in millions of samples.
        captioner: writes the captions of what the paper recaptioned (its "-Recap" corpora): short in stage 1, detailed in stage 2,
            from the annotations where there are any. Without one these corpora keep the captions or objects they come with.
        extra: operators per category that go before its dedup: aesthetic and alignment scores, dedup of near-duplicates.

    Raises:
        RecipeError: none of the stage's corpora is there, or an argument names no category.
    """
    amounts = {**TOTALS[stage], **(totals or {})}
    if unknown := sorted({*amounts, *(extra or {})} - set(TOTALS[stage])):
        raise RecipeError(f"{stage}: no category {', '.join(unknown)}: it has {', '.join(TOTALS[stage])}")
    missing: dict[str, str] = {}
    branches: list[Branch] = []
    used: list[tuple[Corpus, Use]] = []
    for corpus, use in corpora_of(stage):
        name = corpus.branch(use)
        if why := corpus.missing(data, use):
            missing[name] = why
            continue
        recaption = _recaption(stage, use, captioner)
        branches.append(_branch(corpus, use, data, recaption, (extra or {}).get(use.category, ())))
        used.append((corpus, use))
    if not branches:
        raise RecipeError(f"{stage}: none of its {len(missing)} corpora is in {data}: vl3-curate doctor --data {data}")
    groups = _groups(used, amounts)
    weights = {category: amounts[category] for category in groups}
    mixture = Mixture(weights=weights, groups=groups)
    return Recipe(stage=stage, branches=tuple(branches), mixture=mixture, missing=missing)


def _branch(corpus: Corpus, use: Use, data: str, recaption: Sequence[Operator], extra: Sequence[Operator]) -> Branch:
    words, media, dedup = CHAINS[use.category]
    # A caption that is to be written is judged when it is: only the media come before.
    chain = [*media, *use.filters, *recaption, *words] if recaption else [*words, *media, *use.filters]
    return branch(corpus.branch(use), corpus.source(data, use), HeldOut(), *chain, *extra, *dedup)


def _recaption(stage: str, use: Use, captioner: CaptionerSpec | None) -> tuple[Operator, ...]:
    if captioner is None or not use.recaption:
        return ()
    prompt = BRIEF if stage == "stage1" else GUIDED if use.recaption == "guided" else DETAILED
    return (Recaption(captioner=captioner, prompt=prompt),)


def stage_shares(stage: str) -> dict[str, float]:
    """Share of each branch in a stage when every corpus is there; sums to 1."""
    return Mixture(weights=TOTALS[stage], groups=_groups(corpora_of(stage), TOTALS[stage])).shares()


def _groups(used: Sequence[tuple[Corpus, Use]], totals: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Millions of samples that each corpus stands for in its category: what the paper says of it, else its part of the rest."""
    groups: dict[str, dict[str, float]] = {}
    for category, total in totals.items():
        members = [(corpus, use) for corpus, use in used if use.category == category]
        told = {corpus.branch(use): use.samples / 1e6 for corpus, use in members if use.samples}
        sizes = {c.branch(u): min(c.size / 1e6, total) for c, u in members if not u.samples}
        rest = max(total - sum(told.values()), 0.0) or total
        if members:
            groups[category] = told | {name: rest * size / sum(sizes.values()) for name, size in sizes.items()}
    return groups


def _for_training(chain: Branch, rules: Sequence[Operator]) -> Branch:
    """A branch of one's own, without what is held out and, once its words are counted, with the rules for them."""
    words, *rest = chain.nodes
    return replace(chain, nodes=(Node(operator=HeldOut()), words, *(Node(operator=rule) for rule in rules), *rest))


def validation(recipe: Recipe) -> Recipe:
    """What a recipe holds out of training, unmixed. A branch of which nothing is held out is empty, and so is no error."""
    return replace(recipe, branches=tuple(_validation(chain) for chain in recipe.branches), mixture=None)


def _validation(chain: Branch) -> Branch:
    held = [replace(n, operator=_other_side(n.operator)) if isinstance(n.operator, HeldOut) else n for n in chain.nodes]
    return replace(chain, nodes=tuple(held))


def _other_side(operator: HeldOut) -> HeldOut:
    return HeldOut(share=operator.share, seed=operator.seed, side="validation")
