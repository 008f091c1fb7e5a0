"""Caption and quality filters: planted junk is found, ordinary captions are not."""

import random
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.filters import (
    AltTextFillers,
    BoilerplateCharacters,
    CompressionRatio,
    FileNames,
    Perplexity,
    StockPhrases,
    TemplateOpenings,
    WordRepetition,
    WordsPerMegapixel,
)
from curation.operator import RecipeError
from curation.sample import Media, Sample, caption_turns
from curation.text import byte_model
from tests.curation.text_samples import ORIGIN, measure

ORDINARY = [
    "A brown dog runs across the beach.",
    "Two women share a picture book in 1998",
    "the logo of a bakery painted on a window",
    "Untitled oil painting by an unknown artist, 1870",
    "Screenshot of the settings page with three tabs",
    "Ein Mann liest die Zeitung.",
    "Boeing 747-400 at Heathrow",
    "IMG stands for image",
]
JUNK = {
    FileNames: ["IMG_0231.JPG", "DSC00042", "photo (3).png", "screenshot 2021-03-04", "20190304_1122", "a1b2c3d4e5f60718", "Image 12",
                "front-view_02", "WhatsApp Image 2020-05-05 at 10.11", "my holiday.jpeg"],
    AltTextFillers: ["image", "Logo", " the photo ", "icon 3", "click to enlarge", "IMAGES", "thumbnail #2", "[placeholder]", "no image"],
    TemplateOpenings: ["The image shows a dog.", "This photo depicts two men", "In this picture, we can see a car",
                       "Sure! Here is a caption: a cat", "in the video there is a bird"],
}  # fmt: skip


@pytest.mark.parametrize("operator", JUNK)
def test_junk_is_told_from_ordinary_captions(operator: type) -> None:
    junk = JUNK[operator]
    assert measure(operator(), *junk) == [1.0] * len(junk)
    assert measure(operator(), *ORDINARY) == [0.0] * len(ORDINARY)


def test_stock_phrases_are_counted() -> None:
    texts = [
        "Royalty-free stock photo of a cat | Shutterstock",
        "buy now at www.shop.example",
        "a cat on a sofa",
        "© Reuters",
    ]
    assert measure(StockPhrases(), *texts) == [3.0, 2.0, 0.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["Cat", "cat", "dog", "mouse", "1"]), min_size=1, max_size=20))
def test_repetition_is_the_share_of_words_seen_before(words: list[str]) -> None:
    lowered = [word.lower() for word in words]
    again = sum(word in lowered[:i] for i, word in enumerate(lowered))
    np.testing.assert_allclose(measure(WordRepetition(), ", ".join(words)), [again / len(words)])


def test_words_per_megapixel_follow_all_media() -> None:
    def sample(*sizes: tuple[int, int]) -> Sample:
        media = tuple(Media(kind="image", width=w, height=h) for w, h in sizes)
        return Sample(
            id="0" * 32, turns=caption_turns("four words of text", ["image"] * len(sizes)), media=media, origin=ORIGIN
        )

    values = measure(
        WordsPerMegapixel(), sample((1000, 1000)), sample((1000, 500), (1000, 1500)), sample((0, 0)), "no media"
    )
    assert values == [4.0, 2.0, float("inf"), None]


def test_compression_tells_copies_prose_and_noise_apart() -> None:
    rng = random.Random(3)
    noise = "".join(rng.choices(string.ascii_letters + string.digits, k=3000))
    prose = " ".join(" ".join(rng.sample(ORDINARY, 8)) for _ in range(2)) + "".join(
        rng.choices("etaoin shrdlu", k=1500)
    )
    copies, written, random_text, empty = measure(CompressionRatio(), "buy this now. " * 300, prose, noise, "")
    assert None not in (copies, written, random_text)
    assert copies < 0.05 < written < 0.7 < random_text  # type: ignore[operator]
    assert empty is None


def test_boilerplate_is_the_share_of_characters_in_its_lines() -> None:
    page = "Home | Sign in\nThe story goes on.\nWe use cookies to do so."
    share = (len("Home | Sign in") + len("We use cookies to do so.")) / len(page)
    assert measure(BoilerplateCharacters(), page, "The story goes on.") == [share, 0.0]
    np.testing.assert_equal(measure(BoilerplateCharacters(), ""), [np.nan])


def naive_bits(train: bytes, text: bytes) -> float:
    """The model's definition with dictionaries and no table."""
    bits = 0.0
    padded, known = [256] * 8 + list(text), [256] * 8 + list(train)
    for i in range(8, len(padded)):
        chance = 1 / 256
        for order in range(byte_model.ORDER):
            context = padded[i - order : i]
            places = [j for j in range(8, len(known)) if known[j - order : j] == context]
            hits = sum(known[j] == padded[i] for j in places)
            chance = (hits + byte_model.WEIGHT * chance) / (len(places) + byte_model.WEIGHT)
        bits -= np.log2(chance)
    return bits / len(text)


@settings(max_examples=60, deadline=None)
@given(st.text("abcä ", min_size=1, max_size=40), st.text("abcdä ", min_size=1, max_size=20))
def test_byte_model_equals_its_definition(train: str, text: str) -> None:
    (bits,) = byte_model.train([train]).bits_per_byte([text])
    np.testing.assert_allclose(bits, naive_bits(train.encode(), text.encode()), rtol=1e-9)


def test_perplexity_prefers_what_the_model_has_read(tmp_path: Path) -> None:
    path = tmp_path / "english.npz"
    byte_model.train(ORDINARY * 3).save(path)
    known, foreign, noise, empty = measure(
        Perplexity(model=str(path)), "A dog runs on the beach.", "Кот спит", "x9$#kQ!zz", ""
    )
    assert 1 < known < min(foreign, noise)  # type: ignore[operator,type-var]
    np.testing.assert_equal(empty, np.nan)


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_bytes(b"not a model")
    np.savez(tmp_path / "other.npz", contexts=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", format=np.array([object()], dtype=object))
    np.savez_compressed(tmp_path / "bomb.npz", contexts=np.zeros(20 << 20, np.uint32))
    for name in ("missing.npz", "text.npz", "other.npz", "pickle.npz", "bomb.npz"):
        with pytest.raises(RecipeError, match=name):
            Perplexity(model=str(tmp_path / name)).open()
