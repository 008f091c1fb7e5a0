"""Lines: what the lines and paragraphs of many texts are like, and which lines C4's rules keep."""

import numpy as np

from curation.text import characters as is_
from curation.text.compiled import compiled, inner

SPACE, LINE_END, SENTENCE_END, PUNCTUATION, DECIMAL = (
    is_.SPACE, is_.LINE_END, is_.SENTENCE_END, is_.PUNCTUATION, is_.DECIMAL,
)  # fmt: skip
NEWLINE, RETURN, STOP, ELLIPSIS, HASH, BULLET, HYPHEN = 10, 13, 46, 0x2026, 35, 0x2022, 45
QUESTION, EXCLAMATION, QUOTE, APOSTROPHE, OPEN, CLOSE, BRACE = 63, 33, 34, 39, 91, 93, 123
SHORT_LINE = 30  # characters, FineWeb
LONG_WORD, MIN_WORDS = 1000, 3  # C4

LINE_COLUMNS = (
    "characters", "newlines", "hashes", "ellipses", "lines", "bullets", "ellipsis_lines",
    "full_lines", "stopped_lines", "short_lines", "repeated_characters",
    "pieces", "duplicate_lines", "duplicate_line_characters",
    "paragraphs", "duplicate_paragraphs", "duplicate_paragraph_characters",
)  # fmt: skip
LOREM, SCRIPT = "lorem ipsum", "javascript"
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_PHRASES = (LOREM, SCRIPT, *POLICY)
_CITATIONS = ("edit]", "citation needed]")


def measure_lines(codes: np.ndarray, offsets: np.ndarray, table: np.ndarray) -> np.ndarray:
    """LINE_COLUMNS per text, float64 [texts, columns].

    lines end as in `str.splitlines`; full lines are those between newlines that are not blank; pieces are between runs of newlines
    (the empty ones at both ends included), paragraphs between runs of two and more.
    """
    numbers = np.zeros((len(offsets) - 1, len(LINE_COLUMNS)))
    _measure_lines(codes, offsets, table, numbers)
    return numbers


