"""Answer filters: what goes wrong when a model writes a caption: it refuses, repeats itself, or is cut off."""

import re
from dataclasses import dataclass

import polars as pl

from curation.batch import Batch
from curation.operator import Filter

_REFUSALS = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)|I (?:can(?:no|')t|cannot|am not allowed)|as an? (?:AI|language model|assistant)"
    r"|(?:unable|not able) to (?:see|view|describe|access|process)|no image (?:was |has been |is )?(?:provided|attached|given)"
    r"|please (?:provide|upload|share) (?:an?|the) (?:image|picture|photo|video))",
    re.IGNORECASE,
)
_ENDS = tuple(".!?\"'”’)]}…。！？」』")
_GRAM = 4


@dataclass(frozen=True, kw_only=True)
class Refusal(Filter):
    """1 where an answer refuses to describe, or says that there is nothing to see, else 0. Null without answers.

    English phrases only. Source: ours; the usual openings of refusals by published assistants.
    """

    high: float | None = 0.5

    def measure(self, batch: Batch) -> pl.Series:
        """0 or 1 per sample."""
        refused = [float(bool(_REFUSALS.search(text))) if text else None for text in batch.captions()]
        return pl.Series("value", refused, dtype=pl.Float64)


@dataclass(frozen=True, kw_only=True)
class Repetition(Filter):
    """Share of an answer's runs of four words that stood in it before, in [0, 1]. Null below four words.

    Models that lose the thread say one thing over and over until they are cut.

    Source: Gopher, arXiv:2112.11446 (duplicate n-grams of documents); the cut of 0.3 for captions is ours.
    """

    high: float | None = 0.3

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return pl.Series("value", [_repeated(text) for text in batch.captions()], dtype=pl.Float64)


def _repeated(text: str) -> float | None:
    words = text.casefold().split()
    grams = [tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


@dataclass(frozen=True, kw_only=True)
class Unfinished(Filter):
    """1 where the last answer does not end like a sentence, as captions that were cut do, else 0. Null without answers.

    Source: ours.
    """

    high: float | None = 0.5

    def measure(self, batch: Batch) -> pl.Series:
        """0 or 1 per sample."""
        cut = [float(not text.rstrip().endswith(_ENDS)) if text.strip() else None for text in batch.captions()]
        return pl.Series("value", cut, dtype=pl.Float64)
