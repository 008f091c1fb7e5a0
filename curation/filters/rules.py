"""Rules: the published quality rules for text, one number each, and the sets GOPHER, C4 and FINEWEB with their authors' bounds.

Words are those of an English tokenizer (`curation.text.tokenizer`), as in datatrove, to which the published corpora were filtered. The
rules are tuned to English pages; on other languages only the line rules mean what they say.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from curation.batch import Batch
from curation.operator import Filter
from curation.text.statistics import c4_statistics, line_statistics, warm_up, word_statistics


@dataclass(frozen=True, kw_only=True)
class TextRule(Filter):
    """A number from the shared statistics of a batch's texts."""

    def open(self) -> Callable[[Batch], pl.Series]:
        """Compiles the statistics first."""
        warm_up()
        return self.measure

    @abstractmethod
    def measure(self, batch: Batch) -> pl.Series:
        """One number per sample."""


def _share(part: pl.Series, whole: pl.Series) -> pl.Series:
    """part / whole; NaN where there is nothing."""
    whole = whole.set(whole == 0, float("nan"))
    return part / whole


def _of_words(batch: Batch, part: str) -> pl.Series:
    return _share(word_statistics(batch)[part], word_statistics(batch)["words"])


def _of_lines(batch: Batch, part: str, whole: str) -> pl.Series:
    return _share(line_statistics(batch)[part], line_statistics(batch)[whole])


@dataclass(frozen=True, kw_only=True)
class SpokenWords(TextRule):
    """Words of an answer that are not made of punctuation alone, >= 0.

    Cost: words. Very short pages are menus and stubs, very long ones logs and dumps.

    Source: Gopher, arXiv:2112.11446, section A1.1 (50 to 100,000).
    """

    low: float | None = 50
    high: float | None = 100_000

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return word_statistics(batch)["spoken_words"]


@dataclass(frozen=True, kw_only=True)
class MeanWordLength(TextRule):
    """Mean characters of a word that is not made of punctuation alone, > 0. NaN without words.

    Cost: words. Codes, keys and run-together text have long words; tables have short ones.

    Source: Gopher, arXiv:2112.11446, section A1.1 (3 to 10).
    """

    low: float | None = 3
    high: float | None = 10

    def measure(self, batch: Batch) -> pl.Series:
        """One mean per sample, in characters."""
        table = word_statistics(batch)
        return _share(table["spoken_characters"], table["spoken_words"])


@dataclass(frozen=True, kw_only=True)
class HashesPerWord(TextRule):
    """Hash signs per word, >= 0. NaN without words.

    Cost: words. Tag lists and broken markup.

    Source: Gopher, arXiv:2112.11446, section A1.1 (symbol-to-word ratio <= 0.1).
    """

    high: float | None = 0.1

    def measure(self, batch: Batch) -> pl.Series:
        """One ratio per sample."""
        return _share(line_statistics(batch)["hashes"], word_statistics(batch)["words"])


@dataclass(frozen=True, kw_only=True)
class EllipsesPerWord(TextRule):
    """Ellipses (three full stops or the one character) per word, >= 0. NaN without words.

    Cost: words. Lists of teasers.

    Source: Gopher, arXiv:2112.11446, section A1.1 (symbol-to-word ratio <= 0.1).
    """

    high: float | None = 0.1

    def measure(self, batch: Batch) -> pl.Series:
        """One ratio per sample."""
        return _share(line_statistics(batch)["ellipses"], word_statistics(batch)["words"])


@dataclass(frozen=True, kw_only=True)
class BulletLines(TextRule):
    """Share of lines that begin with a bullet or a hyphen, in [0, 1]. NaN without lines.

    Cost: lines. A page of nothing but items is an index.

    Source: Gopher, arXiv:2112.11446, section A1.1 (<= 0.9).
    """

    high: float | None = 0.9

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_lines(batch, "bullets", "lines")


@dataclass(frozen=True, kw_only=True)
class EllipsisLines(TextRule):
    """Share of lines that end in an ellipsis, in [0, 1]. NaN without lines.

    Cost: lines. Search results and teasers.

    Source: Gopher, arXiv:2112.11446, section A1.1 (<= 0.3).
    """

    high: float | None = 0.3

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_lines(batch, "ellipsis_lines", "lines")


