"""Films: pairs of clips that show the same film, one perhaps a part of the other.

A clip is a sequence of hashes of stills. Clips that share several different stills are looked at; they are the same where
the stills of the shorter one follow each other in the longer one at one offset in time.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from curation.select.dct_hash import MIRROR
from curation.select.hamming import near_pairs

# Seconds by which stills of two copies may differ from one offset: two ticks of the still clock.
_SLACK = 0.5
# Stills that differ in more bits than this are different pictures.
_DIFFERENT = 10
# Clips that share so many different pictures in order are known by them alone; fewer may be one scene seen twice.
TELLING = 3
# A still that more clips than this share (a title, a test card) says nothing about any two of them.
COMMON = 64


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """The stills of one clip that show something: seconds float32 [F], hashes uint64 [F]."""

    times: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FilmPairs:
    """Pairs of clips: the share of the shorter one's stills found, and how many of them are different pictures."""

    left: np.ndarray
    right: np.ndarray
    share: np.ndarray
    different: np.ndarray
    hubs: int


def same_films(clips: list[Sequence], *, bits: int, share: float, mirrored: bool) -> FilmPairs:
    """Pairs of clips of which at least `share` of the shorter one's stills lie in the longer one, in time."""
    candidates, hubs = _candidates(clips, bits, mirrored)
    pairs = []
    for a, b, flipped in candidates:
        short, long = (a, b) if len(clips[a].times) <= len(clips[b].times) else (b, a)
        found, different = overlap(clips[short], clips[long], bits=bits, flipped=flipped)
        if found >= share:
            pairs.append((a, b, found, different))
    columns = list(zip(*sorted(set(pairs)), strict=True)) or [(), (), (), ()]
    left, right, shares, numbers = columns
    return FilmPairs(
        left=np.array(left, np.int64), right=np.array(right, np.int64), share=np.array(shares), different=np.array(numbers),
        hubs=hubs,
    )  # fmt: skip


def overlap(short: Sequence, long: Sequence, *, bits: int, flipped: bool = False) -> tuple[float, int]:
    """Share of the short clip's stills found in the long one at the offset that finds most, and how many pictures they are."""
    if not len(short.times) or not len(long.times):
        return 0.0, 0
    hashes = short.hashes ^ MIRROR if flipped else short.hashes
    rows, columns = np.nonzero(np.bitwise_count(hashes[:, None] ^ long.hashes[None]) <= bits)
    if not len(rows):
        return 0.0, 0
    offsets = long.times[columns] - short.times[rows]
    bins = np.floor(offsets / _SLACK).astype(np.int64)
    best = np.empty(0, np.int64)
    for at in np.unique(bins):
        hits = np.unique(rows[(bins == at) | (bins == at + 1)])
        best = hits if len(hits) > len(best) else best
    return len(best) / len(short.times), _count_different(short.hashes[best])


def _count_different(hashes: np.ndarray) -> int:
    """How many pictures a sequence shows, one after the other."""
    count, last = 0, None
    for value in hashes:
        if last is None or np.bitwise_count(value ^ last) > _DIFFERENT:
            count, last = count + 1, value
    return count


def _candidates(clips: list[Sequence], bits: int, mirrored: bool) -> tuple[list[tuple[int, int, bool]], int]:
    """Pairs of clips that share a still (and whether mirrored), and how many stills were too common to count."""
    owners: dict[int, set[int]] = defaultdict(set)
    for number, clip in enumerate(clips):
        for value in np.unique(clip.hashes).tolist():
            owners[value].add(number)
    rare = {value: who for value, who in owners.items() if len(who) <= COMMON}
    hashes = np.array(sorted(rare), np.uint64)
    found: set[tuple[int, int, bool]] = set()
    for who in rare.values():
        found.update((a, b, False) for a, b in combinations(sorted(who), 2))
    sought = np.concatenate([hashes, hashes ^ MIRROR]) if mirrored else hashes
    near = near_pairs(sought, radius=bits, anchors=len(hashes))
    values = hashes.tolist()
    for left, right in zip(near.left.tolist(), near.right.tolist(), strict=True):
        flipped = right >= len(values)
        for a in rare[values[left]]:
            found.update((min(a, b), max(a, b), flipped) for b in rare[values[right % len(values)]] if a != b)
    return sorted(found), len(owners) - len(rare)
