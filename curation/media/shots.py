"""Shots: where one shot of a clip gives way to the next, from a small luma picture of every frame.

Shapes: F frames, H rows, W columns of the small pictures; luma in levels 0 to 255.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np

Kind = Literal["cut", "dissolve", "fade"]

# A cut: the change stands out of its neighbourhood by this factor, exceeds this many levels, and leaves less than this
# correlation of the two pictures.
_STANDS_OUT, _CUT_LEVELS, _ALIKE = 2.5, 7.0, 0.85
# Half a neighbourhood, in frames; changes next to a cut count as part of it (fields, ghosts of coding).
_AROUND = 8
# A flash: pictures either side of it differ less than this share of the change into it.
_FLASH_FRAMES, _FLASH = 3, 0.5
# A picture of one tone: its spatial deviation in levels. A frame that fades is left below this share of what it was.
_PLAIN, _FADED = 4.0, 0.5
# A fade goes on while deviations two frames apart grow by this factor; a blink comes back to a picture this much alike.
_GROWS, _SAME = 1.03, 0.95
# A dissolve: frames it may last, levels between its ends, their correlation, and how far the frames between may be from
# the straight line between the ends, as a share of those levels. A pan or zoom is farther, or, over a smooth scene, lacks
# the dip: mixed pictures vary less than either, and the middle one must dip this far of what a mixture's variance would.
_DISSOLVE_FRAMES = (6, 8, 11, 15, 20, 27, 36, 48)
_DISSOLVE_LEVELS, _DISSOLVE_ALIKE, _STRAIGHT = 8.0, 0.75, 0.25
_DIP = 0.6

# Frames worked on at a time: two hours of them take hundreds of megabytes.
_BLOCK = 4096


class Transition(NamedTuple):
    """From one shot to the next: `last` is the last frame of the old one, `first` the first frame of the new one.

    Of a cut these are neighbours.
    """

    kind: Kind
    last: int
    first: int


def find_transitions(thumbs: np.ndarray) -> list[Transition]:
    """Cuts, dissolves and fades in order, from luma uint8 [F, H, W] of all frames in order, H x W < 32,000.

    A cut stands out of the changes around it and leaves an unlike picture; a fade passes through pictures of one tone; in
    a dissolve, frames lie on the straight line between two unlike pictures. A clip that begins or ends in one tone has
    a cut there at most, if it is abrupt. Written for rates of 8 frames per second and more.

    Source: ours, after the twin comparison of Zhang, Kankanhalli and Smoliar, "Automatic partitioning of full-motion
    video", 1993, and the linearity of dissolves (Hampapur, Jain and Weymouth, 1995).
    """
    if len(thumbs) < 2:
        return []
    pictures = thumbs.reshape(len(thumbs), -1)
    change = _change(pictures, 1)
    found = [Transition("fade", *span) for span in _fades(thumbs)]
    taken = np.zeros(len(pictures), bool)
    for fade in found:
        taken[fade.last : fade.first + 1] = True
    cuts = [t for t in _cuts(pictures, change) if not (taken[t] and taken[t - 1])]
    found += [Transition("cut", t - 1, t) for t in cuts]
    for t in cuts:
        taken[t - 1 : t + 1] = True
    found += [Transition("dissolve", *span) for span in _dissolves(pictures, taken)]
    return sorted(found, key=lambda transition: transition.last)


def shots_between(transitions: Sequence[Transition], frames: int) -> list[tuple[int, int]]:
    """First and last frame of each shot of a clip of so many frames; frames of a transition belong to none."""
    firsts = [0, *(transition.first for transition in transitions)]
    lasts = [*(transition.last for transition in transitions), frames - 1]
    return [(first, last) for first, last in zip(firsts, lasts, strict=True) if first <= last]


def _change(pictures: np.ndarray, step: int) -> np.ndarray:
    """Mean absolute difference of each picture from the one `step` before; the first ones are 0."""
    change = np.zeros(len(pictures))
    for at in range(step, len(pictures), _BLOCK):
        after = pictures[at : at + _BLOCK]
        before = pictures[at - step : at - step + len(after)]
        sums = cv2.reduce(cv2.absdiff(before, after), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        change[at : at + _BLOCK] = sums[:, 0] / pictures.shape[1]
    return change


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of pictures row by row; plain ones are like none."""
    a, b = (x.astype(np.float32) - x.mean(axis=-1, keepdims=True, dtype=np.float32) for x in (one, other))
    size = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.divide((a * b).sum(-1), size, out=np.zeros_like(size), where=size > 0)


def _cuts(pictures: np.ndarray, change: np.ndarray) -> Iterator[int]:
    """First frames after cuts."""
    for t in np.flatnonzero(change > _CUT_LEVELS).tolist():
        near = change[max(1, t - _AROUND) : t + _AROUND + 1]
        if change[t] < near.max() or change[t] < _STANDS_OUT * _usual(change, t):
            continue
        if _alike(pictures[t - 1], pictures[t]) > _ALIKE or _is_flash(pictures, change, t):
            continue
        yield t


