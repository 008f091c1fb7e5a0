"""Recaption: new captions by a model, beside the old ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from curation.neural.captioner import Caption, CaptionerSpec, Request, ask, encoded_media
from curation.neural.prompts import BRIEF, CLIP, Prompt
from curation.operator import Transform
from curation.sample import IMAGE_TAG, VIDEO_TAG, Kind, Sample, SampleError, Turn, plain
from curation.transforms.normalize import normalize_text

if TYPE_CHECKING:
    from curation.batch import Batch

_TAGS: dict[Kind, str] = {"image": IMAGE_TAG, "video": VIDEO_TAG}


@dataclass(frozen=True, kw_only=True)
class Recaption(Transform):
    """Writes every sample with images anew: its media, what the prompt asks, and the caption a model gives.

    What was said before stays with the new answer as `was`, in the shard and for CaptionGain. Samples without media of
    this kind go on unchanged. Answers are kept beside the part as they come, so that neither a crash nor other bounds
    pay for one twice. What comes from a model is text and nothing else: media tags in it are broken apart, controls are
    removed. `words`: give the prompt the caption there is, in place of its `{text}`.

    Raises:
        SampleError: the captioner has no answer, or one without words.

    Source: VideoLLaMA3, arXiv:2501.13106 (2.3: InternVL2-8B for short captions in stage 1, InternVL2-26B for detailed
    ones in stage 2; prompts and decoding are not disclosed).
    """

    KIND: ClassVar[Kind] = "image"
    captioner: CaptionerSpec
    prompt: Prompt = BRIEF

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
            if any(medium.kind == self.KIND for medium in sample.media):
                try:
                    requests.append(self._request(batch, index))
                    numbers.append(index)
                except SampleError as error:
                    batch.errors[index] = error
        for index, answer in zip(numbers, ask(batch, self.captioner, requests), strict=True):
            try:
                rewritten[index] = self._written(batch.samples[index], _caption(answer, batch))
            except SampleError as error:
                batch.errors[index] = error
        return rewritten

    def _request(self, batch: Batch, index: int) -> Request:
        sample = batch.samples[index]
        media = encoded_media(batch, index, sample.media)
        return Request(text=self.prompt.fill(text=sample.answers()), media=media, max_tokens=self.prompt.max_tokens)

    def _written(self, sample: Sample, text: str) -> Sample:
        """The sample with one exchange: its media and what the prompt asks, and the caption."""
        tags = "\n".join(_TAGS[medium.kind] for medium in sample.media)
        asked = f"{tags}\n{self.prompt.asks}" if self.prompt.asks else tags
        before = next((turn.was for turn in sample.turns if turn.was is not None), None)
        was = sample.answers() if before is None else before
        return replace(sample, turns=(Turn(role="user", text=asked), Turn(role="assistant", text=text, was=was)))


@dataclass(frozen=True, kw_only=True)
class CaptionVideo(Recaption):
    """Recaption for samples with videos; the clip is shown as the captioner sees it best.

    Source: VideoLLaMA3, arXiv:2501.13106 (3.2.4: Qwen2-VL-72B writes dense captions of high-motion clips; the prompt is
    not disclosed).
    """

    KIND: ClassVar[Kind] = "video"
    prompt: Prompt = CLIP


def _caption(answer: Caption | SampleError, batch: Batch) -> str:
    """The words of an answer, as text that can only be text."""
    if isinstance(answer, SampleError):
        raise answer
    batch.counters["captions_truncated"] += answer.finish == "length"
    text = normalize_text(plain(answer.text))
    if not text:
        raise SampleError("the captioner answered without words: ask another one, or drop the sample")
    return text
