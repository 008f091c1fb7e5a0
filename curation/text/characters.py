"""Characters: what each Unicode code point is to the word and line rules, as bits of one table.

The sets that decide the published rules' numbers follow their reference implementations: white space and line ends as Python's
`str.isspace` and `str.splitlines`, affixes as spaCy's English tokenizer, symbols and sentence ends as CCNet and Unicode.
"""

import unicodedata
from functools import cache

import numpy as np

CODE_POINTS = 0x110000

SPACE = 1 << 0  # str.isspace
LINE_END = 1 << 1  # where str.splitlines ends a line
LETTER = 1 << 2  # str.isalpha
SYMBOL = 1 << 3  # a word of nothing else is no word to Gopher's counts
SENTENCE_END = 1 << 4
PUNCTUATION = 1 << 5  # Unicode category P
DIGIT = 1 << 6  # 0-9
WORD = 1 << 7  # a letter that infixes may stand between
LOWER = 1 << 8  # ... lower-case or of a script without case
UPPER = 1 << 9  # ... upper-case or of a script without case
PREFIX = 1 << 10  # one character that is cut off the front of a chunk
SUFFIX = 1 << 11  # ... off its back
BEFORE_STOP = 1 << 12  # after it a full stop is cut off
QUOTE = 1 << 13
ICON = 1 << 14  # Unicode category So
CURRENCY = 1 << 15  # Unicode category Sc
HOST = 1 << 16  # may begin and end a label of a host name
REJOINED = 1 << 17  # may begin an exception that affix rules have cut apart
DECIMAL = 1 << 18  # Unicode category Nd

_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_AFFIXES = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
# CCNet's punctuation, by hexadecimal ranges; controls count as symbols.
_SYMBOLS = (
    "0-8 b-1f 22-2d 2f 3a-3e 40 5b-60 7b-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001 3008-300d 3010-3011 "
    "ff05 ff08-ff09 ff0c ff11 ff1a-ff1b ff5e"
)
# Unicode's Sentence_Terminal.
_SENTENCE_ENDS = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6 17d9-17da "
    "1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 "
    "3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f "
    "ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 "
    "1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c "
    "11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f 1da88"
)
# Armenian; Gurmukhi to Oriya; Malayalam; Thai to Georgian; Mongolian to Vedic: spaCy's rules for English leave them out.
_NO_INFIXES = (
    range(0x530, 0x590),
    range(0xA00, 0xB80),
    range(0xD00, 0xD80),
    range(0xE00, 0x1100),
    range(0x1380, 0x1D00),
)
# Planes without a letter or symbol that matters are left out: supplementary planes 3 to 14 and private use.
_ASSIGNED = range(0x20000)


@cache
def character_table() -> np.ndarray:
    """Bits per code point, uint32 [CODE_POINTS]."""
    table = np.zeros(CODE_POINTS, dtype=np.uint32)
    for code in _ASSIGNED:
        table[code] = _bits(chr(code))
    table[0x20000:0x32000] = LETTER | WORD | LOWER | UPPER  # Han, extensions B to H
    table[_codes(_SYMBOLS)] |= SYMBOL
    table[_codes(_SENTENCE_ENDS)] |= SENTENCE_END | SYMBOL
    _mark(table, _LINE_ENDS, LINE_END)
    _mark(table, _QUOTES, QUOTE | PREFIX | SUFFIX | BEFORE_STOP)
    _mark(table, _AFFIXES, PREFIX | SUFFIX | BEFORE_STOP)
    _mark(table, "—–", PREFIX | SUFFIX)
    _mark(table, "§%=", PREFIX)
    _mark(table, "%²-+?:()|", BEFORE_STOP)
    _mark(table, "()[]{}:;=<>8-.\\@^'’", REJOINED)
    table.flags.writeable = False
    return table


def _bits(character: str) -> int:
    category, code = unicodedata.category(character), ord(character)
    if category in ("Cn", "Co", "Cs"):
        return HOST if 0xA1 <= code <= 0xFFFF else 0
    bits = SPACE * character.isspace() | LETTER * character.isalpha() | PUNCTUATION * (category[0] == "P")
    if (category[0] == "L" or (category[0] == "M" and code >= 0x900)) and not any(
        code in block for block in _NO_INFIXES
    ):
        cased = category in ("Lu", "Ll")
        bits |= WORD | LOWER * (not cased or category == "Ll") | UPPER * (not cased or category == "Lu")
    bits |= BEFORE_STOP * bool(bits & LOWER)
    if "0" <= character <= "9":
        bits |= DIGIT | BEFORE_STOP
    if category == "So":
        bits |= ICON | PREFIX | SUFFIX
    if category == "Sc":
        bits |= CURRENCY | PREFIX
    bits |= DECIMAL * (category == "Nd")
    host = 0xA1 <= code <= 0xFFFF or (code < 0x80 and character.isalnum())
    return bits | HOST * host


def _codes(ranges: str) -> list[int]:
    bounds = [[int(end, 16) for end in part.split("-")] for part in ranges.split()]
    return [code for bound in bounds for code in range(bound[0], bound[-1] + 1)]


def _mark(table: np.ndarray, characters: str, bits: int) -> None:
    table[[ord(character) for character in characters]] |= bits
