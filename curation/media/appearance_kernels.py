"""Appearance kernels: compiled loops of `curation.media.appearance`, imported where they run so that numba loads only then.

Shapes: N pixels = H rows x W columns, end to end. Loops go over blocks that stay in the nearest cache, and over one array of bytes per
channel: only so do they become vector instructions.
"""

import numpy as np
from numba import njit

u8, i32, u32 = np.uint8, np.int32, np.uint32
# ITU-R 601 in 15 bits, rounded: luma as OpenCV has it.
_RED, _GREEN, _BLUE, _HALF, _BITS = u32(9798), u32(19235), u32(3735), u32(1 << 14), u32(15)
# Pixels of a block: as many squared edges (at most 1,020 each) add up within 31 bits.
_BLOCK = 2048


@njit(cache=True, nogil=True, error_model="numpy")
def survey(pixels, columns, grey_levels):
    """Sums over pixels uint8 [3 N], RGB.

    Returns:
        Luma uint8 [N]; its histogram [256]; sums of the largest channel and of chroma (largest minus smallest channel); how many pixels
        have a chroma of at most `grey_levels`; sums of luma's Laplacian and of its square.
    """
    luma = np.empty(len(pixels) // 3, np.uint8)
    planes = np.empty((3, _BLOCK), np.uint8)
    value = chroma = grey = edges = squares = 0
    for begin in range(0, len(luma), _BLOCK):
        end = min(len(luma), begin + _BLOCK)
        red, green, blue = planes[0, : end - begin], planes[1, : end - begin], planes[2, : end - begin]
        _split(pixels[3 * begin : 3 * end], red, green, blue)
        _lighten(red, green, blue, luma[begin:end])
        sums = _colours(red, green, blue, u8(grey_levels))
        value, chroma, grey = value + sums[0], chroma + sums[1], grey + sums[2]
    for begin in range(columns, len(luma) - columns, _BLOCK):  # all rows that have one above and one below
        end = min(len(luma) - columns, begin + _BLOCK)
        sums = _edges(luma[begin - columns : end + columns], columns)
        edges, squares = edges + sums[0], squares + sums[1]
    sums = _edges_at_the_sides(luma.reshape(-1, columns))
    return luma, _histogram(luma), value, chroma, grey, edges + sums[0], squares + sums[1]


@njit(cache=True, error_model="numpy")
def _split(pixels, red, green, blue):
    for at in range(len(red)):
        red[at], green[at], blue[at] = pixels[3 * at], pixels[3 * at + 1], pixels[3 * at + 2]


@njit(cache=True, error_model="numpy")
def _lighten(red, green, blue, luma):
    for at in range(len(luma)):
        warm = u32(u32(u32(red[at]) * _RED) + u32(u32(green[at]) * _GREEN))
        luma[at] = u8(u32(warm + u32(u32(u32(blue[at]) * _BLUE) + _HALF)) >> _BITS)


@njit(cache=True, error_model="numpy")
def _colours(red, green, blue, grey_levels):
    values, chromas, greys = u32(0), u32(0), u32(0)
    for at in range(len(red)):
        value = max(max(red[at], green[at]), blue[at])
        chroma = u8(value - min(min(red[at], green[at]), blue[at]))
        values, chromas = u32(values + value), u32(chromas + chroma)
        greys = u32(greys + u32(1 if chroma <= grey_levels else 0))
    return values, chromas, greys


@njit(cache=True, error_model="numpy")
def _edges(luma, columns):
    """Sum and sum of squares of the Laplacian of luma, but for its first and last row; ends of rows see the row beside theirs."""
    size = len(luma) - 2 * columns
    above, below, here = luma[:size], luma[2 * columns :], luma[columns : columns + size]
    before, after = luma[columns - 1 : columns - 1 + size], luma[columns + 1 : columns + 1 + size]
    total, squares = i32(0), i32(0)
    for at in range(size):
        around = i32(i32(i32(above[at]) + i32(below[at])) + i32(i32(before[at]) + i32(after[at])))
        edge = i32(around - i32(i32(4) * i32(here[at])))
        total, squares = i32(total + edge), i32(squares + i32(edge * edge))
    return total, squares


@njit(cache=True, error_model="numpy")
def _edges_at_the_sides(luma):
    """What makes those sums whole: outermost pixels as if the picture were mirrored at them, less what ends of rows saw."""
    rows, columns = luma.shape
    flat = luma.reshape(-1)
    total = squares = 0
    for row in range(rows):
        outer = row in (0, rows - 1)
        for column in range(0, columns, 1 if outer else max(1, columns - 1)):
            at, level = row * columns + column, 4 * np.int64(luma[row, column])
            above, below = (
                np.int64(luma[_inside(row - 1, rows), column]),
                np.int64(luma[_inside(row + 1, rows), column]),
            )
            before, after = luma[row, _inside(column - 1, columns)], luma[row, _inside(column + 1, columns)]
            edge = above + below + np.int64(before) + np.int64(after) - level
            total, squares = total + edge, squares + edge * edge
            if not outer:
                seen = above + below + np.int64(flat[at - 1]) + np.int64(flat[at + 1]) - level
                total, squares = total - seen, squares - seen * seen
    return total, squares


@njit(cache=True)
def _inside(at, size):
    return 0 if size == 1 else 1 if at < 0 else size - 2 if at >= size else at


@njit(cache=True, error_model="numpy")
def _histogram(levels):
    tables = np.zeros((4, 256), np.uint32)  # four, so that equal neighbours do not wait for each other
    whole = len(levels) // 4 * 4
    for at in range(0, whole, 4):
        for table in range(4):
            tables[table, levels[at + table]] += u32(1)
    for at in range(whole, len(levels)):
        tables[0, levels[at]] += u32(1)
    return tables[0] + tables[1] + tables[2] + tables[3]


@njit(cache=True)
def statistics(counts, window):
    """Of a histogram: mean level, mean square, entropy in bits, and the largest sum of `window` neighbouring counts."""
    size = total = power = inside = largest = 0
    for level in range(len(counts)):
        count = np.int64(counts[level])
        size, total, power = size + count, total + count * level, power + count * level * level
        inside += count - (np.int64(counts[level - window]) if level >= window else 0)
        largest = max(largest, inside)
    entropy = 0.0
    for count in counts:
        if count:
            entropy -= count / size * np.log2(count / size)
    return total / size, power / size, entropy, largest


@njit(cache=True)
def inner_box(luma, levels):
    """First and last row, then column, that are not uniform (span more than `levels`); of columns only between those rows.

    The box is empty (last = first - 1) if all are uniform.
    """
    top, bottom = 0, len(luma) - 1
    while top <= bottom and _is_uniform(luma[top], levels):
        top += 1
    while bottom > top and _is_uniform(luma[bottom], levels):
        bottom -= 1
    left, right = 0, luma.shape[1] - 1
    inner = luma[top : bottom + 1].T
    while left <= right and _is_uniform(inner[left], levels):
        left += 1
    while right > left and _is_uniform(inner[right], levels):
        right -= 1
    return top, bottom, left, right


@njit(cache=True)
def _is_uniform(line, levels):
    low = high = np.int64(line[0]) if len(line) else 0
    for level in line:
        low, high = min(low, np.int64(level)), max(high, np.int64(level))
        if high - low > levels:
            return False
    return True
