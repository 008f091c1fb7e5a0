"""Conversation filters against conversations with one thing wrong."""

import pytest

from curation.filters import BoxesOutOfRange, EmptyAnswers, Exchanges, StrayPlaceholders, TurnsOutOfOrder
from tests.curation.text_samples import document, measure, talk

U, A, S = ("user", "What?"), ("assistant", "A dog."), ("system", "Be brief.")


@pytest.mark.parametrize(
    ("turns", "wrong", "answers"),
    [
        ([U, A], 0, 1),
        ([S, U, A, U, A], 0, 2),
        ([A], 0, 1),
        ([U, U, A], 1, 1),
        ([U, A, A], 1, 2),
        ([A, U, A], 1, 2),
        ([U, A, U], 1, 1),
        ([U, S, A], 1, 1),
        ([U], 1, 0),
        ([S], 1, 0),
    ],
)
def test_turns_must_alternate(turns: list[tuple[str, str]], wrong: int, answers: int) -> None:
    assert measure(TurnsOutOfOrder(), talk(*turns)) == [wrong]
    assert measure(Exchanges(), talk(*turns)) == [answers]


def test_streams_have_an_order_of_their_own() -> None:
    assert measure(TurnsOutOfOrder(), talk(("stream", ""), A, A, times=True)) == [None]


def test_stray_placeholders_are_counted() -> None:
    samples = [
        talk(("user", "<image>\nWhat?"), A, media=1),
        talk(("user", "What?"), A, media=1),
        talk(("user", "<image> and <image>"), A, media=1),
        document("Put <image> here, and <|image_pad|> or [IMG]"),
    ]
    assert measure(StrayPlaceholders(), *samples) == [0, 1, 1, 3]


def test_empty_answers_are_counted() -> None:
    samples = [
        talk(U, A),
        talk(U, ("assistant", " ... "), U, ("assistant", "<image>"), media=1),
        talk(U),
        talk(U, ("assistant", "犬")),
    ]
    assert measure(EmptyAnswers(), *samples) == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("a dog", None),
        ("<box>[0, 10, 1000, 999]</box>", 0),
        ("[[121, 81, 540, 636]] and (1,2,3,4)", 0),
        ("[10, 20, 5, 30]", 1),
        ("[1, 2, 1, 4] [0, 0, 1001, 5] [-1, 0, 4, 4] [0, 0, 5, 5]", 3),
        ("[1, 2, 3]", None),
    ],
)
def test_boxes_must_lie_in_the_picture(text: str, bad: int | None) -> None:
    assert measure(BoxesOutOfRange(), talk(U, ("assistant", text))) == [bad]


def test_scale_of_boxes_is_the_corpus_one() -> None:
    sample = talk(U, ("assistant", "[0.1, 0.2, 0.5, 1.2]"))
    assert measure(BoxesOutOfRange(scale=1), sample) == [1]
    assert measure(BoxesOutOfRange(), sample) == [0]
