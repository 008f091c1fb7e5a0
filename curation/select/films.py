"""Films: pairs of clips that show the same film, one perhaps a part of the other.

A clip is a sequence of hashes of stills. Clips that share several different stills are looked at; they are the same where
the stills of the shorter one follow each other in the longer one at one offset in time.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from curation.select.aligned import aligned_detail
from curation.select.dct_hash import MIRROR
from curation.select.hamming import Blocks, near_pairs

# Seconds by which stills of two copies may differ from one offset: two ticks of the still clock.
_SLACK = 0.5
# Stills that differ in more bits than this are different pictures.
_DIFFERENT = 10
# Clips that share so many different pictures in order are known by them alone; fewer may be one scene seen twice.
TELLING = 3
# Of clips of few different pictures the middle stills must agree by so much (people signing before one camera reach 0.94,
# copies 0.97), and the numbers of stills to within so many.
_STILL_DETAIL, _AS_LONG = 0.96, 2
# A still that more clips than this share (a title, a test card) says nothing about any two of them.
COMMON = 64


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """The stills of one clip that show something: seconds float32 [F], hashes uint64 [F]."""

    times: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True, kw_only=True)
class StillEntries:
    """Hashes by which clips meet: values uint64 [E], each clip's different stills; clips int64 [E]; flipped, bool [E]: mirrored."""

    values: np.ndarray
    clips: np.ndarray
    flipped: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> "StillEntries":
        """Some of them."""
        return StillEntries(values=self.values[indices], clips=self.clips[indices], flipped=self.flipped[indices])

    def with_mirrored(self) -> "StillEntries":
        """These, then those of the mirrored clips."""
        return StillEntries(
            values=np.concatenate([self.values, self.values ^ MIRROR]), clips=np.tile(self.clips, 2),
            flipped=np.concatenate([self.flipped, ~self.flipped]),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Look:
    """When two clips are the same film: bits of stills, share of the shorter one's, detail of the middle ones."""

    bits: int
    share: float
    detail: float


def still_entries(clips: list[Sequence], *, mirrored: bool) -> StillEntries:
    """The entries of clips, mirrored ones last."""
    different = [np.unique(clip.hashes) for clip in clips]
    values = np.concatenate([np.empty(0, np.uint64), *different])
    of = np.repeat(np.arange(len(clips)), [len(hashes) for hashes in different])
    entries = StillEntries(values=values, clips=of, flipped=np.zeros(len(of), bool))
    return entries.with_mirrored() if mirrored else entries


def meet_films(
    entries: StillEntries, *, bits: int, blocks: Blocks, tables: Collection[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Clips that share a still in some of the tables, int64 [C, 3] (one < other, mirrored), and crowds, int64 [H, 2]: the best clip and the
    number of clips of each still that was too common.

    Entries may be any subset with all that share a key in these tables.
    """
    plain, common = _owners(entries, flipped=False)
    mirrored, _ = _owners(entries, flipped=True)
    hashes, probes = sorted(plain), sorted(mirrored)
    found: set[tuple[int, int, int]] = set()
    if 0 in tables:  # equal hashes share every key: let one table say so
        for who in plain.values():
            found.update((a, b, 0) for a, b in combinations(who, 2))
    sought = np.array(hashes + probes, np.uint64)
    near = near_pairs(sought, radius=bits, anchors=len(hashes), blocks=blocks, tables=list(tables))
    for left, right in zip(near.left.tolist(), near.right.tolist(), strict=True):
        flipped = int(right >= len(hashes))
        others = mirrored[probes[right - len(hashes)]] if flipped else plain[hashes[right]]
        for a in plain[hashes[left]]:
            found.update((min(a, b), max(a, b), flipped) for b in others if a != b)
    return np.array(sorted(found), np.int64).reshape(-1, 3), common if 0 in tables else common[:0]


def _owners(entries: StillEntries, *, flipped: bool) -> tuple[dict[int, list[int]], np.ndarray]:
    """The clips of each hash that is not too common, and the first clip and the number of clips of those that are."""
    mine = entries.take(np.flatnonzero(entries.flipped == flipped))
    owners: dict[int, list[int]] = defaultdict(list)
    for value, clip in zip(mine.values.tolist(), mine.clips.tolist(), strict=True):
        owners[value].append(clip)
    rare = {value: sorted(who) for value, who in owners.items() if len(who) <= COMMON}
    common = [(min(who), len(who)) for who in owners.values() if len(who) > COMMON]
    return rare, np.array(sorted(common), np.int64).reshape(-1, 2)


def same_films(
    clips: list[Sequence], middle: np.ndarray, candidates: np.ndarray, look: Look
) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates are the same film: rows of `candidates`, and the share of the shorter clip's stills found in the longer.

    Args:
        clips: best first. middle: uint8 [., S, S], thumbnails of their middle stills. candidates: of `meet_films`.
    """
    shares, different = np.zeros(len(candidates)), np.zeros(len(candidates), np.int64)
    for number, (a, b, flipped) in enumerate(candidates.tolist()):
        short, long = (a, b) if len(clips[a].times) <= len(clips[b].times) else (b, a)
        shares[number], different[number] = overlap(clips[short], clips[long], bits=look.bits, flipped=bool(flipped))
    likely = np.flatnonzero(shares >= look.share)
    candidates, shares, different = candidates[likely], shares[likely], different[likely]
    left, right = candidates[:, 0], candidates[:, 1]
    unmoved = np.tile(np.array([1, 0, 1, 0], np.float32), (len(candidates), 1))
    alike = np.maximum(
        aligned_detail(middle[left], middle[right], unmoved),
        aligned_detail(middle[left], middle[right][:, :, ::-1], unmoved),
    )
    lengths = np.array([len(clip.times) for clip in clips], np.int64)
    as_long = np.abs(lengths[left] - lengths[right]) <= _AS_LONG
    same = (different >= TELLING) | (as_long & (alike >= max(look.detail, _STILL_DETAIL)))
    return candidates[same], shares[same]


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
