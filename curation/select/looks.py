"""Looks: the pictures and clips of samples that are given best first, as arrays, and which pairs of them show the same."""

import numpy as np
import polars as pl

from curation.select.dct_hash import busy_share, plain_share
from curation.select.films import Look, Sequence, same_films
from curation.select.fine import GRAPHIC, unpack_fine
from curation.select.media_pairs import media_pairs
from curation.select.pictures import Likeness, Views, verify
from curation.select.views import STILL, VIEW, records_of


class Looks:
    """Views and clips of a table with `views` and `stills`, in the order of its rows; what shows almost nothing is left out.

    rows, media: int64 [N], sample and number of the medium of each view. hashes: uint64 [N]. views: the rest of them.
    clips: sequences of stills; clip_rows, clip_media: whose; middle: their middle stills.
    """

    def __init__(self, table: pl.DataFrame, *, busy: float, plain: float) -> None:
        views, rows = records_of(table["views"], VIEW)
        stills, still_rows = records_of(table["stills"], STILL)
        medium = rows * 65536 + views["medium"]
        framed = np.append(medium[:-1] == medium[1:], False)[: len(medium)]
        of_still = still_rows * 65536 + stills["medium"]
        keep = np.flatnonzero(~np.isin(medium, of_still))
        keep = keep[busy_share(views["thumbnail"][keep]) >= busy] if len(keep) else keep
        self.rows, self.media = rows[keep], views["medium"][keep].astype(np.int64)
        self.hashes = views["hash"][keep]
        fine = _fine(table["graphics"], rows)
        media = np.unique(medium, return_inverse=True)[1]
        most = np.zeros(len(rows), np.float32)
        np.maximum.at(most, media, plain_share(views["thumbnail"]))
        share = most[media][keep]
        # What has fine views and is not plain is tiny: its thumbnail is made up, and says as little.
        tiny = np.array([view in fine for view in keep.tolist()], bool) & (share < GRAPHIC)
        self.views = Views(
            thumbnails=views["thumbnail"][keep], colours=views["colours"][keep], framed=framed[keep], plain=(share >= plain) | tiny,
            fine={at: fine[view] for at, view in enumerate(keep.tolist()) if view in fine},
        )  # fmt: skip
        names = np.unique(of_still)
        self.clip_rows, self.clip_media = names // 65536, names % 65536
        self.middle = views["thumbnail"][np.searchsorted(medium, names)]
        self.clips: list[Sequence] = []
        for begin, end in zip(
            np.searchsorted(of_still, names), np.searchsorted(of_still, names, side="right"), strict=True
        ):
            part = stills[begin:end][stills["busy"][begin:end] >= busy]
            self.clips.append(Sequence(times=part["time"], hashes=part["hash"]))

    def same_pictures(self, candidates: np.ndarray, likeness: Likeness) -> pl.DataFrame:
        """Verified pairs of images, as MEDIA_PAIRS, of candidates that name views."""
        left, right = candidates[:, 0], candidates[:, 1]
        useful = (self.rows[left] != self.rows[right]) & (self.media[left] == self.media[right])
        pairs, detail = verify(self.views, candidates[useful], likeness)
        left, right = pairs[:, 0], pairs[:, 1]
        return media_pairs(self.rows[left], self.media[left], self.rows[right], self.media[right], detail)

    def same_films(self, candidates: np.ndarray, look: Look) -> pl.DataFrame:
        """Verified pairs of clips, as MEDIA_PAIRS, of candidates that name clips."""
        pairs, share = same_films(self.clips, self.middle, candidates, look)
        left, right = pairs[:, 0], pairs[:, 1]
        return media_pairs(
            self.clip_rows[left], self.clip_media[left], self.clip_rows[right], self.clip_media[right], share
        )


def _fine(cells: pl.Series, rows: np.ndarray) -> dict[int, bytes]:
    """The deflated fine views by the numbers of the views they belong to; rows: of which sample each view is, sorted."""
    found: dict[int, bytes] = {}
    for row in np.flatnonzero(cells.is_not_null().to_numpy()):
        first = int(np.searchsorted(rows, row))
        found |= {first + number: data for number, data in unpack_fine(cells[int(row)]).items()}
    return found
