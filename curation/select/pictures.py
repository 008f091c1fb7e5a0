"""Pictures: pairs of views that show the same picture, found by hash and verified by aligned detail.

The hash proposes: within a few bits, also of the mirrored picture and of what a light crop would leave. Detail decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from curation.select.aligned import align, aligned_detail
from curation.select.colours import colour_apart
from curation.select.dct_hash import MIRROR, WHOLE, Window, hash_thumbnails, plain_share
from curation.select.fine import most_different, pixels_of
from curation.select.hamming import Blocks, near_pairs

# What a light crop leaves, to be met by a picture that was cropped: each corner, and the middle.
_CUT = 0.05
CROPS = (
    *(Window(top=t, bottom=1 - _CUT + t, left=s, right=1 - _CUT + s) for t in (0, _CUT) for s in (0, _CUT)),
    Window(top=0.04, bottom=0.96, left=0.04, right=0.96),
)
# Views of one and the same hash that are compared with each other; the others meet these only.
LEADERS = 16


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """When two pictures are the same.

    bits: Hamming distance of hashes to be looked at. detail: correlation of detail after alignment, at least.
    plain_detail: the same for pictures with large plain areas (charts, pages, logos), which differ in little, and for
    two pictures taken with their borders, which agree in these. plain: share of plain cells from which that holds.
    fine: levels by which their fine views may differ at most. colour: levels by which the colour of a cell may.
    mirrored, cropped: whether those copies are looked for.
    """

    bits: int
    detail: float
    plain_detail: float
    plain: float
    fine: float
    colour: float
    mirrored: bool
    cropped: bool


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Hashes by which N views meet: their own, then those that altered copies of them would have.

    values: uint64 [E]. rows: int64 [E], the view. windows, mirrored: int64 [E], what was altered; -1 and 0: nothing.
    """

    values: np.ndarray
    rows: np.ndarray
    windows: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> "Entries":
        """Some of them."""
        return Entries(
            values=self.values[indices], rows=self.rows[indices], windows=self.windows[indices], mirrored=self.mirrored[indices]
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Met:
    """Candidates int64 [C, 5]: whole view, altered view, window, mirrored, bits; crowds int64 [H, 2]: the best view and the size of hashes
    and buckets too common to compare all.
    """

    candidates: np.ndarray
    crowds: np.ndarray


def num_hashes(likeness: Likeness) -> int:
    """Hashes of a view: its own, and of what crops leave."""
    return 1 + len(CROPS) if likeness.cropped else 1


def all_hashes(hashes: np.ndarray, thumbnails: np.ndarray, likeness: Likeness) -> np.ndarray:
    """uint64 [N, W + 1]: hashes of views, and of what light crops would leave of them."""
    cut = [hash_thumbnails(thumbnails, window) for window in CROPS] if likeness.cropped else []
    return np.stack([hashes, *cut], axis=1)


def entries_of(hashes: np.ndarray, likeness: Likeness) -> Entries:
    """The entries of `all_hashes`, those of the views themselves first; all of one kind in the order of the views."""
    rows, kinds = hashes.shape
    values = hashes.T.ravel()
    of, windows = np.tile(np.arange(rows), kinds), np.repeat(np.arange(kinds) - 1, rows)
    sides = (0, 1) if likeness.mirrored else (0,)
    return Entries(
        values=np.concatenate([values ^ MIRROR if side else values for side in sides]), rows=np.tile(of, len(sides)),
        windows=np.tile(windows, len(sides)), mirrored=np.repeat(sides, len(values)),
    )  # fmt: skip


def meet(entries: Entries, *, bits: int, blocks: Blocks, tables: Sequence[int]) -> Met:
    """Which views meet in some of the tables, each with its altered copies; views are numbered best first.

    Entries may be any subset with all that share a key in these tables.
    """
    own = np.flatnonzero((entries.windows < 0) & (entries.mirrored == 0))
    leaders, followers = _leaders(entries.values[own])
    search = entries.take(np.concatenate([own[leaders], np.setdiff1d(np.arange(len(entries)), own)]))
    found = near_pairs(search.values, radius=bits, anchors=len(leaders), blocks=blocks, tables=tables)
    left, right = found.left, found.right
    met = [search.rows[left], search.rows[right], search.windows[right], search.mirrored[right], found.distance]
    candidates = [np.stack(met, axis=1).astype(np.int64)]
    crowds = found.crowds
    crowds[:, 0] = search.rows[crowds[:, 0]]
    if 0 in tables:  # equal hashes share every key: let one table say so
        crowds = np.concatenate([crowds, _hubs(entries, own, followers)])
        followers[:, :2] = entries.rows[own[followers[:, :2]]]
        candidates.append(followers)
    return Met(candidates=nearest_ways(np.concatenate(candidates)), crowds=crowds)


def _hubs(entries: Entries, own: np.ndarray, followers: np.ndarray) -> np.ndarray:
    """Best view and number of views of the hashes that have followers, int64 [H, 2]. own: entries of unaltered views, best first."""
    hubs = np.unique(entries.values[own[followers[:, 0]]])
    values, first, counts = np.unique(entries.values[own], return_index=True, return_counts=True)
    places = np.searchsorted(values, hubs)
    return np.stack([entries.rows[own[first[places]]], counts[places]], axis=1)


@dataclass(frozen=True, kw_only=True)
class Views:
    """What verifying knows of N views.

    thumbnails: uint8 [N, S, S]. framed: bool [N], this view includes a border. plain: bool [N], the picture has large plain areas or
    fewer pixels than a thumbnail. colours: uint8 [N, K, K, 2]; None: they are not compared. fine: deflated fine views of those that
    have them.
    """

    thumbnails: np.ndarray
    framed: np.ndarray
    plain: np.ndarray
    colours: np.ndarray | None = None
    fine: Mapping[int, bytes] = field(default_factory=dict)


def verify(views: Views, candidates: np.ndarray, likeness: Likeness) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates show the same picture: those rows of `candidates`, and the detail of each.

    Views are given best first.
    """
    left, right, start = _posed(views.thumbnails, candidates)
    detail = aligned_detail(left, right, start)
    plain = views.plain[candidates[:, 0]] | views.plain[candidates[:, 1]]
    # A plain picture says little, and two borders agree in themselves.
    strictly = plain | views.framed[candidates[:, :2]].all(axis=1)
    likely = np.flatnonzero(detail >= np.where(strictly, likeness.plain_detail, likeness.detail))
    placement = align(left[likely], right[likely], start[likely])
    if views.colours is not None:
        alike = _coloured_alike(views.colours, candidates[likely], placement, likeness.colour)
        likely, placement = likely[alike], placement[alike]
    fine = [
        not plain[likely[at]] or _finely_alike(views.fine, candidates[likely[at]], placement[at], likeness.fine)
        for at in range(len(likely))
    ]
    same = likely[np.array(fine, bool)]
    return candidates[same], detail[same]


def _coloured_alike(colours: np.ndarray, pairs: np.ndarray, placement: np.ndarray, most: float) -> np.ndarray:
    theirs = colours[pairs[:, 1]]
    theirs = np.where((pairs[:, 3] == 1)[:, None, None, None], theirs[:, :, ::-1], theirs)
    return colour_apart(colours[pairs[:, 0]], theirs, placement) <= most


def _finely_alike(fine: Mapping[int, bytes], pair: np.ndarray, placement: np.ndarray, most: float) -> bool:
    one, other, _, mirrored, _ = pair.tolist()
    if one not in fine or other not in fine:
        return True
    theirs = pixels_of(fine[other])
    theirs = theirs[:, ::-1] if mirrored else theirs
    return most_different(pixels_of(fine[one]), theirs, placement) <= most


def _leaders(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that take part in the search, and candidates (leader, follower) of the hashes that are too common."""
    order = np.argsort(hashes, kind="stable")
    new = np.ones(len(order), bool)
    new[1:] = hashes[order][1:] != hashes[order][:-1]
    starts = np.flatnonzero(new)
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    late = np.flatnonzero(place >= LEADERS)
    candidates = np.zeros((len(late), LEADERS, 5), np.int64)
    candidates[:, :, 0] = order[(late - place[late])[:, None] + np.arange(LEADERS)]
    candidates[:, :, 1] = order[late][:, None]
    candidates[:, :, 2] = -1
    return np.sort(order[place < LEADERS]), candidates.reshape(-1, 5)


def nearest_ways(columns: np.ndarray) -> np.ndarray:
    """Of candidates [C, 5] the nearest way in which each two views meet."""
    columns = columns[columns[:, 0] != columns[:, 1]]
    low, high = columns[:, :2].min(axis=1), columns[:, :2].max(axis=1)
    order = np.lexsort((columns[:, 0], columns[:, 2], columns[:, 3], columns[:, 4], high, low))
    low, high = low[order], high[order]
    first = np.ones(len(order), bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return columns[order[first]].astype(np.int64)


def _posed(thumbnails: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thumbnails of each candidate, the right one mirrored where it was, and where to begin to align them."""
    right = thumbnails[pairs[:, 1]]
    flipped = pairs[:, 3] == 1
    windows = np.array([[w.bottom - w.top, w.top, w.right - w.left, w.left] for w in (*CROPS, WHOLE)], np.float32)
    # A window of the mirrored picture: mirrored windows are windows of the mirrored picture's other side.
    start = windows[pairs[:, 2]]
    start[flipped, 3] = 1 - start[flipped, 3] - start[flipped, 2]
    right = np.where(flipped[:, None, None], right[:, :, ::-1], right)
    return thumbnails[pairs[:, 0]], right, start


def shown_again(
    known: tuple[np.ndarray, np.ndarray], seen: tuple[np.ndarray, np.ndarray], likeness: Likeness
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the `seen` views show one of the `known` ones, perhaps altered: rows of known, rows of seen, detail.

    Both are hashes uint64 and thumbnails uint8 [., S, S]. Every hash is compared with every other: for some 10^5 known ones.
    """
    sought = entries_of(all_hashes(*known, likeness), likeness)
    pieces = []
    for row, value in enumerate(seen[0]):
        distance = np.bitwise_count(sought.values ^ value)
        at = np.flatnonzero(distance <= likeness.bits)
        first = np.full(len(at), len(known[0]) + row)
        pieces.append(np.stack([first, sought.rows[at], sought.windows[at], sought.mirrored[at], distance[at]], axis=1))
    pairs = nearest_ways(np.concatenate(pieces)) if pieces else np.empty((0, 5), np.int64)
    thumbnails = np.concatenate([known[1], seen[1]])
    views = Views(
        thumbnails=thumbnails, framed=np.zeros(len(thumbnails), bool), plain=plain_share(thumbnails) >= likeness.plain
    )
    pairs, detail = verify(views, pairs, likeness)
    return pairs[:, 1], pairs[:, 0] - len(known[0]), detail
