"""Conversation filters: whether turns alternate, media and placeholders match, answers say something and boxes lie in the picture."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from curation.batch import Batch
from curation.operator import Filter
from curation.sample import Sample

_TAG = re.compile(r"<(?:image|video)>")
# Look-alikes that `plain` broke apart, and the names other toolkits give their placeholders.
_STRAY = re.compile(
    r"< (?:image|video)>|<\|?(?:image_pad|video_pad|im_patch|im_start|im_end|vision_(?:start|end)|image_\d+)\|?>|\[IMG\]"
)
_NUMBER = r"\s*(-?\d{1,7}(?:\.\d{1,7})?)\s*"
_BOX = re.compile(rf"[\[(]{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}[\])]")


def _count(batch: Batch, count: Callable[[Sample], float | None]) -> pl.Series:
    return pl.Series("count", [count(sample) for sample in batch.samples], dtype=pl.Float64)


@dataclass(frozen=True, kw_only=True)
class Exchanges(Filter):
    """Answers of a conversation, >= 0: assistant turns. No default bound.

    Cost: none.

    Source: ours.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return _count(batch, lambda sample: sum(turn.role == "assistant" for turn in sample.turns))


@dataclass(frozen=True, kw_only=True)
class TurnsOutOfOrder(Filter):
    """Turns that break the order [system,] user, assistant, user, assistant ..., ending with an answer, >= 0.

    A document, which is one assistant turn alone, has none. Null for streaming samples, whose turns have times. `NormalizeTurns`
    joins neighbours of one role and mends most.

    Cost: none.

    Source: the conversation format of VideoLLaMA3, arXiv:2501.13106; a chat template raises or misplaces such turns.
    """

    high: float | None = 0

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return _count(batch, _out_of_order)


def _out_of_order(sample: Sample) -> float | None:
    roles = [turn.role for turn in sample.turns]
    if "stream" in roles or any(turn.time is not None for turn in sample.turns):
        return None
    roles = roles[roles[:1] == ["system"] :]
    if roles == ["assistant"]:
        return 0
    wrong, wanted = 0, "user"
    for role in roles:
        wrong += role != wanted
        wanted = "user" if role == "assistant" else "assistant"
    return wrong + (roles[-1:] != ["assistant"])


@dataclass(frozen=True, kw_only=True)
class StrayPlaceholders(Filter):
    """Media without a place in the turns, places without a medium, and look-alikes of places in the text, >= 0.

    Sources refuse samples whose tags and media differ, so that what is left are mostly look-alikes: a tag in raw text, which stands
    broken apart ("< image>"), or another toolkit's token.

    Cost: one regular expression.

    Source: ours; the training tokenizer would read some of them as special tokens.
    """

    high: float | None = 0

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return _count(batch, _stray)


def _stray(sample: Sample) -> float:
    text = "\n".join(turn.text for turn in sample.turns)
    return abs(len(_TAG.findall(text)) - len(sample.media)) + len(_STRAY.findall(text))


@dataclass(frozen=True, kw_only=True)
class EmptyAnswers(Filter):
    """Answers without a letter or digit of any script, >= 0; 1 where there is no answer at all.

    Cost: none.

    Source: ours; the loss would have nothing to learn but the end of a turn.
    """

    high: float | None = 0

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return _count(batch, _empty_answers)


def _empty_answers(sample: Sample) -> float:
    answers = [_TAG.sub("", turn.text) for turn in sample.turns if turn.role == "assistant"]
    return sum(not any(map(str.isalnum, answer)) for answer in answers) if answers else 1


@dataclass(frozen=True, kw_only=True)
class BoxesOutOfRange(Filter):
    """Boxes in the answers, four numbers in brackets, that are empty, inverted or not within 0 to `scale`, >= 0. Null without boxes.

    Cost: one regular expression. `scale` is the corpus's unit: 1000 (VideoLLaMA3's boxes here), 1 (shares), or pixels by a large number.

    Source: ours; VideoLLaMA3, arXiv:2501.13106, trains on boxes but does not disclose their checks.
    """

    high: float | None = 0
    scale: float = 1000

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return _count(batch, lambda sample: _bad_boxes(sample.answers(), self.scale))


def _bad_boxes(text: str, scale: float) -> float | None:
    boxes = [tuple(map(float, box)) for box in _BOX.findall(text)]
    if not boxes:
        return None
    return sum(not (0 <= x1 < x2 <= scale and 0 <= y1 < y2 <= scale) for x1, y1, x2, y2 in boxes)
