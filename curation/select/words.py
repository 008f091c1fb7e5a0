"""Words: how a text is cut for comparison. Compiled kernels over UTF-8.

A text is folded (curation.select.folding) and cut into words: runs of letters, digits and underscores. Each Han, Kana, Thai, Lao,
Burmese and Khmer character is a word of its own, since these are written without spaces.
"""

import numpy as np
from numba import njit

from curation.select.folding import decode_folded

# What a byte of UTF-8 is compared as, where it is a letter, digit or underscore of ASCII; 0 elsewhere.
FOLDED = np.zeros(256, dtype=np.uint8)
for _character in "0123456789abcdefghijklmnopqrstuvwxyz_":
    FOLDED[ord(_character)] = FOLDED[ord(_character.upper())] = ord(_character)

SEPARATOR, PART_OF_WORD, WORD = 0, 1, 2


@njit(cache=True)
def scratch(starts):
    """Room for the longest text: its joined words, and begin and end of each word or character."""
    longest = 0
    for text in range(starts.shape[0] - 1):
        longest = max(longest, starts[text + 1] - starts[text])
    # At worst one-byte words stand between characters that are words themselves: a space is added to each.
    return np.empty(2 * longest + 1, dtype=np.uint8), np.empty((2 * longest + 1, 2), dtype=np.int64)


@njit(cache=True)
def cut(data, place, stop, table, words, joined, units):
    """Words of data[place:stop] joined by single spaces; begin and end of each word, or of each character; returns how many.

    table: of `folded_columns`.
    """
    found, end, inside = 0, 0, False
    while place < stop:
        code, length = np.int64(data[place]), 1
        if code >= 0x80:
            code, length = decode_folded(data, place, table)
        place += length
        kind = kind_of(code)
        if kind == SEPARATOR:
            inside = False
            continue
        if not inside or kind == WORD:
            if found:
                units[found - 1, 1] = end
                joined[end] = 32
                end += 1
            units[found, 0] = end
            found += 1
        inside = kind == PART_OF_WORD
        end = _write(code, joined, end)
    if not found:
        return 0
    units[found - 1, 1] = end
    return found if words else _characters(joined, end, units)


@njit(cache=True)
def kind_of(code):
    """Whether a folded character stands between words, belongs to one, or is one."""
    if code < 0x80:
        return PART_OF_WORD if FOLDED[code] else SEPARATOR
    if code < 0xC0 or 0x2000 <= code < 0x2080 or 0x3000 <= code < 0x3040:
        return SEPARATOR  # punctuation of Latin-1, of all scripts, of Han
    if 0x3040 <= code < 0xA000 or 0xE00 <= code < 0xF00 or 0x1000 <= code < 0x1080 or 0x1780 <= code < 0x1800:
        return WORD  # Kana and Han; Thai and Lao; Burmese; Khmer
    return PART_OF_WORD


@njit(cache=True)
def _write(code, joined, end):
    """UTF-8 of a folded character; returns where it ends."""
    if code < 0x80:
        joined[end] = FOLDED[code]
        return end + 1
    length = utf8_length(code)
    for place in range(length):
        joined[end + place] = utf8_byte(code, place, length)
    return end + length


@njit(cache=True)
def utf8_length(code):
    """Bytes of a character beyond ASCII."""
    return 2 if code < 0x800 else 3 if code < 0x10000 else 4


@njit(cache=True)
def utf8_byte(code, place, length):
    """One of the bytes of a character beyond ASCII."""
    bits = (code >> (6 * (length - 1 - place))) & 0x3F
    if place:
        return np.uint8(0x80 | bits)
    return np.uint8((0xF00 >> length & 0xFF) | (code >> (6 * (length - 1))))


@njit(cache=True)
def _characters(joined, length, units):
    """Begin and end of every character of `joined`; returns how many."""
    found = 0
    for place in range(length):
        if joined[place] & 0xC0 != 0x80:
            units[found, 0] = place
            if found:
                units[found - 1, 1] = place
            found += 1
    units[found - 1, 1] = length
    return found