@dataclass(frozen=True, kw_only=True)
class AlphabeticWords(TextRule):
    """Share of words with at least one letter, in [0, 1]. NaN without words.

    Cost: words. Tables of numbers and drawings of symbols have few.

    Source: Gopher, arXiv:2112.11446, section A1.1 (>= 0.8).
    """

    low: float | None = 0.8

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_words(batch, "alphabetic_words")


@dataclass(frozen=True, kw_only=True)
class StopWords(TextRule):
    """How many of the, be, to, of, and, that, have, with occur, 0 to 8.

    Cost: words. English prose has nearly all of them; lists and other languages have none.

    Source: Gopher, arXiv:2112.11446, section A1.1 (>= 2).
    """

    low: float | None = 2

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return word_statistics(batch)["stop_words"]


@dataclass(frozen=True, kw_only=True)
class DuplicateLines(TextRule):
    """Share of lines that stood there before, in [0, 1). NaN without text.

    Cost: lines. Lines are what runs of newlines part.

    Source: Gopher, arXiv:2112.11446, table A1 (<= 0.3).
    """

    high: float | None = 0.3

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_lines(batch, "duplicate_lines", "pieces")


@dataclass(frozen=True, kw_only=True)
class DuplicateLineCharacters(TextRule):
    """Share of characters in lines that stood there before, in [0, 1). NaN without text.

    Cost: lines.

    Source: Gopher, arXiv:2112.11446, table A1 (<= 0.2).
    """

    high: float | None = 0.2

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_lines(batch, "duplicate_line_characters", "characters")


@dataclass(frozen=True, kw_only=True)
class DuplicateParagraphs(TextRule):
    """Share of paragraphs that stood there before, in [0, 1). NaN without text.

    Cost: lines. Blank lines part paragraphs.

    Source: Gopher, arXiv:2112.11446, table A1 (<= 0.3).
    """

    high: float | None = 0.3

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        table = line_statistics(batch)
        return _share(table["duplicate_paragraphs"], table["paragraphs"] * (table["characters"] > 0))


@dataclass(frozen=True, kw_only=True)
class DuplicateParagraphCharacters(TextRule):
    """Share of characters in paragraphs that stood there before, in [0, 1). NaN without text.

    Cost: lines.

    Source: Gopher, arXiv:2112.11446, table A1 (<= 0.2).
    """

    high: float | None = 0.2

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_lines(batch, "duplicate_paragraph_characters", "characters")


@dataclass(frozen=True, kw_only=True)
class TopNgram(TextRule):
    """Characters of all occurrences of the most frequent n-gram over all characters, in [0, n). NaN without text.

    Cost: words. Occurrences may overlap. "Buy now" on every line.

    Source: Gopher, arXiv:2112.11446, table A1 (<= 0.20, 0.18, 0.16 for n = 2, 3, 4).
    """

    n: Literal[2, 3, 4]

    @property
    def name(self) -> str:
        """n is part of the name."""
        return f"TopNgram[{self.n}]"

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _share(word_statistics(batch)[f"top_{self.n}"], line_statistics(batch)["characters"])


@dataclass(frozen=True, kw_only=True)
class DuplicateNgrams(TextRule):
    """Share of characters in n-grams that stood there before, counted without overlap, in [0, 1). NaN without text.

    Cost: words. Text pasted twice, spun pages.

    Source: Gopher, arXiv:2112.11446, table A1 (<= 0.15, 0.14, 0.13, 0.12, 0.11, 0.10 for n = 5 to 10).
    """

    n: Literal[5, 6, 7, 8, 9, 10]

    @property
    def name(self) -> str:
        """n is part of the name."""
        return f"DuplicateNgrams[{self.n}]"

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _share(word_statistics(batch)[f"duplicate_{self.n}"], line_statistics(batch)["characters"])


@dataclass(frozen=True, kw_only=True)
class C4Sentences(TextRule):
    """Sentences in the lines that C4's line rules keep, >= 0.

    Cost: words of those lines. The lines themselves are cut by the transform `KeepC4Lines`, which goes after this filter.

    Source: C4, arXiv:1910.10683, section 2.2 (at least 5 sentences), and the line rules of its code: at least 3 words, none over 1,000
    characters, ends in . ? ! or a quotation mark and not in ..., no "javascript", no words of cookie banners; citation marks removed.
    """

    low: float | None = 5

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return c4_statistics(batch)["sentences"]


