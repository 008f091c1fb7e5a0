"""N-grams: how often runs of words repeat, and what the words are, for many texts at once.

Runs of words are told apart by 64-bit hashes of their characters, not by the characters themselves.
"""

import numpy as np

from curation.text import characters as is_
from curation.text.compiled import compiled, inner

LETTER, SYMBOL = is_.LETTER, is_.SYMBOL
BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 1 << 64)  # divides by BASE modulo 2^64
BOUNDARY = 0xD6E8FEB86659FD93
# Up to four ASCII letters packed into 32 bits.
STOP_WORDS = tuple(
    int.from_bytes(word, "little") for word in (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")
)

WORD_COLUMNS = (
    "words", "spoken_words", "spoken_characters", "alphabetic_words", "stop_words",
    "top_2", "top_3", "top_4", "duplicate_5", "duplicate_6", "duplicate_7", "duplicate_8", "duplicate_9", "duplicate_10",
)  # fmt: skip


def measure_words(
    codes: np.ndarray, starts: np.ndarray, ends: np.ndarray, texts: np.ndarray, table: np.ndarray
) -> np.ndarray:
    """WORD_COLUMNS per text, float64 [texts, columns].

    words; spoken words: those not made of symbols alone, and their characters; words with a letter; different stop words; characters
    (spaces between words included) of all occurrences of the most frequent 2-, 3-, 4-gram; characters in 5- to 10-grams that stood
    there before, counted without overlap.
    """
    numbers = np.zeros((len(texts) - 1, len(WORD_COLUMNS)))
    _measure_words(codes, starts, ends, texts, table, numbers)
    return numbers


@inner
def _mixed(value):
    value = (value ^ (value >> np.uint64(32))) * np.uint64(BOUNDARY)
    return value ^ (value >> np.uint64(29))


@inner
def _size(count):
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@inner
def _top(sums, weights, lengths, count, n, keys, stamps, stamp, counts, firsts):
    """Characters of the most frequent n-gram, of which the earliest wins, times its occurrences."""
    mask = np.uint64(_size(count) - 1)
    best, best_first = 0, 0
    for i in range(count - n + 1):
        key = (sums[i + n] - sums[i]) * weights[i]
        for j in range(1, n):  # where its words end
            key = _mixed(key + np.uint64(lengths[i + j] - lengths[i]))
        key = _mixed(key)
        slot = key & mask
        while stamps[slot] == stamp and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if stamps[slot] != stamp:
            stamps[slot], keys[slot], counts[slot], firsts[slot] = stamp, key, 0, i
        counts[slot] += 1
        if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
            best, best_first = counts[slot], firsts[slot]
    return best * (lengths[best_first + n] - lengths[best_first] + n - 1) if best else 0


@inner
def _duplicates(sums, weights, lengths, count, n, keys, stamps, stamp):
    """Characters in n-grams that stood there before; what was counted is passed over."""
    mask = np.uint64(_size(count) - 1)
    repeated = i = 0
    while i < count - n + 1:
        key = _mixed((sums[i + n] - sums[i]) * weights[i])
        slot = key & mask
        while stamps[slot] == stamp and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if stamps[slot] == stamp:
            repeated += lengths[i + n] - lengths[i]
            i += n
        else:
            stamps[slot], keys[slot] = stamp, key
            i += 1
    return repeated


@inner
def _stop_word(codes, start, end):
    """The bit of a stop word, 0 for another word."""
    packed = 0
    for i in range(start, end):
        if codes[i] > 127:
            return 0
        packed |= np.int64(codes[i]) << (8 * (i - start))
    for bit in range(len(STOP_WORDS)):
        if packed == STOP_WORDS[bit]:
            return 1 << bit
    return 0


@inner
def _read_words(codes, starts, ends, table, sums, weights, lengths, row):
    """What single words say, and running hashes and lengths of all characters in words."""
    total, power, weight = np.uint64(0), np.uint64(1), np.uint64(1)
    sums[0], weights[0], lengths[0] = total, weight, 0
    spoken = characters = alphabetic = stops = 0
    for k in range(len(starts)):
        is_spoken = has_letter = False
        for i in range(starts[k], ends[k]):
            bits = table[codes[i]]
            is_spoken |= (bits & SYMBOL) == 0
            has_letter |= (bits & LETTER) != 0
            total += (np.uint64(codes[i]) + np.uint64(1)) * np.uint64(BOUNDARY) * power
            power *= np.uint64(BASE)
            weight *= np.uint64(INVERSE)
        length = ends[k] - starts[k]
        sums[k + 1], weights[k + 1], lengths[k + 1] = total, weight, lengths[k] + length
        spoken += is_spoken
        characters += length if is_spoken else 0
        alphabetic += has_letter
        if 2 <= length <= 4:
            stops |= _stop_word(codes, starts[k], ends[k])
    distinct = 0
    while stops:
        distinct += stops & 1
        stops >>= 1
    row[0], row[1], row[2], row[3], row[4] = len(starts), spoken, characters, alphabetic, distinct


@compiled
def _measure_words(codes, starts, ends, texts, table, numbers):
    longest = 0
    for text in range(len(texts) - 1):
        longest = max(longest, texts[text + 1] - texts[text])
    sums, weights = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    lengths = np.empty(longest + 1, np.int64)
    size = _size(longest)
    keys, stamps = np.empty(size, np.uint64), np.zeros(size, np.int32)
    counts, firsts = np.empty(size, np.int32), np.empty(size, np.int32)
    stamp = 0
    for text in range(len(texts) - 1):
        first, last = texts[text], texts[text + 1]
        row, count = numbers[text], last - first
        _read_words(codes, starts[first:last], ends[first:last], table, sums, weights, lengths, row)
        for n in range(2, 5):
            stamp += 1
            row[3 + n] = _top(sums, weights, lengths, count, n, keys, stamps, stamp, counts, firsts)
        for n in range(5, 11):
            stamp += 1
            row[3 + n] = _duplicates(sums, weights, lengths, count, n, keys, stamps, stamp)
