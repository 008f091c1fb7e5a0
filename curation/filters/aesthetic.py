"""Aesthetic filters: looks of a sample's media, by a head on an encoder's embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from curation.batch import Batch
from curation.filters.alignment import EncoderFilter
from curation.neural.embedding import media_embeddings
from curation.neural.heads import HeadSpec

if TYPE_CHECKING:
    from curation.operator import Measure


@dataclass(frozen=True, kw_only=True)
class HeadScore(EncoderFilter):
    """The number that a head gives to the embedding of a sample's media. Null without media.

    For any linear or MLP head; subclass it to have two of them in one branch.

    Source: ours; the heads below are cases of it.
    """

    head: HeadSpec

    def open(self) -> Measure:
        """The measure, with encoder and head loaded."""
        self.head.load()
        return super().open()

    def measure(self, batch: Batch) -> pl.Series:
        """One number per sample."""
        numbers = self.head.load()(media_embeddings(batch, self.encoder)).round(6).tolist()
        known = [bool(sample.media) for sample in batch.samples]
        return pl.Series([n if k else None for n, k in zip(numbers, known, strict=True)], dtype=pl.Float64)


@dataclass(frozen=True, kw_only=True)
class Aesthetic(HeadScore):
    """How much people would like the picture, about 1 to 10 by LAION's heads. Null without media.

    Give the head that belongs to the encoder: LAION's aesthetic predictor v1 (one linear layer,
    `sa_0_4_vit_l_14_linear.pth` on OpenAI's ViT-L-14) or the improved one (five linear layers,
    `sac+logos+ava1-l14-linearMSE.pth`); both take unit vectors and have no activation.

    Source: LAION-5B, arXiv:2210.08402 (LAION-Aesthetics: >= 4.5, 5, 6). VideoLLaMA3, arXiv:2501.13106, filters by "an
    aesthetic scoring model" and discloses neither model nor cut.
    """
