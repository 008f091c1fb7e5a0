"""Shingles: n words in a row, or n characters of the words joined by single spaces; and their hashes.

Shapes: N texts.

A text with fewer than n words or characters has one shingle, all of it; a text without words has none. Hashes are fixed arithmetic on
the folded bytes: they change with no library.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from curation.select.folding import decode_folded, folded_columns
from curation.select.signatures import mix64
from curation.select.words import FOLDED, PART_OF_WORD, SEPARATOR, WORD, cut, kind_of, scratch, utf8_byte, utf8_length

_ROLL, _SPREAD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
# Typed, since numba makes a float of uint64 with int64.
_U0, _U1, _U8 = (np.uint64(number) for number in (0, 1, 8))


def shingle_hashes(
    texts: Sequence[str], *, size: int, words: bool, sha1: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the shingles of every text, in order, repeated ones repeated.

    Args:
        size: words or characters per shingle. words: whether shingles are of words.
        sha1: hash as datasketch does by default, instead of by a polynomial that is rolled from shingle to shingle (faster).

    Returns:
        uint64 hashes of all texts end to end (signatures take their upper halves); int64 [N + 1], where each text's hashes begin and end.
    """
    if size < 1:
        raise ValueError(f"shingles of {size} words or characters: wanted 1 or more")
    columns = folded_columns(texts)
    if sha1:
        from curation.select.sha1 import sha1_hashes

        return sha1_hashes(*columns, size, words)
    return _rolling_hashes(*columns, size, words)


@njit(cache=True)
def _rolling_hashes(data, starts, table, size, words):
    """A polynomial over the hashes of words or characters, rolled from one shingle to the next."""
    hashes = np.empty(2 * (starts[-1] - starts[0]) + 1, dtype=np.uint64)
    bounds = np.zeros(starts.shape[0], dtype=np.int64)
    joined, units = scratch(starts)
    values = np.empty(units.shape[0], dtype=np.uint64)
    leaving = _U1
    for _ in range(size):
        leaving = leaving * _ROLL
    for text in range(starts.shape[0] - 1):
        if words:
            found = _word_hashes(data, starts[text], starts[text + 1], table, values)
        else:
            found = cut(data, starts[text], starts[text + 1], table, words, joined, units)
            for unit in range(found):
                values[unit] = _character_hash(joined, units[unit, 0], units[unit, 1])
        window, rolled, end = min(size, found), _U0, bounds[text]
        for unit in range(found):
            values[unit] = mix64(values[unit])
            rolled = rolled * _ROLL + values[unit]
            if unit >= window:
                rolled -= leaving * values[unit - window]
            if unit >= window - 1:
                hashes[end] = mix64(rolled)
                end += 1
        bounds[text + 1] = end
    return hashes[: bounds[-1]].copy(), bounds


@njit(cache=True)
def _word_hashes(data, place, stop, table, values):
    """One number per word of data[place:stop], without writing the words down as `cut` does; returns how many.

    A polynomial over a word's bytes. Where words end can hardly be foretold by a processor, so ASCII passes without a branch: the value
    is always stored, and the place moves on where a word has ended.
    """
    found, value, inside = 0, _U0, _U0
    while place < stop:
        byte = data[place]
        if byte < 0x80:
            folded = np.uint64(FOLDED[byte])
            now = np.uint64(folded != _U0)
            values[found] = value
            found += np.int64(inside & ~now)
            value = (value * _SPREAD + folded) & (_U0 - now)
            inside = now
            place += 1
            continue
        code, length = decode_folded(data, place, table)
        kind = kind_of(code)
        place += length
        if kind != PART_OF_WORD and inside:
            values[found] = value
            found, value, inside = found + 1, _U0, _U0
        if kind == SEPARATOR:
            continue
        inside = _U1
        if code < 0x80:
            value = value * _SPREAD + np.uint64(FOLDED[code])
            continue
        length = utf8_length(code)
        for byte in range(length):
            value = value * _SPREAD + np.uint64(utf8_byte(code, byte, length))
        if kind == WORD:
            values[found] = value
            found, value, inside = found + 1, _U0, _U0
    values[found] = value
    return found + np.int64(inside)


@njit(cache=True)
def _character_hash(joined, begin, end):
    value = _U0
    for place in range(begin, end):
        value = (value << _U8) | np.uint64(joined[place])
    return value
