"""Text filters: how much an answer says and what it is made of. All columnar."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from curation.batch import Batch
from curation.operator import Filter
from curation.text.statistics import answers

Characters = Literal["alphabetic", "digit", "uppercase", "symbol", "whitespace"]

# Scripts that write words without spaces between them, and of which one character is about one word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORD = rf"[{_UNSPACED}]|[\w--[{_UNSPACED}]]+(?:['’\-][\w--[{_UNSPACED}]]+)*"
_CLASSES: dict[Characters, str] = {
    "alphabetic": r"[\p{L}\p{M}]+",
    "digit": r"\p{N}+",
    "uppercase": r"\p{Lu}+",
    "symbol": r"[^\p{L}\p{M}\p{N}\s]+",
    "whitespace": r"\s+",
}


@dataclass(frozen=True, kw_only=True)
class Words(Filter):
    """Words in the answers (assistant turns: the caption, the document), >= 0.

    A word is a run of letters, marks, digits and underscores, inner apostrophes and hyphens included ("don't" is one);
    of Han, Hiragana and Katakana each character is a word, as word processors count, since nothing separates their
    words. Thai, Lao, Khmer and Burmese are not separated either but cannot be counted by character: there a run between
    spaces is one word.

    Source: DataComp basic filtering, arXiv:2304.14108 (more than 2 words). VideoLLaMA3 does not disclose its text
    filters.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return answers(batch).str.count_matches(_WORD).cast(pl.Float64)


@dataclass(frozen=True, kw_only=True)
class CharacterRatio(Filter):
    """Share of the answers' characters that are of one class, in [0, 1]. NaN where there is no character.

    Classes, by Unicode category: alphabetic = letters and marks; digit = numbers; symbol = neither letter, mark, number
    nor white space; whitespace; these four add up to 1. uppercase = upper-case letters, a part of alphabetic. Menus,
    tables, codes and shouting stand out.

    Source: the measures of Data-Juicer, arXiv:2309.02033 (alphanumeric and special-character ratios); its cuts are per
    corpus, so there is no default here.
    """

    characters: Characters

    @property
    def name(self) -> str:
        """The class of characters is part of the name: several of these stand in one branch."""
        return f"CharacterRatio[{self.characters}]"

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        said = answers(batch)
        total = said.str.len_chars().cast(pl.Float64)
        # Cutting whole runs out is several times faster than counting single characters.
        return (total - said.str.replace_all(_CLASSES[self.characters], "").str.len_chars()) / total
