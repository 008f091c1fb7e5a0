"""Statistics: the columns that text filters are computed from, once per batch."""

from functools import cache

import numpy as np
import polars as pl

from curation.batch import Batch

_TAG = r"<(?:image|video)>"


def answers(batch: Batch) -> pl.Series:
    """Assistant turns without media tags, which are places and not text."""
    return batch.captions().str.replace_all(_TAG, "")


def line_statistics(batch: Batch) -> pl.DataFrame:
    """What the lines of each answer are like: `lines.LINE_COLUMNS`."""
    return batch.shared("text_lines", _line_statistics)


def word_statistics(batch: Batch) -> pl.DataFrame:
    """What the words of each answer are like and how they repeat: `ngrams.WORD_COLUMNS`."""
    return batch.shared("text_words", _word_statistics)


def c4_statistics(batch: Batch) -> pl.DataFrame:
    """What C4's rules leave of each answer: `sentences`, and lines with `lorem_ipsum` and with `curly_brackets`."""
    return batch.shared("text_c4", _c4_statistics)


@cache
def warm_up() -> None:
    """Compile what is not compiled yet, so that the first batch does not wait for it."""
    texts = ["One line of words. And another sentence."]
    measure_texts(texts)
    c4_texts(texts)


def measure_texts(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """LINE_COLUMNS and WORD_COLUMNS of each text."""
    return lines_of(texts), words_of(texts)


def lines_of(texts: list[str]) -> np.ndarray:
    """LINE_COLUMNS of each text."""
    # Here and below: numba takes half a second to import, and only passes that measure text need it.
    from curation.text.characters import character_table
    from curation.text.lines import measure_lines
    from curation.text.tokenizer import code_points

    return measure_lines(*code_points(texts), character_table())


def words_of(texts: list[str]) -> np.ndarray:
    """WORD_COLUMNS of each text."""
    from curation.text.characters import character_table
    from curation.text.ngrams import measure_words
    from curation.text.tokenizer import code_points, tokenize

    codes, offsets = code_points(texts)
    tokens = tokenize(codes, offsets)
    return measure_words(codes, tokens.starts, tokens.ends, tokens.texts, character_table())


def c4_texts(texts: list[str]) -> np.ndarray:
    """Sentences in the lines that C4 keeps, its lines with "lorem ipsum", its lines with a curly bracket, of each text."""
    from curation.text.characters import character_table
    from curation.text.lines import count_sentences, keep_c4_lines
    from curation.text.tokenizer import code_points, tokenize

    table = character_table()
    kept, begins, owners, faults = keep_c4_lines(*code_points(texts), table)
    tokens = tokenize(kept, begins)
    sentences = count_sentences(kept, begins, tokens.starts, tokens.ends, tokens.texts, table)
    return np.column_stack([np.bincount(owners, weights=sentences, minlength=len(texts)), faults])


def _line_statistics(batch: Batch) -> pl.DataFrame:
    from curation.text.lines import LINE_COLUMNS

    return pl.DataFrame(lines_of(answers(batch).to_list()), schema=list(LINE_COLUMNS))


def _word_statistics(batch: Batch) -> pl.DataFrame:
    from curation.text.ngrams import WORD_COLUMNS

    return pl.DataFrame(words_of(answers(batch).to_list()), schema=list(WORD_COLUMNS))


def _c4_statistics(batch: Batch) -> pl.DataFrame:
    return pl.DataFrame(c4_texts(answers(batch).to_list()), schema=["sentences", "lorem_ipsum", "curly_brackets"])
