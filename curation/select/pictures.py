"""Pictures: pairs of views that show the same picture, found by hash and verified by aligned detail.

The hash proposes: within a few bits, also of the mirrored picture and of what a light crop would leave. Detail decides.
"""

from dataclasses import dataclass

import numpy as np

from curation.select.aligned import aligned_detail
from curation.select.dct_hash import MIRROR, WHOLE, Window, hash_thumbnails, plain_share
from curation.select.hamming import near_pairs

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
    mirrored, cropped: whether those copies are looked for.
    """

    bits: int
    detail: float
    plain_detail: float
    plain: float
    mirrored: bool
    cropped: bool


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Verified pairs of rows, `detail` each; hubs: hashes and buckets too common to compare all their rows."""

    left: np.ndarray
    right: np.ndarray
    detail: np.ndarray
    hubs: int


def same_pictures(hashes: np.ndarray, thumbnails: np.ndarray, framed: np.ndarray, likeness: Likeness) -> Pairs:
    """Pairs among views given best first: uint64 [N], uint8 [N, S, S]; framed, bool [N]: this view includes a border."""
    leaders, followers = _leaders(hashes)
    candidates = [_candidates(followers)]
    sought, windows, mirrored, of = _probes(hashes[leaders], thumbnails[leaders], likeness)
    found = near_pairs(sought, radius=likeness.bits, anchors=len(leaders))
    met = np.stack(
        [leaders[found.left], leaders[of[found.right]], windows[found.right], mirrored[found.right], found.distance]
    )
    candidates.append(_candidates(met.T))
    pairs = np.concatenate(candidates)
    detail = _verify(thumbnails, pairs)
    wanted = np.where(_strictly(thumbnails, framed, pairs, likeness.plain), likeness.plain_detail, likeness.detail)
    same = detail >= wanted
    hubs = len(np.unique(hashes[followers[:, 0]])) + found.capped
    return Pairs(left=pairs[same, 0], right=pairs[same, 1], detail=detail[same], hubs=hubs)


def _strictly(thumbnails: np.ndarray, framed: np.ndarray, pairs: np.ndarray, plain: float) -> np.ndarray:
    """Which candidates agree coarsely for reasons that say nothing: plain areas in one, a border around both."""
    views, at = np.unique(pairs[:, :2], return_inverse=True)
    is_plain = plain_share(thumbnails[views]) >= plain
    return np.any(is_plain[at.reshape(-1, 2)], axis=1) | np.all(framed[pairs[:, :2]], axis=1)


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


def _probes(
    hashes: np.ndarray, thumbnails: np.ndarray, likeness: Likeness
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The hashes, then those that altered copies would have: hash, window (-1 = whole), mirrored, and whose it is."""
    sought = [(hashes, -1, 0)]
    if likeness.cropped:
        sought += [(hash_thumbnails(thumbnails, window), number, 0) for number, window in enumerate(CROPS)]
    if likeness.mirrored:
        sought += [(values ^ MIRROR, window, 1) for values, window, _ in sought]
    values, windows, mirrored = zip(*sought, strict=True)
    rows = len(hashes)
    of = np.tile(np.arange(rows), len(sought))
    return np.concatenate(values), np.repeat(windows, rows), np.repeat(mirrored, rows), of


def _candidates(columns: np.ndarray) -> np.ndarray:
    """The nearest way in which each two rows meet; columns: whole row, altered row, window, mirrored, distance."""
    columns = columns[columns[:, 0] != columns[:, 1]]
    low, high = columns[:, :2].min(axis=1), columns[:, :2].max(axis=1)
    order = np.lexsort((columns[:, 0], columns[:, 2], columns[:, 3], columns[:, 4], high, low))
    low, high = low[order], high[order]
    first = np.ones(len(order), bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return columns[order[first]].astype(np.int64)


def _verify(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Aligned detail of each candidate."""
    right = thumbnails[pairs[:, 1]]
    flipped = pairs[:, 3] == 1
    windows = np.array([[w.bottom - w.top, w.top, w.right - w.left, w.left] for w in (*CROPS, WHOLE)], np.float32)
    # A window of the mirrored picture: mirrored windows are windows of the mirrored picture's other side.
    start = windows[pairs[:, 2]]
    start[flipped, 3] = 1 - start[flipped, 3] - start[flipped, 2]
    right = np.where(flipped[:, None, None], right[:, :, ::-1], right)
    return aligned_detail(thumbnails[pairs[:, 0]], right, start)


def shown_again(
    known: tuple[np.ndarray, np.ndarray], seen: tuple[np.ndarray, np.ndarray], likeness: Likeness
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the `seen` views show one of the `known` ones, perhaps altered: rows of known, rows of seen, detail.

    Both are hashes uint64 and thumbnails uint8 [., S, S]. Every hash is compared with every other: for some 10^5 known ones.
    """
    sought, windows, mirrored, of = _probes(*known, likeness)
    pieces = []
    for row, value in enumerate(seen[0]):
        distance = np.bitwise_count(sought ^ value)
        at = np.flatnonzero(distance <= likeness.bits)
        first = np.full(len(at), len(known[0]) + row)
        pieces.append(np.stack([first, of[at], windows[at], mirrored[at], distance[at]], axis=1))
    pairs = _candidates(np.concatenate(pieces)) if pieces else np.empty((0, 5), np.int64)
    thumbnails = np.concatenate([known[1], seen[1]])
    detail = _verify(thumbnails, pairs)
    strictly = _strictly(thumbnails, np.zeros(len(thumbnails), bool), pairs, likeness.plain)
    same = detail >= np.where(strictly, likeness.plain_detail, likeness.detail)
    return pairs[same, 1], pairs[same, 0] - len(known[0]), detail[same]
