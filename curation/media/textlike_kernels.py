"""Textlike kernels: compiled loops of `curation.media.textlike`, imported where they run so that numba loads only then."""

import numpy as np
from numba import njit


def boxes(mask):
    """What hangs together, side by side or one above the other, in mask [H, W].

    The same as `cv2.connectedComponentsWithStats`, which takes thrice as long: here runs of set pixels are joined, not pixels. Only loops
    are compiled: what numpy does once a picture takes seconds to compile.

    Returns:
        int64 [n, 5]: first column, first row, columns, rows and set pixels of each, in no particular order.
    """
    count = _num_runs(mask)
    # First column and row, the first ones after them, pixels: of a run, then of all that it leads.
    groups, leaders = np.empty((count, 5), np.int64), np.empty(count, np.int64)
    _join_all(mask, np.empty((count, 2), np.int64), groups, leaders)
    found = groups[leaders == np.arange(count)]
    found[:, 2:4] -= found[:, :2]
    return found


@njit(cache=True, nogil=True)
def _num_runs(mask):
    count = 0
    for row in range(mask.shape[0]):
        before = False
        for column in range(mask.shape[1]):
            here = mask[row, column] != 0
            count += here and not before
            before = here
    return count


@njit(cache=True, nogil=True)
def _join_all(mask, runs, groups, leaders):
    """Fill in all runs (first column, and the first one after it), groups and leaders."""
    above = count = 0
    for row in range(len(mask)):
        begin = count
        line, first, end = mask[row], 0, 0
        while True:
            first, end = _next_run(line, end)
            if first == end:
                break
            runs[count, 0], runs[count, 1], leaders[count] = first, end, count
            groups[count, 0], groups[count, 1], groups[count, 2], groups[count, 3] = first, row, end, row + 1
            groups[count, 4] = end - first
            while above < begin and runs[above, 1] <= first:
                above += 1
            for other in range(above, begin):
                if runs[other, 0] >= end:
                    break
                _join(leaders, groups, other, count)
            count += 1
        above = begin


@njit(cache=True)
def _next_run(line, at):
    """First column of the next run of set pixels, and the one after it; the same where there is none.

    No generator: of one, numba's cache loses the code when a second process compiles its caller.
    """
    size = len(line)
    while at < size and not line[at]:
        at += 1
    first = at
    while at < size and line[at]:
        at += 1
    return first, at


@njit(cache=True)
def _join(leaders, groups, one, other):
    one, other = _leader(leaders, one), _leader(leaders, other)
    if one == other:
        return
    leaders[other] = one
    for at in range(2):
        groups[one, at] = min(groups[one, at], groups[other, at])
        groups[one, 2 + at] = max(groups[one, 2 + at], groups[other, 2 + at])
    groups[one, 4] += groups[other, 4]


@njit(cache=True)
def _leader(leaders, run):
    while leaders[run] != run:
        leaders[run] = leaders[leaders[run]]
        run = leaders[run]
    return run