def _usual(change: np.ndarray, t: int) -> float:
    """The largest change of the neighbourhood, but for the frame itself and one outlier on either side."""
    before, after = change[max(1, t - _AROUND) : t], change[t + 1 : t + 1 + _AROUND]
    sides = [float(np.sort(side)[-2]) for side in (before, after) if len(side) > 1]
    return max(sides, default=0.0)


def _is_flash(pictures: np.ndarray, change: np.ndarray, t: int) -> bool:
    """Whether the picture soon looks again as it did before the change, or did so just before it."""
    for gap in range(1, _FLASH_FRAMES + 1):
        for last, first in ((t - 1, t + gap), (t - 1 - gap, t)):
            if last >= 0 and first < len(pictures):
                difference = np.abs(pictures[last].astype(np.int16) - pictures[first]).mean()
                if difference < _FLASH * change[t]:
                    return True
    return False


def _fades(thumbs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Last full and next full frame around each run of plain pictures that lies between shots."""
    pictures = thumbs.reshape(len(thumbs), -1)
    blocks = range(0, len(pictures), _BLOCK)
    spread = np.concatenate([pictures[at : at + _BLOCK].std(axis=1, dtype=np.float32) for at in blocks])
    plain = spread < _PLAIN
    edges = np.flatnonzero(np.diff(np.concatenate([[False], plain, [False]]).astype(np.int8)))
    for begin, end in edges.reshape(-1, 2).tolist():
        if begin == 0 or end == len(thumbs):
            continue
        last, first = begin - 1, end
        while last > 1 and spread[last - 2] > spread[last] * _GROWS:
            last -= 1
        while first < len(thumbs) - 2 and spread[first + 2] > spread[first] * _GROWS:
            first += 1
        through = _alike(pictures[last], pictures[first]) > _SAME  # a blink of the same shot
        if spread[[last, first]].min() * _FADED > _PLAIN and not through:
            yield last, first


def _dissolves(pictures: np.ndarray, taken: np.ndarray) -> list[tuple[int, int]]:
    """Ends of dissolves outside of what is taken, best first where they overlap."""
    found: list[tuple[float, int, int]] = []
    busy = np.concatenate([[0], np.cumsum(taken)])
    for length in _DISSOLVE_FRAMES:
        if length < len(pictures):
            starts = np.flatnonzero(_change(pictures, length)[length:] > _DISSOLVE_LEVELS)
            starts = starts[busy[starts + length + 1] == busy[starts]]
            for at in range(0, len(starts), _BLOCK):
                found += _straight(pictures, starts[at : at + _BLOCK], length)
    chosen: list[tuple[int, int]] = []
    for _, last, first in sorted(found, reverse=True):
        if not taken[max(0, last - 2) : first + 3].any():
            taken[last : first + 1] = True
            chosen.append((last, first))
    return chosen


def _straight(pictures: np.ndarray, starts: np.ndarray, length: int) -> list[tuple[float, int, int]]:
    """Dissolves of one length: how far the ends are apart less how far the way is from straight, last and first frame."""
    from curation.media.shots_kernels import from_straight, variances

    # Few ways pass near the middle and dip there; the exact work is for them.
    off, apart = from_straight(pictures, starts, length)
    starts = starts[off < 1.001 * _STRAIGHT * length * apart]
    ends, middles, mixed = variances(pictures, starts, length)
    starts = starts[ends - middles >= _DIP * (ends - mixed) - 0.001 * ends]
    a, b, middle = (pictures[starts + at].astype(np.float32) for at in (0, length, length // 2))
    apart = np.abs(a - b).mean(axis=1)
    share = (length // 2) / length
    off = np.abs(middle - ((1 - share) * a + share * b)).mean(axis=1)
    for at in (length // 4, length - length // 4):
        share = at / length
        off = np.maximum(off, np.abs(pictures[starts + at] - ((1 - share) * a + share * b)).mean(axis=1))
    ends = (a.var(axis=1) + b.var(axis=1)) / 2
    dip = ends - middle.var(axis=1) >= _DIP * (ends - ((a + b) / 2).var(axis=1))
    spread = np.sort([a.std(axis=1), b.std(axis=1)], axis=0)
    fades = spread[0] < np.maximum(_PLAIN, _FADED / 2 * spread[1])  # to or from one tone, at the ends of a clip
    good = (off < _STRAIGHT * apart) & (_alike(a, b) < _DISSOLVE_ALIKE) & dip & ~fades
    score = apart - off / _STRAIGHT
    return [(float(score[i]), int(starts[i]), int(starts[i]) + length) for i in np.flatnonzero(good)]
