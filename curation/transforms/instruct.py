"""Instruct: questions and answers from a dense caption, by a model that reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from curation.neural.captioner import Caption, CaptionerSpec, Request, ask, encoded_media
from curation.neural.prompts import QUESTIONS, Prompt
from curation.operator import Transform
from curation.sample import IMAGE_TAG, VIDEO_TAG, Sample, SampleError, Turn, plain
from curation.transforms.normalize import normalize_text

if TYPE_CHECKING:
    from curation.batch import Batch

_PAIR = re.compile(
    r"(?:^|\n)[^\w\n]*(?:\d+[.)]\s*)?Q\d*\s*:\s*(.+?)(?:\s*\n[^\w\n]*|\s+)A\d*\s*:\s*(.+?)(?=\n|$)", re.IGNORECASE
)
MAX_PAIRS = 16


@dataclass(frozen=True, kw_only=True)
class InstructFromCaption(Transform):
    """Turns a captioned sample into a conversation: questions and answers that a model writes from the caption.

    The media stand before the first question; the caption stays with the first answer as `was`. The model sees the
    caption only, so it cannot be asked what the caption does not say. `media`: show it the media as well.

    Raises:
        SampleError: there is no caption, or the answer holds no pair in the form the prompt asks for.

    Source: VideoLLaMA3, arXiv:2501.13106 (3.2.4: 242 K question-answer pairs on temporal, spatial, object and order
    from dense captions by Qwen2-VL-72B; the prompt is not disclosed).
    """

    captioner: CaptionerSpec
    prompt: Prompt = QUESTIONS
    media: bool = False

    def rewrite(self, sample: Sample) -> Sample:
        """One sample; `open` asks for many at once."""
        from curation.batch import Batch

        batch = Batch([sample])
        (rewritten,) = self.open()(batch)
        if batch.errors:
            raise batch.errors[0]
        return rewritten

    def open(self) -> Callable[[Batch], Sequence[Sample]]:
        """The function that rewrites a batch, with the captioner loaded."""
        self.captioner.load()
        return self._rewrite_batch

    def _rewrite_batch(self, batch: Batch) -> Sequence[Sample]:
        rewritten = list(batch.samples)
        numbers, requests = [], []
        for index, sample in enumerate(batch.samples):
            try:
                requests.append(self._request(batch, index))
                numbers.append(index)
            except SampleError as error:
                batch.errors[index] = error
            rewritten[index] = sample
        for index, answer in zip(numbers, ask(batch, self.captioner, requests), strict=True):
            try:
                rewritten[index] = _conversation(batch.samples[index], pairs_of(answer))
            except SampleError as error:
                batch.errors[index] = error
        return rewritten

    def _request(self, batch: Batch, index: int) -> Request:
        sample = batch.samples[index]
        if not sample.answers().strip():
            raise SampleError("no caption to ask about: put Recaption or CaptionVideo first")
        shown = sample.media if self.media else ()
        media = encoded_media(batch, index, shown)
        return Request(text=self.prompt.fill(text=sample.answers()), media=media, max_tokens=self.prompt.max_tokens)


def pairs_of(answer: Caption | SampleError) -> list[tuple[str, str]]:
    """Question and answer pairs in an answer, at most 16; a pair that was cut off is left out.

    Raises:
        SampleError: there is none.
    """
    if isinstance(answer, SampleError):
        raise answer
    found = [(_clean(question), _clean(reply)) for question, reply in _PAIR.findall(normalize_text(answer.text))]
    if answer.finish == "length":
        found = found[:-1]
    found = [(question, reply) for question, reply in found if question and reply][:MAX_PAIRS]
    if not found:
        raise SampleError(f"no question with its answer in {answer.text[:120]!r}: wanted lines 'Q: ... A: ...'")
    return found


def _clean(text: str) -> str:
    return normalize_text(plain(text))


def _conversation(sample: Sample, pairs: list[tuple[str, str]]) -> Sample:
    tags = "".join((IMAGE_TAG if medium.kind == "image" else VIDEO_TAG) + "\n" for medium in sample.media)
    turns: list[Turn] = []
    for number, (question, reply) in enumerate(pairs):
        first = number == 0
        turns.append(Turn(role="user", text=tags + question if first else question))
        turns.append(Turn(role="assistant", text=reply, was=sample.answers() if first else None))
    return replace(sample, turns=tuple(turns))
