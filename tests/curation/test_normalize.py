"""NormalizeTurns: one form for every turn, media where they were, and no new media."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.sample import Media, Origin, Sample, SampleError, Turn, check_structure
from curation.transforms.normalize import NormalizeTurns, normalize_text

TAGS = re.compile(r"<(?:image|video)>")
# Everything that has gone wrong in such code before: controls inside tags, combining marks after them, odd line ends.
ESCAPED = r"""<image> <video> <im age> < > image \0 \x85 \r \n \r\n \u2028 \x0c \t \x20 \xa0 \u0338 \u0301 e A \u212b
    \ufeff \u3000 word \u1100\u1161 \u0344 \x1c"""
PIECES = st.sampled_from([piece.encode().decode("unicode_escape") for piece in ESCAPED.split()])
TEXTS = st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=25).map("".join))
ROLES = st.sampled_from(["system", "user", "assistant", "stream"])
TIMES = st.sampled_from([None, None, 1.0, 2.0])


def sample(*turns: tuple[str, str] | tuple[str, str, float | None]) -> Sample:
    made = tuple(Turn(role=turn[0], text=turn[1], time=turn[2] if len(turn) > 2 else None) for turn in turns)
    kinds = [tag[1:-1] for turn in made for tag in TAGS.findall(turn.text)]
    media = tuple(Media(kind=kind) for kind in kinds)
    return Sample(id="0" * 32, turns=made, media=media, origin=Origin(source="s", locator="l", name="n"))


def texts(*turns: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in NormalizeTurns().rewrite(sample(*turns)).turns]


@given(TEXTS)
def test_text_is_normal_once_and_for_all(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once
    assert TAGS.findall(once) == TAGS.findall(text)
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in once)
    assert all(line == line.rstrip() for line in once.split("\n"))
    assert "\n\n\n" not in once
    assert all(unicodedata.is_normalized("NFC", piece) for piece in TAGS.split(once))


@given(st.lists(st.tuples(ROLES, TEXTS, TIMES), min_size=1, max_size=6))
def test_rewriting_is_idempotent_and_keeps_media_in_order(turns: list[tuple[str, str, float | None]]) -> None:
    before = sample(*turns)
    try:
        after = NormalizeTurns().rewrite(before)
    except SampleError:
        return
    check_structure(after.turns, before.media)
    assert NormalizeTurns().rewrite(after) == after
    assert any(turn.role == "assistant" and turn.text for turn in after.turns)
    neighbours = zip(after.turns, after.turns[1:], strict=False)
    assert all((a.role, a.time) != (b.role, b.time) for a, b in neighbours)


def test_text_takes_one_form() -> None:
    assert normalize_text(" \ufeffe\u0301a\x07 \r\n\r\n\r\n\r\n b\u00a0\x85c\t\n") == "\u00e9a\n\n b\nc"


def test_tag_hidden_by_a_control_character_does_not_become_one() -> None:
    assert normalize_text("<im\0age> and <image>") == "< image> and <image>"


def test_tag_before_a_combining_stroke_stays_a_tag() -> None:
    assert TAGS.findall(normalize_text("<image>\u0338")) == ["<image>"]


def test_neighbours_of_one_role_become_one_turn_unless_their_times_differ() -> None:
    assert texts(("user", "<image>"), ("user", "What?"), ("assistant", "A"), ("assistant", "dog.")) == [
        ("user", "<image>\nWhat?"),
        ("assistant", "A\ndog."),
    ]
    timed = [("user", "now", 1.0), ("assistant", "a", 1.0), ("assistant", "b", 2.0)]
    assert len(NormalizeTurns().rewrite(sample(*timed)).turns) == 3


def test_empty_turns_that_say_nothing_go() -> None:
    assert texts(("system", " "), ("user", "\n"), ("assistant", "text")) == [("assistant", "text")]
    assert texts(("user", "a"), ("system", "\t"), ("user", "b"), ("assistant", "c"))[0] == ("user", "a\nb")


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([("user", "<image>"), ("assistant", " \0\n")], r"answer \(turn 2 of 2\) is empty"),
        ([("user", "q"), ("assistant", "a"), ("user", " "), ("assistant", "b")], r"question \(turn 3 of 4\) is empty"),
        ([("user", "only a question")], "no answer in 1 turns"),
    ],
)
def test_sample_that_teaches_nothing_is_an_error(turns: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(SampleError, match=message):
        NormalizeTurns().rewrite(sample(*turns))
