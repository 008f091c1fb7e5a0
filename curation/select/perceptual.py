"""Perceptual dedup: samples whose pictures or clips look the same are one group, and one of them survives."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.operator import Select
from curation.select.aligned import aligned_detail
from curation.select.dct_hash import busy_share
from curation.select.films import TELLING, Sequence, same_films
from curation.select.media_pairs import MEDIA_PAIRS, all_media, decide, media_pairs
from curation.select.pictures import Likeness, same_pictures
from curation.select.survivors import rank_samples
from curation.select.views import STILL, VIEW, records_of, signatures

_UNMOVED = np.array([1, 0, 1, 0], np.float32)
# Of clips of few different pictures the middle stills must agree by so much (people signing before one camera reach 0.94,
# copies 0.97), and the numbers of stills to within so many.
_STILL_DETAIL, _AS_LONG = 0.96, 2


@dataclass(frozen=True, kw_only=True)
class PerceptualDedup(Select):
    """Keeps one sample of each group that looks the same: re-encoded, resized, brightened, bordered, cropped by a few per cent,
    or mirrored; of clips also parts of each other.

    Two samples are duplicates when they have as many media, each showing the same as the other's, in order; what is said
    about them is not compared. Hashes within `bits` propose a pair, detail of 32 x 32 thumbnails after alignment decides
    (see `pictures`), for clips the order of their stills (see `films`). Every dropped sample is a verified duplicate of
    the survivor it names. Pictures that show almost nothing (less than `busy` of their cells have detail) and samples
    without media are never duplicates; ExactDedup knows equal bytes. Charts, pages and logos differ in little and must
    agree in `plain_detail`.

    bits: Hamming distance, of 64; cost grows steeply with it (see docs/scale.md): 8 for up to some 10^7 pictures, 3
    and cropped=False beyond. detail: correlation, at most 1. share: of a shorter clip's stills. best: name of the
    score whose highest value survives (None: the largest, in pixels times stills); then the larger, then the smallest id.
    alternates: a survivor carries at most so many other captions of its duplicates.

    Source: no cut is published for VideoLLaMA3's data; ours were chosen on photographs altered by the tests and on the
    closest pairs of different photographs and charts (docs/benchmarks.md).
    """

    bits: int = 8
    detail: float = 0.88
    plain_detail: float = 0.995
    plain: float = 0.33
    busy: float = 0.1
    mirrored: bool = True
    cropped: bool = True
    share: float = 0.8
    best: str | None = None
    alternates: int = 16

    @property
    def carries(self) -> int:
        """Words are not compared."""
        return self.alternates

    def signature(self, batch: Batch) -> pl.DataFrame:
        """Number of media, records of their views and stills, and size; null where a medium does not decode."""
        return signatures(batch)

    def signature_settings(self) -> dict[str, Any]:
        """None: other bounds look at no picture again."""
        return {key: value for key, value in self.settings().items() if key in ("operator", "version")}

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """All of each group but its survivor, sorted by id, with the survivor as `duplicate_of`.

        `similarity` is the detail of the medium that agrees least; of clips, the share of the shorter one's stills.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        ranks = rank_samples(table, self.best, "size", who=self.name)
        pairs = all_media(pl.concat([self._pictures(table, ranks), self._films(table)]), table["media"].fill_null(0))
        return decide(table["id"], ranks, pairs)

    def _pictures(self, table: pl.DataFrame, ranks: np.ndarray) -> pl.DataFrame:
        """Pairs of images, as MEDIA_PAIRS."""
        views, rows = records_of(table["views"], VIEW)
        stills, still_rows = records_of(table["stills"], STILL)
        medium = rows * 65536 + views["medium"]
        framed = np.append(medium[:-1] == medium[1:], False)[: len(medium)]
        of_clip = np.isin(medium, still_rows * 65536 + stills["medium"])
        keep = np.flatnonzero(~of_clip)
        keep = keep[busy_share(views["thumbnail"][keep]) >= self.busy] if len(keep) else keep
        keep = keep[np.lexsort((keep, ranks[rows[keep]]))]
        found = same_pictures(views["hash"][keep], views["thumbnail"][keep], framed[keep], self.likeness())
        if found.hubs:
            logging.getLogger(__name__).warning(
                "%s: %d hashes too common to compare all their pictures", self.name, found.hubs
            )
        a, b = keep[found.left], keep[found.right]
        return media_pairs(rows[a], views["medium"][a], rows[b], views["medium"][b], found.detail)

    def likeness(self) -> Likeness:
        """What counts as the same picture."""
        return Likeness(
            bits=self.bits, detail=self.detail, plain_detail=self.plain_detail, plain=self.plain, mirrored=self.mirrored,
            cropped=self.cropped,
        )  # fmt: skip

    def _films(self, table: pl.DataFrame) -> pl.DataFrame:
        """Pairs of clips, as MEDIA_PAIRS."""
        stills, rows = records_of(table["stills"], STILL)
        if not len(stills):
            return pl.DataFrame(schema=MEDIA_PAIRS)
        keys = rows * 65536 + stills["medium"]
        clips, ids = [], np.unique(keys)
        for begin, end in zip(np.searchsorted(keys, ids), np.searchsorted(keys, ids, side="right"), strict=True):
            part = stills[begin:end][stills["busy"][begin:end] >= self.busy]
            clips.append(Sequence(times=part["time"], hashes=part["hash"]))
        found = same_films(clips, bits=self.bits, share=self.share, mirrored=self.mirrored)
        if found.hubs:
            logging.getLogger(__name__).warning("%s: %d stills too common to count", self.name, found.hubs)
        a, b = ids[found.left], ids[found.right]
        middle = self._middle_stills(table, ids)
        alike = np.maximum(
            aligned_detail(middle[found.left], middle[found.right], np.tile(_UNMOVED, (len(a), 1))),
            aligned_detail(middle[found.left], middle[found.right][:, :, ::-1], np.tile(_UNMOVED, (len(a), 1))),
        )
        lengths = np.array([len(clip.times) for clip in clips])
        as_long = np.abs(lengths[found.left] - lengths[found.right]) <= _AS_LONG
        same = (found.different >= TELLING) | (as_long & (alike >= max(self.detail, _STILL_DETAIL)))
        a, b = a[same], b[same]
        return media_pairs(a // 65536, a % 65536, b // 65536, b % 65536, found.share[same])

    def _middle_stills(self, table: pl.DataFrame, clips: np.ndarray) -> np.ndarray:
        views, rows = records_of(table["views"], VIEW)
        keys = rows * 65536 + views["medium"]
        return views["thumbnail"][np.searchsorted(keys, clips)]
