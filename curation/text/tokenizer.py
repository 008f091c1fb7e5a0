"""Tokenizer: texts into words as the published rules count them: split at white space, affixes and infixes cut off, exceptions whole.

Follows the rules of spaCy's English tokenizer (3.8), with Unicode categories in place of its lists of letters and symbols; URLs of plain
IP addresses and exceptions across affixes are put together more simply. One compiled pass over the code points of many texts.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from curation.text import characters as is_
from curation.text.characters import character_table
from curation.text.compiled import compiled, inner
from curation.text.exceptions import exceptions

# Bits are globals of this module because compiled code takes them in as constants.
SPACE, DIGIT, WORD, LOWER, UPPER = is_.SPACE, is_.DIGIT, is_.WORD, is_.LOWER, is_.UPPER
PREFIX, SUFFIX, BEFORE_STOP, QUOTE = is_.PREFIX, is_.SUFFIX, is_.BEFORE_STOP, is_.QUOTE
ICON, CURRENCY, HOST, REJOINED = is_.ICON, is_.CURRENCY, is_.HOST, is_.REJOINED
LONGEST = 12  # characters of an exception or unit
SHIFT = 16  # of the first part's length in an exception's cuts: 4 bits per part, bit 0 says that it is one word
UNIT = 2
PLUS, HYPHEN, STOP, SLASH, COLON, COMMA, DOLLAR = 43, 45, 46, 47, 58, 44, 36
ELLIPSIS, APOSTROPHE, RIGHT_QUOTE, DEGREE = 0x2026, 39, 0x2019, 0xB0

_UNITS = """km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar mb
    MB kb KB gb GB tb TB T G M K % US$ C$ A$ $ £ € ¥"""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Words of several texts: [starts, ends) in the code points, and where each text's words begin among them (one more at the end)."""

    starts: np.ndarray
    ends: np.ndarray
    texts: np.ndarray


