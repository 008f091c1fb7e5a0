"""Folding: NFKC and case, so that texts that differ in nothing else are compared as equal. Most of it in compiled kernels.

ASCII is folded by the kernels that cut words. A character beyond it that folds by itself, to one character, is looked up in a table by
the same kernels; a text with any other (combining accents, ligatures, Hangul letters ...) is folded whole by Python. Folding follows the
Unicode tables of the Python in use.

Shapes: N texts.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numba import njit

PLANE = 1 << 16  # characters of the basic plane; the table has one entry for each


def folded_columns(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts as the kernels take them.

    Returns:
        uint8, UTF-8 of all texts end to end; int64 [N + 1], where each begins and ends; the table, empty where all texts are ASCII.
    """
    beyond = [number for number, text in enumerate(texts) if not text.isascii()]
    data, starts = _utf8(texts)
    if not beyond:
        return data, starts, np.zeros(0, dtype=np.uint32)
    table = folding_table()
    hard = _hard(data, starts, np.array(beyond), table)
    if hard.any():
        texts = list(texts)
        for number in np.array(beyond)[hard].tolist():
            texts[number] = fold(texts[number])
        data, starts = _utf8(texts)
    return data, starts, table


def fold(text: str) -> str:
    """NFKC and case folding."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache
def folding_table() -> np.ndarray:
    """uint32 [PLANE]: what a character folds to, 0 where that is not one character or depends on its neighbours.

    What folds to punctuation and spaces only ("...") folds to a space here: it stands between words all the same.
    """
    joining = _joining()
    table = np.zeros(PLANE, dtype=np.uint32)
    for code in range(0x80, PLANE):
        folded = [] if 0xD800 <= code < 0xE000 or code in joining else [ord(c) for c in fold(chr(code))]
        if len(folded) == 1 and folded[0] < PLANE and folded[0] not in joining:
            table[code] = folded[0]
        elif folded and all(c < 0x80 and not chr(c).isalnum() and chr(c) != "_" for c in folded):
            table[code] = ord(" ")
    # Texts that Python folded meet the table too: it must leave them as they are.
    beyond = table[table >= 0x80]
    table[beyond[(table[beyond] != beyond)]] = 0
    return table


def _joining() -> set[int]:
    """Characters of the basic plane that may join the one before, or be moved."""
    parts = (unicodedata.decomposition(chr(code)).split() for code in range(PLANE))
    seconds = {int(pair[1], 16) for pair in parts if len(pair) == 2 and not pair[0].startswith("<")}
    moved = {code for code in range(PLANE) if unicodedata.combining(chr(code))}
    return seconds | moved | set(range(0x1100, 0x1200))  # and the letters of Hangul, which join by rule


def _utf8(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    column = pa.array(texts, type=pa.large_string())
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64, count=len(column) + 1)
    return np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8), starts


@njit(cache=True)
def _hard(data, starts, texts, table):
    """Which of the texts have a character that the table cannot fold."""
    hard = np.zeros(texts.shape[0], dtype=np.bool_)
    for number in range(texts.shape[0]):
        place, stop = starts[texts[number]], starts[texts[number] + 1]
        while place < stop and not hard[number]:
            if data[place] < 0x80:
                place += 1
                continue
            code, length = decode(data, place)
            if code < PLANE:
                hard[number] = table[code] == 0
            else:  # pictographs and rare Han stay as they are
                hard[number] = not (0x1F300 <= code < 0x1FB00 or 0x20000 <= code < 0x2F800)
            place += length
    return hard


@njit(cache=True)
def decode(data, place):
    """The character beyond ASCII at `place` of UTF-8, and its length in bytes."""
    first = np.int64(data[place])
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.int64(data[place + 1] & 0x3F), 2
    second = np.int64(data[place + 1] & 0x3F)
    third = np.int64(data[place + 2] & 0x3F)
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | np.int64(data[place + 3] & 0x3F), 4


@njit(cache=True)
def decode_folded(data, place, table):
    """As `decode`, through the table."""
    code, length = decode(data, place)
    if code < table.shape[0] and table[code]:
        return np.int64(table[code]), length
    return code, length