def keep_c4_lines(
    codes: np.ndarray, offsets: np.ndarray, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lines that C4's rules keep, cleaned and end to end: code points, where each begins (one more at the end), and the text of each;
    and per text how many lines hold "lorem ipsum" and how many a curly bracket.
    """
    # Every phrase in one row, ended by 0.
    longest = max(map(len, (*_PHRASES, *_CITATIONS)))
    phrases = np.array([[*map(ord, phrase.ljust(longest + 1, "\0"))] for phrase in (*_PHRASES, *_CITATIONS)], np.uint32)
    most = len(codes) // (2 * MIN_WORDS - 1) + 2  # lines of so many words
    kept, begins, owners = np.empty(len(codes), np.uint32), np.zeros(most, np.int64), np.empty(most, np.int32)
    faults = np.zeros((len(offsets) - 1, 2))
    lines = _keep_c4_lines(codes, offsets, table, phrases, kept, begins, owners, faults)
    return kept[: begins[lines]], begins[: lines + 1], owners[:lines], faults


def count_sentences(
    codes: np.ndarray, begins: np.ndarray, starts: np.ndarray, ends: np.ndarray, texts: np.ndarray, table: np.ndarray
) -> np.ndarray:
    """Sentences of each text, given its words: one ends before the first word after a full stop that is no punctuation."""
    counts = np.zeros(len(texts) - 1, np.int64)
    _count_sentences(codes, begins, starts, ends, texts, table, counts)
    return counts


@inner
def _mixed(value):
    value = (value ^ (value >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return value ^ (value >> np.uint64(29))


@inner
def _seen(codes, start, end, keys, stamps, stamp, mask):
    """Whether this text stood there before under `stamp`; from now on it does."""
    key = np.uint64(end - start + 1)
    for i in range(start, end):
        key = (key ^ np.uint64(codes[i])) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    key = _mixed(key)
    slot = key & mask
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return True
        slot = (slot + np.uint64(1)) & mask
    stamps[slot], keys[slot] = stamp, key
    return False


@inner
def _stripped(codes, start, end, table):
    while start < end and table[codes[start]] & SPACE:
        start += 1
    while end > start and table[codes[end - 1]] & SPACE:
        end -= 1
    return start, end


@inner
def _ends_in_ellipsis(codes, start, end):
    if end > start and codes[end - 1] == ELLIPSIS:
        return True
    return end - start > 2 and codes[end - 1] == STOP and codes[end - 2] == STOP and codes[end - 3] == STOP


@inner
def _line_end(codes, start, end, table):
    """Where the line that begins at `start` ends, and where the next begins."""
    i = start
    while i < end and not table[codes[i]] & LINE_END:
        i += 1
    pair = i + 1 < end and codes[i] == RETURN and codes[i + 1] == NEWLINE
    return i, i + 1 + pair


@inner
def _split_lines(codes, start, end, table, row):
    while start < end:
        stop, following = _line_end(codes, start, end, table)
        left, right = _stripped(codes, start, stop, table)
        row[4] += 1
        row[5] += left < right and (codes[left] == BULLET or codes[left] == HYPHEN)
        row[6] += _ends_in_ellipsis(codes, left, right)
        start = following


@inner
def _newline_lines(codes, start, end, table, row, keys, stamps, stamp, mask):
    """What stands between single newlines (FineWeb) and between runs of them (Gopher): equal lines are equal to both."""
    if end > start:  # the empty pieces at both ends
        leading, trailing = codes[start] == NEWLINE, codes[end - 1] == NEWLINE
        row[11] += leading + trailing
        row[12] += leading and trailing
    while start <= end:
        stop = start
        while stop < end and codes[stop] != NEWLINE:
            stop += 1
        length = stop - start
        if length:
            left, right = _stripped(codes, start, stop, table)
            duplicate = _seen(codes, start, stop, keys, stamps, stamp, mask)
            row[11] += 1
            row[12] += duplicate
            row[13] += length * duplicate
            if left < right:
                row[7] += 1
                row[8] += (table[codes[stop - 1]] & SENTENCE_END) != 0
                row[9] += length <= SHORT_LINE
                row[10] += length * duplicate
        start = stop + 1


@inner
def _paragraphs(codes, start, end, table, row, keys, stamps, stamp, mask):
    start, end = _stripped(codes, start, end, table)
    while start <= end:
        stop = start
        while stop < end and not (codes[stop] == NEWLINE and stop + 1 < end and codes[stop + 1] == NEWLINE):
            stop += 1
        duplicate = _seen(codes, start, stop, keys, stamps, stamp, mask)
        row[14] += 1
        row[15] += duplicate
        row[16] += (stop - start) * duplicate
        if stop == end:
            break
        while stop < end and codes[stop] == NEWLINE:
            stop += 1
        start = stop


@compiled
def _measure_lines(codes, offsets, table, numbers):
    keys, stamps = np.empty(1024, np.uint64), np.zeros(1024, np.int64)
    for text in range(len(offsets) - 1):
        start, end, row = offsets[text], offsets[text + 1], numbers[text]
        stops = 0
        for i in range(start, end):
            code = codes[i]
            row[1] += code == NEWLINE
            row[2] += code == HASH
            row[3] += code == ELLIPSIS
            stops = stops + 1 if code == STOP else 0
            if stops == 3:
                row[3] += 1
                stops = 0
        row[0] = end - start
        size = 16
        while size < 2 * (row[1] + 2):
            size *= 2
        if size > len(keys):
            keys, stamps = np.empty(size, np.uint64), np.zeros(size, np.int64)
        mask = np.uint64(size - 1)
        _split_lines(codes, start, end, table, row)
        _newline_lines(codes, start, end, table, row, keys, stamps, 2 * text + 1, mask)
        _paragraphs(codes, start, end, table, row, keys, stamps, 2 * text + 2, mask)


@inner
def _is_phrase(codes, i, end, phrase):
    """Whether the phrase stands at i, in either case."""
    for k in range(len(phrase)):
        if phrase[k] == 0:
            return True
        code = codes[i + k] if i + k < end else np.uint32(0)
        if (code + 32 if 65 <= code <= 90 else code) != phrase[k]:
            return False
    return False


@inner
def _phrases_in(codes, start, end, phrases):
    """Bits: 1 lorem ipsum, 2 javascript, 4 a policy phrase, 8 a curly bracket."""
    found = 0
    for i in range(start, end):
        code = codes[i] | np.uint32(32)
        if codes[i] == BRACE:
            found |= 8
        elif code == phrases[0, 0] or code == phrases[1, 0] or code == 116 or code == 112 or code == 99 or code == 117:
            for k in range(8):
                if code == phrases[k, 0] and _is_phrase(codes, i, end, phrases[k]):
                    found |= 1 << min(k, 2)
    return found


@inner
def _citation(codes, i, end, table, phrases):
    """Length of the citation mark at i, 0 for none: [12], [], [edit], [citation needed]."""
    stop = i + 1
    while stop < end and table[codes[stop]] & DECIMAL:
        stop += 1
    if stop < end and codes[stop] == CLOSE:
        return stop + 1 - i
    for k in (8, 9):
        length = 0
        while phrases[k, length] and i + 1 + length < end and codes[i + 1 + length] == phrases[k, length]:
            length += 1
        if phrases[k, length] == 0:
            return length + 1
    return 0


@inner
def _words_of(codes, start, end, table):
    """How many words between white space there are, and the characters of the longest."""
    words = longest = length = 0
    for i in range(start, end):
        length = 0 if table[codes[i]] & SPACE else length + 1
        words += length == 1
        longest = max(longest, length)
    return words, longest


@inner
def _clean(codes, start, end, table, phrases, kept, at):
    """The line without citation marks, written to `kept`; returns where it ends there."""
    i = start
    while i < end:
        skipped = _citation(codes, i, end, table, phrases) if codes[i] == OPEN else 0
        if not skipped:
            kept[at] = codes[i]
            at += 1
        i += max(skipped, 1)
    return at


@inner
def _is_terminal(code):
    return code in (STOP, QUESTION, EXCLAMATION, QUOTE, APOSTROPHE)


@compiled
def _keep_c4_lines(codes, offsets, table, phrases, kept, begins, owners, faults):
    lines = 0
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        while start < end:
            stop, following = _line_end(codes, start, end, table)
            left, right = _stripped(codes, start, stop, table)
            start = following
            words, longest = _words_of(codes, left, right, table)
            if words < MIN_WORDS or longest > LONG_WORD:
                continue
            begin = begins[lines]
            at = _clean(codes, left, right, table, phrases, kept, begin)
            three = at - begin > 2 and kept[at - 1] == STOP and kept[at - 2] == STOP and kept[at - 3] == STOP
            if at == begin or not _is_terminal(kept[at - 1]) or three:
                continue
            found = _phrases_in(kept, begin, at, phrases)
            faults[text, 0] += found & 1
            if found & 3 == 0:
                faults[text, 1] += (found & 8) != 0
            if found == 0:
                owners[lines] = text
                lines += 1
                begins[lines] = at
    return lines


@compiled
def _count_sentences(codes, begins, starts, ends, texts, table, counts):
    for text in range(len(texts) - 1):
        sentences, stopped, last = 0, False, begins[text]
        for k in range(texts[text], texts[text + 1]):
            gap = starts[k] - last
            # A single space belongs to the word before it; other white space is a word, and begins a sentence.
            if stopped and (gap > 1 or (gap == 1 and codes[last] != 32)):
                sentences, stopped = sentences + 1, False
            last = ends[k]
            is_end = ends[k] - starts[k] == 1 and table[codes[starts[k]]] & SENTENCE_END
            is_punctuation = True
            for i in range(starts[k], ends[k]):
                is_punctuation &= (table[codes[i]] & PUNCTUATION) != 0
            if stopped and not is_punctuation and not is_end:
                sentences, stopped = sentences + 1, False
            stopped |= is_end != 0
        counts[text] = sentences + (texts[text + 1] > texts[text])