def code_points(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All texts end to end as uint32, and where each begins (one more at the end)."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return codes, offsets


def tokenize(codes: np.ndarray, offsets: np.ndarray) -> Tokens:
    """The words of each text, in order; white space belongs to none."""
    starts, ends = np.empty(len(codes) + 1, np.int32), np.empty(len(codes) + 1, np.int32)
    texts = np.zeros(len(offsets), np.int64)
    keys, cuts = _exception_table()
    _tokenize(codes, offsets, character_table(), keys, cuts, starts, ends, texts)
    return Tokens(starts=starts[: texts[-1]], ends=ends[: texts[-1]], texts=texts)


@cache
def _exception_table() -> tuple[np.ndarray, np.ndarray]:
    keys, cuts = np.zeros(1 << 13, np.uint64), np.zeros(1 << 13, np.uint32)
    entries = {
        chunk: sum(len(p) << (SHIFT - 4 * i) for i, p in enumerate(parts)) for chunk, parts in exceptions().items()
    }
    entries = {
        chunk: value | (len(parts) == 1)
        for (chunk, value), parts in zip(entries.items(), exceptions().values(), strict=True)
    }
    for unit in _UNITS.split():
        entries[unit] = entries.get(unit, 0) | UNIT
    for chunk, value in entries.items():
        codes, _ = code_points([chunk])
        key = _key(codes)
        slot = int(key) & (len(keys) - 1)
        while keys[slot]:
            slot = (slot + 1) & (len(keys) - 1)
        keys[slot], cuts[slot] = key, value
    return keys, cuts


@inner
def _hash(codes, start, end):
    value = np.uint64(14695981039346656037)
    for i in range(start, end):
        value = (value ^ np.uint64(codes[i])) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
    return value | np.uint64(1)


@compiled
def _key(codes):
    return _hash(codes, 0, len(codes))


@inner
def _look_up(codes, start, end, keys, cuts):
    """What is known of a chunk: 0, or its cuts and bits."""
    if end - start > LONGEST or end <= start:
        return np.uint32(0)
    key = _hash(codes, start, end)
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while keys[slot]:
        if keys[slot] == key:
            return cuts[slot]
        slot = (slot + np.uint64(1)) & mask
    return np.uint32(0)


@inner
def _prefix(codes, start, end, table):
    """Length of what is cut off the front, 0 for nothing."""
    code = codes[start]
    if code == STOP:
        stop = start
        while stop < end and codes[stop] == STOP:
            stop += 1
        return stop - start if stop - start > 1 else 0
    if table[code] & PREFIX:
        return 1
    if code == PLUS:
        return 0 if start + 1 < end and table[codes[start + 1]] & DIGIT else 1
    if code == 65 or code == 67:  # A$, C$
        return 2 if start + 1 < end and codes[start + 1] == DOLLAR else 0
    if code == 85 and start + 2 < end and codes[start + 1] == 83:  # US$
        return 3 if codes[start + 2] == DOLLAR else 0
    return 0


@inner
def _unit(codes, start, end, table, keys, cuts):
    """Length of a unit or currency behind a digit, 0 for none."""
    for i in range(end - 1, max(start, end - 6) - 1, -1):
        if table[codes[i]] & DIGIT:
            if i == end - 2 and table[codes[end - 1]] & CURRENCY:
                return 1
            return end - 1 - i if i < end - 1 and _look_up(codes, i + 1, end, keys, cuts) & UNIT else 0
    return 0


@inner
def _suffix(codes, start, end, table, keys, cuts):
    """Length of what is cut off the back, the longest of what fits; 0 for nothing."""
    if end <= start:
        return 0
    last = codes[end - 1]
    before = codes[end - 2] if end - start > 1 else np.uint32(0)
    if last == STOP:
        if before == STOP:
            stop = end
            while stop > start and codes[stop - 1] == STOP:
                stop -= 1
            return end - stop
        if table[before] & BEFORE_STOP and end - start > 1:
            return 1
        if end - start > 2:
            third = codes[end - 3]
            if table[before] & UPPER and table[third] & UPPER:
                return 1
            if third == DEGREE and (before | 32) in (99, 102, 107):
                return 1
        return 0
    if end - start > 1:
        if last in (115, 83) and before in (APOSTROPHE, RIGHT_QUOTE):
            return 2
        if last == ELLIPSIS and before == ELLIPSIS:
            return 2
        if last == PLUS and table[before] & DIGIT:
            return 1
        unit = _unit(codes, start, end, table, keys, cuts)
        if unit:
            return unit
    return 1 if table[last] & SUFFIX else 0


@inner
def _infix(codes, start, i, end, table):
    """Length of the infix at i, 0 for none. What stands before and behind it must lie in [start, end)."""
    code = codes[i]
    bits = table[code]
    if bits & ICON or code == ELLIPSIS:
        return 1
    before = table[codes[i - 1]] if i > start else np.uint32(0)
    after = table[codes[i + 1]] if i + 1 < end else np.uint32(0)
    if code == STOP:
        if i + 1 < end and codes[i + 1] == STOP:
            stop = i
            while stop < end and codes[stop] == STOP:
                stop += 1
            return stop - i
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    between_digits = before & DIGIT and i + 1 < end and (after & DIGIT or codes[i + 1] == HYPHEN)
    if between_digits and code in (PLUS, HYPHEN, 42, 94):  # + - * ^
        return 1
    if code == COMMA:
        return 1 if before & WORD and after & WORD else 0
    if not before & (WORD | DIGIT):
        return 0
    if code in (COLON, SLASH, 60, 61, 62):  # : / < = >
        return 1 if after & WORD else 0
    if code in (HYPHEN, 0x2013, 0x2014, 126):
        if after & WORD:
            return 1
        if code in (HYPHEN, 0x2014):
            stop = i
            while stop < end and codes[stop] == code and stop - i < 4:
                stop += 1
            longest = 3 if code == HYPHEN else 2
            if 2 <= stop - i <= longest and stop < end and table[codes[stop]] & WORD:
                return stop - i
    return 0


@inner
def _is_url(codes, start, end, table):
    """Whether all of it is a host name with a top-level domain of lower-case letters; scheme, user, port and path may surround it."""
    if _is_host(codes, start, end, table):
        return True
    i = start
    while i < end and (
        table[codes[i]] & HOST or codes[i] == 95 or codes[i] == PLUS or codes[i] == HYPHEN or codes[i] == STOP
    ):
        i += 1
    has_scheme = i - start > 1 and i + 3 < end and codes[i] == COLON and codes[i + 1] == SLASH and codes[i + 2] == SLASH
    if has_scheme and _is_host(codes, i + 3, end, table):
        return True
    for i in range(start + 1, end):  # noqa: SIM110  a generator does not compile
        if codes[i] == 64 and _is_host(codes, i + 1, end, table):  # behind any @
            return True
    return False


@inner
def _is_host(codes, start, end, table):
    stop = label = start
    labels = 0
    while stop < end:
        code = codes[stop]
        if code == STOP:
            if (
                stop == label
                or stop - label > 64
                or not table[codes[stop - 1]] & HOST
                or not table[codes[label]] & HOST
            ):
                return False
            labels += 1
            label = stop + 1
        elif not (table[code] & HOST or code == HYPHEN or code == 95):
            break
        stop += 1
    if labels == 0 or not 2 <= stop - label <= 63:
        return False
    for i in range(label, stop):
        if not table[codes[i]] & LOWER:
            return False
    if stop < end and codes[stop] == COLON:
        digits = stop + 1
        while digits < end and table[codes[digits]] & DIGIT:
            digits += 1
        if not 2 <= digits - stop - 1 <= 5:
            return False
        stop = digits
    return stop == end or codes[stop] == SLASH or codes[stop] == 63 or codes[stop] == 35


@inner
def _cut(start, known, starts, ends, count):
    """An exception's parts as words; returns how many words there are now."""
    for part in range(4):
        length = (known >> np.uint32(SHIFT - 4 * part)) & np.uint32(15)
        if length:
            starts[count], ends[count] = start, start + length
            start += length
            count += 1
    return count


@inner
def _split(codes, start, end, table, starts, ends, count):
    """What is left of a chunk between its affixes, cut at infixes."""
    has_stop = False
    for i in range(start + 1, end - 1):
        has_stop |= codes[i] == STOP
    if has_stop and _is_url(codes, start, end, table):
        starts[count], ends[count] = start, end
        return count + 1
    word = i = start
    while i < end:
        length = 0 if table[codes[i]] & WORD else _infix(codes, start, i, end, table)
        if length and i > start:
            if i > word:
                starts[count], ends[count] = word, i
                count += 1
            starts[count], ends[count] = i, i + length
            count += 1
            word = i + length
        i += max(length, 1)
    if word < end:
        starts[count], ends[count] = word, end
        count += 1
    return count


@inner
def _chunk(codes, start, end, table, keys, cuts, starts, ends, count, backs):
    """The words of one chunk without white space; `backs` holds suffixes until what stands before them is done."""
    left, right, suffixes = start, end, 0
    known = _look_up(codes, left, right, keys, cuts) & ~np.uint32(3)
    while left < right and not known:
        front = _prefix(codes, left, right, table)
        if front and _look_up(codes, left + front, right, keys, cuts) & ~np.uint32(3):
            starts[count], ends[count] = left, left + front
            count += 1
            left += front
        else:
            back = _suffix(codes, left + front, right, table, keys, cuts)
            whole = back and _look_up(codes, left, right - back, keys, cuts) & ~np.uint32(3)
            if not front and not back:
                break
            if front and not whole:
                starts[count], ends[count] = left, left + front
                count += 1
                left += front
            if back:
                right -= back
                backs[suffixes] = right
                suffixes += 1
        known = _look_up(codes, left, right, keys, cuts) & ~np.uint32(3)
    if known:
        count = _cut(left, known, starts, ends, count)
    elif left < right:
        count = _split(codes, left, right, table, starts, ends, count)
    for i in range(suffixes - 1, -1, -1):
        starts[count] = backs[i]
        ends[count] = backs[i - 1] if i else end
        count += 1
    return count


@inner
def _rejoin(codes, table, keys, cuts, starts, ends, first, count):
    """Neighbouring words of a chunk that are an emoticon or an abbreviation become one; returns how many words there are now."""
    kept = i = first
    while i < count:
        stop = i + 1
        if i + 1 < count and (table[codes[starts[i]]] & REJOINED or codes[starts[i + 1]] == STOP):
            for j in range(min(count, i + 6) - 1, i, -1):
                if _look_up(codes, starts[i], ends[j], keys, cuts) & np.uint32(1):
                    stop = j + 1
                    break
        starts[kept], ends[kept] = starts[i], ends[stop - 1]
        kept += 1
        i = stop
    return kept


@compiled
def _tokenize(codes, offsets, table, keys, cuts, starts, ends, texts):
    count = 0
    backs = np.empty(64, np.int64)
    for text in range(len(offsets) - 1):
        i, end = offsets[text], offsets[text + 1]
        while i < end:
            if table[codes[i]] & SPACE:
                i += 1
                continue
            stop = i
            while stop < end and not table[codes[stop]] & SPACE:
                stop += 1
            if stop - i > len(backs):
                backs = np.empty(2 * (stop - i), np.int64)
            first = count
            count = _chunk(codes, i, stop, table, keys, cuts, starts, ends, count, backs)
            if count - first > 1:
                count = _rejoin(codes, table, keys, cuts, starts, ends, first, count)
            i = stop
        texts[text + 1] = count
