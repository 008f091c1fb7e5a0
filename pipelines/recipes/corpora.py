"""Corpora: every dataset that VideoLLaMA3 names for its four stages, one row each.

The rows are in `rows/`, by kind. No hub could be reached when they were written: formats follow each publication, and where a
field's name was not certain the row says so (`certain=False`); `vl3-curate doctor --data DIR` holds a download against them.

Source: VideoLLaMA3, arXiv:2501.13106, tables 1 to 4 (names and categories); sizes are those of the publications, about.
"""

from pipelines.recipes.corpus import Corpus, Use
from pipelines.recipes.rows.images import INSTRUCTIONS, SCENES
from pipelines.recipes.rows.pages import CHARTS, DOCUMENTS, SCENE_TEXT
from pipelines.recipes.rows.regions import GROUNDING, REGIONS
from pipelines.recipes.rows.texts import TEXTS
from pipelines.recipes.rows.videos import GENERAL, MOMENTS

CORPORA: tuple[Corpus, ...] = (
    *SCENES, *SCENE_TEXT, *DOCUMENTS, *CHARTS, *REGIONS, *INSTRUCTIONS, *GROUNDING, *TEXTS, *GENERAL, *MOMENTS,
)  # fmt: skip


def corpora_of(stage: str) -> list[tuple[Corpus, Use]]:
    """What a stage uses, in the order of the tables."""
    return [(corpus, use) for corpus in CORPORA for use in corpus.uses_in(stage)]
