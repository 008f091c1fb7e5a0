"""Filters: each measure against an independent count, and what a failing medium costs."""

import unicodedata

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.batch import Batch
from curation.filters import AspectRatio, CharacterRatio, Decodable, Duration, Frames, ShortSide, Words
from curation.media.probe import probe_media
from curation.operator import Filter
from curation.sample import Media, Origin, Reference, Sample, caption_turns, document_turns, make_sample
from tests.curation import hostile

GRADIENT = hostile.clip(frames=24)


def sample(*media: Media, caption: str = "a caption", number: int = 0) -> Sample:
    origin = Origin(source="test", locator=f"file#{number}", name=str(number))
    turns = caption_turns(caption, [medium.kind for medium in media]) if media else document_turns(caption)
    return make_sample(origin, turns, media)


def sized(width: int, height: int) -> Media:
    return Media(kind="image", width=width, height=height, format="png")


def image(data: bytes) -> Media:
    return Media(kind="image", data=data)


def video(data: bytes) -> Media:
    return Media(kind="video", data=data)


def measured(operator: Filter, *samples: Sample) -> list[float | None]:
    values = operator.open()(Batch(samples))
    assert isinstance(values, pl.Series)
    return values.to_list()


@given(st.lists(st.lists(st.tuples(st.integers(1, 9_000), st.integers(1, 9_000)), max_size=4), min_size=1, max_size=5))
def test_shape_of_the_worst_image_decides(sizes: list[list[tuple[int, int]]]) -> None:
    samples = [sample(*(sized(*size) for size in media), number=number) for number, media in enumerate(sizes)]
    ratios = [max((max(size) / min(size) for size in media), default=None) for media in sizes]
    sides = [min((min(size) for size in media), default=None) for media in sizes]
    assert measured(AspectRatio(), *samples) == ratios
    assert measured(ShortSide(), *samples) == sides


def test_unknown_size_is_never_kept() -> None:
    unknown = sample(sized(100, 100), sized(0, 0))
    assert measured(AspectRatio(), unknown) == [float("inf")]
    assert measured(ShortSide(), unknown) == [0.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("  \n ", 0),
        ("A dog's well-known bone.", 4),
        ("don\u2019t \u2014 stop!", 2),
        ("\u4e00\u53ea\u72d7\u5728\u8349\u5730\u4e0a\u3002", 7),
        ("\u3053\u308c\u306fOpenAI\u306e\u72ac\u3067\u3059", 8),
        ("\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4", 2),
        ("\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", 2),
        ("\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440", 2),
        ("3.5 km, 10:30", 5),
        ("... --- !!! \U0001f600", 0),
    ],
)
def test_words_are_counted_in_any_script(text: str, words: int) -> None:
    assert measured(Words(), sample(caption=text)) == [words]


def test_words_leave_out_questions_and_places_of_media() -> None:
    assert measured(Words(), sample(sized(9, 9), caption="two words")) == [2.0]


IN_CLASS = {
    "alphabetic": lambda c: unicodedata.category(c)[0] in "LM",
    "digit": lambda c: unicodedata.category(c)[0] == "N",
    "uppercase": lambda c: unicodedata.category(c) == "Lu",
    "whitespace": lambda c: (
        c.isspace() and c not in "\x1c\x1d\x1e\x1f"
    ),  # separators that Unicode does not call white space
}
# Characters assigned since Unicode 3.2, whose categories every library agrees on.
SETTLED = st.characters(exclude_categories=["Cs", "Cn", "Co"]).filter(
    lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn"
)


@given(st.text(SETTLED, max_size=60))
def test_character_ratios_equal_unicode_categories(text: str) -> None:
    one = sample(caption=text)
    said = one.answers()  # look-alikes of tags are broken apart
    known = {}
    for characters, belongs in IN_CLASS.items():
        (known[characters],) = measured(CharacterRatio(characters=characters), one)
        expected = np.mean([unicodedata.ucd_3_2_0.category(c) and belongs(c) for c in said]) if said else np.nan
        np.testing.assert_allclose(known[characters], expected)
    (symbols,) = measured(CharacterRatio(characters="symbol"), one)
    total = symbols + known["alphabetic"] + known["digit"] + known["whitespace"]
    np.testing.assert_allclose(total, 1.0 if said else np.nan)


def test_ratios_of_one_branch_have_different_names() -> None:
    names = {CharacterRatio(characters=c).name for c in ("alphabetic", "digit", "uppercase", "symbol", "whitespace")}
    assert len(names) == 5
    assert Frames().measure_settings() != Frames(count="declared").measure_settings()
    assert Frames(low=3).measure_settings() == Frames(low=9).measure_settings()


def test_decodable_fails_only_the_samples_that_hold_a_bad_medium() -> None:
    good, cut = hostile.jpeg(), hostile.jpeg()[:900]
    samples = [
        sample(image(good), number=0),
        sample(image(good), image(cut), number=1),
        sample(number=2),
        sample(video(GRADIENT), number=3),
        sample(video(hostile.clip(frames=60, container="matroska")[:2_000]), number=4),
        sample(Media(kind="image", reference=Reference(uri="/nowhere/a.jpg")), number=5),
    ]
    batch = Batch(samples)
    assert Decodable().measure(batch).to_list() == [1.0, None, None, 1.0, None, None]
    assert sorted(batch.errors) == [1, 4, 5]
    assert "image 2 of 2: jpeg" in str(batch.errors[1])
    assert "of 60 declared frames decode" in str(batch.errors[4])
    assert "/nowhere/a.jpg" in str(batch.errors[5])
    assert batch.counters["media_decoded"] == 6


def test_video_measures_equal_what_was_written() -> None:
    short, long = hostile.clip(frames=6), hostile.clip(frames=36)
    probed = [probe_media(video(data)) for data in (short, long)]
    samples = [sample(*probed, number=0), sample(sized(9, 9), number=1), sample(probed[0], number=2)]
    assert measured(Duration(), *samples) == [3.0, None, 0.5]
    assert measured(Frames(), *samples) == [6, None, 6]
    assert measured(Frames(count="declared"), *samples) == [6, None, 6]


def test_duration_that_no_header_gives_is_measured() -> None:
    assert measured(Duration(), sample(video(GRADIENT))) == [2.0]  # never probed


def test_clip_cut_short_has_fewer_frames_than_it_declares() -> None:
    data = hostile.clip(frames=60, container="matroska")
    medium = probe_media(video(data[: len(data) // 2]))
    assert measured(Frames(count="declared"), sample(medium)) == [60]
    (frames,) = measured(Frames(), sample(medium))
    assert frames is not None
    assert 5 < frames < 40


def test_frames_of_a_clip_without_any_is_the_error_of_its_sample() -> None:
    batch = Batch([sample(video(hostile.broken_frames(GRADIENT))), sample(video(GRADIENT), number=1)])
    assert Frames().measure(batch).to_list() == [None, 24.0]
    assert list(batch.errors) == [0]