@dataclass(frozen=True, kw_only=True)
class LoremIpsum(TextRule):
    """Lines of prose with the words "lorem ipsum", >= 0: a page that waits for its text.

    Cost: lines. Prose is what ends like a sentence and has three words.

    Source: C4, arXiv:1910.10683, section 2.2 (none).
    """

    high: float | None = 0

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return c4_statistics(batch)["lorem_ipsum"]


@dataclass(frozen=True, kw_only=True)
class CurlyBrackets(TextRule):
    """Lines of prose with an opening curly bracket, >= 0: program code.

    Cost: lines. Prose is what ends like a sentence and has three words; lines with "javascript" do not count.

    Source: C4, arXiv:1910.10683, section 2.2 (none).
    """

    high: float | None = 0

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return c4_statistics(batch)["curly_brackets"]


@dataclass(frozen=True, kw_only=True)
class StoppedLines(TextRule):
    """Share of lines, blank ones left out, that end in a full stop of any script, in [0, 1]. NaN without lines.

    Cost: lines. White space behind the stop counts against it.

    Source: FineWeb, arXiv:2406.17557, heuristic filters (> 0.12).
    """

    low: float | None = 0.12

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_lines(batch, "stopped_lines", "full_lines")


@dataclass(frozen=True, kw_only=True)
class ShortLines(TextRule):
    """Share of lines, blank ones left out, of at most 30 characters, in [0, 1]. NaN without lines.

    Cost: lines. Menus, tables, verse.

    Source: FineWeb, arXiv:2406.17557, heuristic filters (< 0.67).
    """

    high: float | None = 0.67

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _of_lines(batch, "short_lines", "full_lines")


@dataclass(frozen=True, kw_only=True)
class RepeatedLineCharacters(TextRule):
    """Share of characters, newlines and blank lines left out, in lines that stood there before, in [0, 1). NaN without lines.

    Cost: lines. Stricter than Gopher's `DuplicateLineCharacters`: one repeated line of a short page is enough.

    Source: FineWeb, arXiv:2406.17557, heuristic filters (< 0.1); its released filter cuts at 0.01, which is ours.
    """

    high: float | None = 0.01

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        table = line_statistics(batch)
        characters = (table["characters"] - table["newlines"]) * (table["full_lines"] > 0)
        return _share(table["repeated_characters"], characters)


@dataclass(frozen=True, kw_only=True)
class NewlinesPerWord(TextRule):
    """Newlines per word, >= 0. NaN without words.

    Cost: words. Lists.

    Source: datatrove's FineWeb filter (<= 0.3); the paper does not name it.
    """

    high: float | None = 0.3

    def measure(self, batch: Batch) -> pl.Series:
        """One ratio per sample."""
        return _share(line_statistics(batch)["newlines"], word_statistics(batch)["words"])


GOPHER_QUALITY: tuple[Filter, ...] = (
    SpokenWords(), MeanWordLength(), HashesPerWord(), EllipsesPerWord(), BulletLines(), EllipsisLines(), AlphabeticWords(), StopWords(),
)  # fmt: skip
GOPHER_REPETITION: tuple[Filter, ...] = (
    DuplicateParagraphs(), DuplicateParagraphCharacters(), DuplicateLines(), DuplicateLineCharacters(),
    TopNgram(n=2, high=0.2), TopNgram(n=3, high=0.18), TopNgram(n=4, high=0.16),
    DuplicateNgrams(n=5, high=0.15), DuplicateNgrams(n=6, high=0.14), DuplicateNgrams(n=7, high=0.13),
    DuplicateNgrams(n=8, high=0.12), DuplicateNgrams(n=9, high=0.11), DuplicateNgrams(n=10, high=0.10),
)  # fmt: skip
GOPHER = (*GOPHER_QUALITY, *GOPHER_REPETITION)
C4: tuple[Filter, ...] = (LoremIpsum(), CurlyBrackets(), C4Sentences())
FINEWEB: tuple[Filter, ...] = (StoppedLines(), ShortLines(), RepeatedLineCharacters(), NewlinesPerWord())
