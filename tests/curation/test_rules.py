"""The published rules: every number against a naive reference, words against the rules they follow, the real corpus."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curation.batch import Batch
from curation.filters import C4, FINEWEB, GOPHER
from curation.text.characters import character_table
from curation.text.lines import keep_c4_lines as kept_by_kernel
from curation.text.tokenizer import code_points, tokenize
from curation.transforms.lines import keep_c4_lines
from tests.curation import reference_rules as reference
from tests.curation.text_samples import document

# Words that no affix rule cuts, so that splitting at white space gives the same words.
PLAIN = [
    "cat",
    "dogs",
    "Mouse",
    "1984",
    "the",
    "and",
    "of",
    "that",
    "#",
    "...",
    "…",
    "-",
    "•",
    ",",
    "naïve",
    "x2x",
    "{",
    '"',
]
GAPS = [" ", " ", " ", "\n", "\n\n", "\n\n\n", "\t", "  ", "\r\n", "\u2028"]
LINES = [
    "cat dogs mouse",
    "- cat",
    "• dogs ...",
    "mouse and cat .",
    "a longer line of more than thirty characters ?",
    " ",
    "cat …",
]
PLAIN_TEXTS = st.one_of(
    st.lists(st.tuples(st.sampled_from(PLAIN), st.sampled_from(GAPS)), max_size=60).map(
        lambda p: "".join(map("".join, p))
    ),
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\n", "\n\n"])), max_size=12).map(
        lambda p: "".join(map("".join, p))
    ),
)
PROSE = [
    "cat",
    "dogs sat.",
    "Why?",
    "end!",
    "[12]",
    "[edit]",
    "uses cookies",
    "JavaScript",
    "Lorem ipsum",
    "{",
    "mouse",
    "w" * 1001,
    ",",
]
PROSE_TEXTS = st.lists(st.lists(st.sampled_from(PROSE), max_size=6).map(" ".join), max_size=8).map("\n".join)
STOPS = ".?!"


def words_of(text: str) -> list[str]:
    tokens = tokenize(*code_points([text]))
    return [text[a:b] for a, b in zip(tokens.starts, tokens.ends, strict=True)]


def measured(rules, *texts: str) -> dict[str, list[float | None]]:
    batch = Batch([document(text) for text in texts])
    return {rule.name: rule.open()(batch).to_list() for rule in rules}


@settings(max_examples=60, deadline=None)
@given(st.lists(PLAIN_TEXTS, min_size=1, max_size=4))
@example([""])
@example(["\n", "cat\ncat", "\n\ncat\n\ncat\n"])
def test_gopher_and_fineweb_numbers_equal_the_reference(texts: list[str]) -> None:
    ours = measured((*GOPHER, *FINEWEB), *texts)
    for index, text in enumerate(texts):
        expected = reference.word_rules(text, text.split()) | reference.line_rules(text, STOPS)
        assert set(expected) == set(ours)
        for name, value in expected.items():
            np.testing.assert_allclose(ours[name][index], value, rtol=1e-12, err_msg=f"{name} of {text!r}")


@settings(max_examples=60, deadline=None)
@given(st.lists(PROSE_TEXTS, min_size=1, max_size=3))
def test_c4_numbers_equal_the_reference(texts: list[str]) -> None:
    ours = measured(C4, *texts)
    for index, text in enumerate(texts):
        assert {name: values[index] for name, values in ours.items()} == reference.c4_rules(text)


@settings(max_examples=200, deadline=None)
@given(st.one_of(PROSE_TEXTS, PLAIN_TEXTS, st.text(max_size=80)))
def test_transform_keeps_the_lines_that_the_measure_counts(text: str) -> None:
    codes, begins, _, _ = kept_by_kernel(*code_points([text]), character_table())
    bounds = pairwise(begins)
    lines = [codes[a:b].tobytes().decode("utf-32-le", "surrogatepass") for a, b in bounds]
    assert keep_c4_lines(text) == "\n".join(lines).strip()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("ab.'-:/@)(\u2019 1$", max_size=40), PLAIN_TEXTS))
def test_words_hold_every_character_but_white_space_in_order(text: str) -> None:
    words = words_of(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)


# What spaCy 3.8's English tokenizer says of these.
TOKENIZED = """
Don't|Do n't    They've|They 've    couldn't've|could n't 've    I'm|I 'm    cannot|can not    gonna|gon na    its|its
(Hello,|( Hello ,    "Stop!"|" Stop ! "    end...|end ...    wait...what|wait ... what    U.S.A.|U.S.A.    U.S.|U.S.    a.m.|a.m.
10am|10 am    Mr.|Mr.    (Mr.|( Mr.    word.|word .    A.|A.    IBM.|IBM .    $5.00|$ 5.00    10km|10 km    50%|50 %    3+4|3 + 4
well-known|well - known    1990-95|1990 - 95    and/or|and/or    either/or|either / or    a,b|a , b    1,000|1,000    x=y|x = y
http://example.com/a-b?c=d|http://example.com/a-b?c=d    www.example.com.|www.example.com .    me@example.org,|me@example.org ,
lower.Upper|lower . Upper    file.txt|file.txt    :-)|:-)    (hi:)|( hi :)    dog's|dog 's    dogs'|dogs '    <b>|< b >    #tag|# tag
--|--    a--b|a -- b    +1|+1    +a|+ a    C++|C++    'tis|' tis    ''|''    _x_|_ x _    25°C.|25 ° C .    ©2020|© 2020    e.g.|e.g.
"""


@pytest.mark.parametrize("case", [case for line in TOKENIZED.strip().splitlines() for case in line.split("    ")])
def test_words_are_cut_by_the_rules_of_english(case: str) -> None:
    chunk, words = case.split("|")
    assert words_of(f"before {chunk} after") == ["before", *words.split(), "after"]


def test_words_of_a_text_do_not_depend_on_its_neighbours() -> None:
    texts = ["Don't stop", "", "no end.", "  ", "(x)"]
    tokens = tokenize(*code_points(texts))
    counts = np.diff(tokens.texts).tolist()
    assert counts == [len(words_of(text)) for text in texts] == [3, 0, 3, 0, 3]


@pytest.mark.parametrize(
    "chunk", ["." * 50_000, "(" * 50_000, "a." * 25_000, "@" * 50_000, "[" * 50_000, "a-" * 25_000, "[1" * 25_000]
)
def test_hostile_text_costs_linear_time(chunk: str) -> None:
    text = f"{chunk} two three."
    assert "".join(words_of(text)) == text.replace(" ", "")
    assert all(values[0] is not None for values in measured((*GOPHER, *C4, *FINEWEB), text).values())


def test_sets_have_the_published_bounds() -> None:
    bounds = {rule.name: (rule.low, rule.high) for rule in (*GOPHER, *C4, *FINEWEB)}
    assert len(bounds) == len(GOPHER) + len(C4) + len(FINEWEB)
    assert bounds["SpokenWords"] == (50, 100_000)
    assert [bounds[f"TopNgram[{n}]"][1] for n in (2, 3, 4)] == [0.2, 0.18, 0.16]
    assert [bounds[f"DuplicateNgrams[{n}]"][1] for n in range(5, 11)] == [0.15, 0.14, 0.13, 0.12, 0.11, 0.1]


@pytest.mark.corpus
def test_numbers_equal_the_reference_on_real_texts() -> None:
    if "VL3_CORPUS" not in os.environ:
        pytest.skip("VL3_CORPUS is not set")
    rows = pq.read_table(Path(os.environ["VL3_CORPUS"], "text-00000.parquet"), columns=["text"])["text"].to_pylist()
    texts = [text for text in rows[::37] if len(text) < 3000][:120]
    ours = measured((*GOPHER, *FINEWEB), *texts)
    for index, text in enumerate(texts):
        plain = document(text).answers()  # look-alikes of tags are broken apart
        expected = reference.word_rules(plain, words_of(plain))
        for name, value in expected.items():
            if name not in ("SpokenWords", "MeanWordLength"):  # the reference knows fewer symbols than Unicode has
                np.testing.assert_allclose(ours[name][index], value, rtol=1e-12, err_msg=f"{name} of text {index}")
