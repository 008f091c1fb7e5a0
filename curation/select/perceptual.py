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
from curation.select.pictures import Likeness, same_pictures
from curation.select.survivors import choose_survivors, dropped_table, rank_samples
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

    def signature(self, batch: Batch) -> pl.DataFrame:
        """Number of media, records of their views and stills, and size; null where a medium does not decode."""
        return signatures(batch)

    def signature_settings(self) -> dict[str, Any]:
        """None: other bounds look at no picture again."""
        return {key: value for key, value in self.settings().items() if key in ("operator", "version")}

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """All of each group but its survivor, sorted by id, with the survivor as `duplicate_of`.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        ranks = rank_samples(table, self.best, "size", who=self.name)
        pairs = np.concatenate([self._pictures(table, ranks), self._films(table)])
        left, right = _all_media(pairs, table["media"].fill_null(0).to_numpy())
        stands = choose_survivors(ranks, left, right)
        return dropped_table(table["id"], stands)

    def _pictures(self, table: pl.DataFrame, ranks: np.ndarray) -> np.ndarray:
        """Pairs of images, int64 [P, 4]: row and medium of each."""
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
        return np.stack([rows[a], views["medium"][a], rows[b], views["medium"][b]], axis=1).astype(np.int64)

    def likeness(self) -> Likeness:
        """What counts as the same picture."""
        return Likeness(
            bits=self.bits, detail=self.detail, plain_detail=self.plain_detail, plain=self.plain, mirrored=self.mirrored,
            cropped=self.cropped,
        )  # fmt: skip

    def _films(self, table: pl.DataFrame) -> np.ndarray:
        """Pairs of clips, int64 [P, 4]: row and medium of each."""
        stills, rows = records_of(table["stills"], STILL)
        if not len(stills):
            return np.empty((0, 4), np.int64)
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
        return np.stack([a // 65536, a % 65536, b // 65536, b % 65536], axis=1)[same]

    def _middle_stills(self, table: pl.DataFrame, clips: np.ndarray) -> np.ndarray:
        views, rows = records_of(table["views"], VIEW)
        keys = rows * 65536 + views["medium"]
        return views["thumbnail"][np.searchsorted(keys, clips)]


def _all_media(pairs: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of samples of which every medium is paired with the other's medium of the same number."""
    pairs = pairs[(pairs[:, 1] == pairs[:, 3]) & (pairs[:, 0] != pairs[:, 2])]
    pairs = pairs[counts[pairs[:, 0]] == counts[pairs[:, 2]]]
    low, high = pairs[:, [0, 2]].min(axis=1), pairs[:, [0, 2]].max(axis=1)
    media = np.unique(np.stack([low, high, pairs[:, 1]], axis=1), axis=0)
    samples, matched = np.unique(media[:, :2], axis=0, return_counts=True)
    whole = samples[matched == counts[samples[:, 0]]]
    return whole[:, 0], whole[:, 1]
