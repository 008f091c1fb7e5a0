"""Words: how a text is cut for comparison. Compiled kernels over UTF-8.

A text is folded (NFKC, case) and cut into words: runs of letters, digits and underscores. Each Han, Kana, Thai, Lao, Burmese and Khmer
character is a word of its own, since these are written without spaces. Folding follows the Unicode tables of the Python in use.
"""

import unicodedata

import numpy as np
from numba import njit

# What a byte of UTF-8 is compared as, where it is a letter, digit or underscore of ASCII; 0 elsewhere.
FOLDED = np.zeros(256, dtype=np.uint8)
for _character in "0123456789abcdefghijklmnopqrstuvwxyz_":
    FOLDED[ord(_character)] = FOLDED[ord(_character.upper())] = ord(_character)

SEPARATOR, PART_OF_WORD, WORD = 0, 1, 2


def fold(text: str) -> str:
    """NFKC and case folding, but for ASCII, which the kernels fold."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


@njit(cache=True)
def scratch(starts):
    """Room for the longest text: its joined words, and begin and end of each word or character."""
    longest = 0
    for text in range(starts.shape[0] - 1):
        longest = max(longest, starts[text + 1] - starts[text])
    # At worst one-byte words stand between characters that are words themselves: a space is added to each.
    return np.empty(2 * longest + 1, dtype=np.uint8), np.empty((2 * longest + 1, 2), dtype=np.int64)


@njit(cache=True)
def cut(data, place, stop, words, joined, units):
    """Words of data[place:stop] joined by single spaces; begin and end of each word, or of each character; returns how many."""
    found, end, inside = 0, 0, False
    while place < stop:
        byte = data[place]
        if byte < 0x80:
            folded, kind, length = FOLDED[byte], PART_OF_WORD if FOLDED[byte] else SEPARATOR, 1
        else:
            length, kind = wide(byte, data[place + 1])
            folded = byte
        if kind == SEPARATOR:
            inside = False
            place += length
            continue
        if not inside or kind == WORD:
            if found:
                units[found - 1, 1] = end
                joined[end] = 32
                end += 1
            units[found, 0] = end
            found += 1
        inside = kind == PART_OF_WORD
        joined[end] = folded
        for more in range(1, length):
            joined[end + more] = data[place + more]
        end += length
        place += length
    if not found:
        return 0
    units[found - 1, 1] = end
    return found if words else _characters(joined, end, units)


@njit(cache=True)
def wide(first, second):
    """Length and kind of the character beyond ASCII that begins with these bytes (UTF-8)."""
    if first < 0xE0:
        return 2, SEPARATOR if first == 0xC2 else PART_OF_WORD  # U+0080 to U+00BF: Latin-1 punctuation
    if first >= 0xF0:
        return 4, PART_OF_WORD
    if (first == 0xE2 and second <= 0x81) or (first == 0xE3 and second == 0x80):
        return 3, SEPARATOR  # U+2000 to U+207F, U+3000 to U+303F: general and Han punctuation
    if 0xE3 <= first <= 0xE9:
        return 3, WORD  # U+3040 to U+9FFF: Kana and Han
    if first == 0xE0 and 0xB8 <= second <= 0xBB:
        return 3, WORD  # U+0E00 to U+0EFF: Thai and Lao
    if first == 0xE1 and (second <= 0x81 or 0x9E <= second <= 0x9F):
        return 3, WORD  # U+1000 to U+107F, U+1780 to U+17FF: Burmese and Khmer
    return 3, PART_OF_WORD


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
