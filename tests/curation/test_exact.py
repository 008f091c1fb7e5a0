"""ExactDedup: against a dictionary, whatever the order of rows."""

import hashlib
import io
import random
import unicodedata

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from curation.batch import Batch
from curation.operator import OperatorError
from curation.sample import Media, Origin, Reference, Sample, caption_turns, document_turns, make_sample
from curation.select import ExactDedup
from curation.select.exact import normalize_for_comparison
from curation.select.partitioned import PartitionedSelect

SCORES = st.one_of(
    st.none(), st.sampled_from([float("nan"), float("inf"), float("-inf")]), st.integers(0, 3).map(float)
)
ROWS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 4)), SCORES), max_size=30)


def table_of(rows: list[tuple[int | None, float | None]]) -> pl.DataFrame:
    """Ids and keys that share one half, so that both halves matter."""
    keys = [None if key is None else (key // 2, key % 2) for key, _ in rows]
    return pl.DataFrame(
        {
            "id": [hashlib.md5(bytes([number])).hexdigest() for number in range(len(rows))],
            "key_high": [None if key is None else key[0] for key in keys],
            "key_low": [None if key is None else key[1] for key in keys],
            "Score": [score for _, score in rows],
        },
        schema={"id": pl.String, "key_high": pl.UInt64, "key_low": pl.UInt64, "Score": pl.Float64},
    )


def by_hand(table: pl.DataFrame, best: str | None) -> dict[str, str]:
    groups: dict[tuple[int, int], list[tuple[float, str]]] = {}
    for row in table.iter_rows(named=True):
        if row["key_high"] is not None:
            score = row["Score"] if best else 0.0
            score = float("-inf") if score is None or score != score else score
            groups.setdefault((row["key_high"], row["key_low"]), []).append((-score, row["id"]))
    return {name: min(group)[1] for group in groups.values() for _, name in group if name != min(group)[1]}


@settings(deadline=None)  # the first call compiles
@given(ROWS, st.sampled_from([None, "Score"]), st.randoms())
def test_survivors_equal_those_of_a_dictionary_in_any_order(
    rows: list, best: str | None, shuffle: random.Random
) -> None:
    table = table_of(rows)
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    chosen = ExactDedup(best=best).choose(table)
    assert dict(chosen.select("id", "duplicate_of").iter_rows()) == by_hand(table, best)
    assert chosen.sort("id").equals(ExactDedup(best=best).choose(table[order]).sort("id"))
    # The way that is taken in partitions agrees.
    assert PartitionedSelect.choose_and_tell(ExactDedup(best=best), table)[0].equals(chosen.sort("id"))
    assert chosen.schema == {"id": pl.String, "duplicate_of": pl.String, "similarity": pl.Float64}


def sample(text: str, *media: bytes, number: int) -> Sample:
    origin = Origin(source="test", locator=f"file#{number}", name=str(number))
    turns = caption_turns(text, ["image"] * len(media)) if media else document_turns(text)
    return make_sample(origin, turns, [Media(kind="image", data=data) for data in media])


def groups(by: str, samples: list[Sample]) -> list[set[int]]:
    """Indices of samples with equal keys, groups of one left out."""
    keys = ExactDedup(by=by).signature(Batch(samples)).rows()
    assert all((high is None) == (low is None) for high, low in keys)
    found = {key: {index for index, other in enumerate(keys) if other == key} for key in keys if key[0] is not None}
    return sorted((group for group in found.values() if len(group) > 1), key=min)


SAMPLES = [
    sample("A dog.", b"dog", number=0),
    sample("a  DOG.\n", b"dog", number=1),
    sample("A dog.", b"cat", number=2),
    sample("A cat.", b"dog", number=3),
    sample("\uff21 dog.", number=4),
    sample("A dog.", b"dog", b"cat", number=5),
    sample("A dog.", b"cat", b"dog", number=6),
    sample("", number=7),
    sample(" ", number=8),
    sample("", b"dog", number=9),
    sample("", b"dog", number=10),
]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("content", [{0, 1}, {9, 10}]),
        ("bytes", [{0, 1, 3, 9, 10}]),
        ("text", [{0, 1, 2, 4, 5, 6}]),
        ("caption", [{0, 1, 2, 4, 5, 6}]),
        ("conversation", [{0, 1, 2}, {5, 6}]),
    ],
)
def test_key_covers_what_it_says(by: str, expected: list[set[int]]) -> None:
    assert groups(by, SAMPLES) == expected


def test_key_does_not_depend_on_the_batch() -> None:
    whole = ExactDedup().signature(Batch(SAMPLES))
    apart = pl.concat([ExactDedup().signature(Batch([one])) for one in SAMPLES])
    assert whole.equals(apart)


def encoded(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", **options)
    return file.getvalue()


def test_equal_pixels_are_found_in_different_files() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    other = pixels.copy()
    other[20, 30, 1] ^= 1
    comment = PngInfo()
    comment.add_text("comment", "a copy")
    files = [
        encoded(pixels),
        encoded(pixels, compress_level=0, pnginfo=comment),
        encoded(other),
        encoded(pixels.reshape(60, 40, 3)),
    ]
    samples = [sample("a", file, number=number) for number, file in enumerate([*files, b"no picture"])]
    assert groups("bytes", samples) == []
    batch = Batch(samples)
    keys = ExactDedup(by="pixels").signature(batch).rows()
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    assert list(batch.errors) == [4]
    assert keys[4] == (None, None)


def test_media_without_a_digest_are_read_and_their_failure_is_the_samples() -> None:
    origin = Origin(source="test", locator="file#0", name="0")
    missing = Media(kind="image", reference=Reference(uri="/nowhere/a.jpg"))
    batch = Batch([make_sample(origin, caption_turns("a"), [missing]), SAMPLES[0]])
    keys = ExactDedup(by="bytes").signature(batch)
    assert keys["key_high"].is_null().to_list() == [True, False]
    assert list(batch.errors) == [0]


def test_missing_score_stops_the_run_and_is_named() -> None:
    with pytest.raises(OperatorError, match=r"no score 'Aesthetic', only id, key_high"):
        ExactDedup(best="Aesthetic").choose(table_of([]))


@given(st.text(max_size=40))
def test_comparison_ignores_form_case_and_space(text: str) -> None:
    once = normalize_for_comparison(text)
    assert normalize_for_comparison(once) == once
    assert normalize_for_comparison(unicodedata.normalize("NFD", text)) == once
    assert normalize_for_comparison(f"  {text}\n") == once
