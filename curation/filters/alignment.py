"""Alignment filters: how well a sample's words fit its pictures, by an encoder that knows both.

Shapes: B samples, D width of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.neural.embedding import media_embeddings, text_embeddings
from curation.neural.encoder import EncoderSpec
from curation.operator import Filter
from curation.sample import Sample

if TYPE_CHECKING:
    from curation.operator import Measure


@dataclass(frozen=True, kw_only=True)
class EncoderFilter(Filter):
    """A filter whose number depends on an encoder's weights as well as on its settings."""

    encoder: EncoderSpec

    def open(self) -> Measure:
        """The measure, with the weights loaded."""
        self.encoder.load()
        return self.measure


@dataclass(frozen=True, kw_only=True)
class ImageTextSimilarity(EncoderFilter):
    """Cosine of a sample's media and its answers (its caption), in [-1, 1]. Null without media or words.

    The scale belongs to the encoder: about 0.2 to 0.35 for CLIP ViT-B/32 on fitting pairs, other for SigLIP, so look at
    the distribution before choosing a bound. Text beyond the encoder's context is not seen (EncoderOverflow).

    Source: VideoLLaMA3, arXiv:2501.13106 (2.3: BLIP-2 caption against image by CLIP; the cut is not disclosed);
    DataComp, arXiv:2304.14108, and LAION-400M, arXiv:2111.02114, cut ViT-B/32 at 0.28 and 0.3.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One cosine per sample."""
        return similarity(batch, self.encoder, [sample.answers() for sample in batch.samples], "answers")


@dataclass(frozen=True, kw_only=True)
class CaptionGain(EncoderFilter):
    """Cosine of media and answers minus that of media and what the answers were before a model wrote them, in [-2, 2].

    Above 0 the new caption fits better. Null without media, and where nothing was rewritten.

    Source: ours; VideoLLaMA3, arXiv:2501.13106, recaptions everything and compares only its coarse caption.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One difference per sample."""
        new = similarity(batch, self.encoder, [sample.answers() for sample in batch.samples], "answers")
        old = similarity(batch, self.encoder, [answers_before(sample) for sample in batch.samples], "answers before")
        return new - old


@dataclass(frozen=True, kw_only=True)
class EncoderOverflow(EncoderFilter):
    """Tokens of a sample's answers that do not fit the encoder's context and are not seen by its scores. Null without words.

    Source: ours; CLIP reads 77 tokens, so that it compares a detailed caption by its beginning.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One number of tokens per sample."""
        texts = [sample.answers() for sample in batch.samples]
        text_embeddings(batch, self.encoder, texts, "answers")
        cut = batch.shared(f"{self.encoder.key}/answers", lambda _: pl.DataFrame())["cut"].to_list()
        return pl.Series([float(n) if text else None for n, text in zip(cut, texts, strict=True)], dtype=pl.Float64)


def similarity(batch: Batch, encoder: EncoderSpec, texts: list[str], name: str) -> pl.Series:
    """Cosine of each sample's media and a text; null where one of them is missing."""
    media = media_embeddings(batch, encoder).astype(np.float32)
    if not media.shape[1]:  # not one sample has media
        return pl.Series([None] * len(batch), dtype=pl.Float64)
    words = text_embeddings(batch, encoder, texts, name)
    cosines = (media * words).sum(axis=1, dtype=np.float64).round(6).tolist()
    known = [bool(text) and cosine == cosine for text, cosine in zip(texts, cosines, strict=True)]
    return pl.Series([c if k else None for c, k in zip(cosines, known, strict=True)], dtype=pl.Float64)


def answers_before(sample: Sample) -> str:
    """The answers as the source gave them; empty where nothing was rewritten."""
    turns = [turn for turn in sample.turns if turn.role == "assistant"]
    if all(turn.was is None for turn in turns):
        return ""
    return "\n".join(turn.text if turn.was is None else turn.was for turn in turns)
