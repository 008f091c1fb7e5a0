"""MinHashDedup: signatures against datasketch, shingles against sets of strings, recall against the LSH curve."""

import os
import random
import unicodedata
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.batch import Batch
from curation.operator import RecipeError
from curation.sample import Origin, Sample, document_turns, make_sample
from curation.select import MinHashDedup
from curation.select.minhash import _binary
from curation.select.shingles import shingle_hashes
from curation.select.signatures import permutations, signatures

# Characters of every kind that the cutting tells apart.
TEXTS = st.text(
    st.one_of(
        st.sampled_from(
            " \n.,-_'aAbBzZ019éÉßŁπДя«»©“”—…、。漢字かなカナ한국ไทยລາວမြန်ខ្មែរ\U0001f600\U00020000ﬁ①\u0301\u0130"
        ),
        st.characters(codec="utf-8"),
    ),
    max_size=60,
)


FROZEN_WORDS = [
    9861492543260177951,
    12298081068890606906,
    2135790697665955245,
    12824326372090539187,
    15878281548721508741,
    11614213628525319510,
]
FROZEN_CHARACTERS = [6538151684552215906, 18122084353017336667, 3710771572461540871]


def words_of(text: str) -> list[str]:
    """Words by code point: what the kernels find in bytes."""
    words, inside = [], False
    for character in unicodedata.normalize("NFKC", text).casefold():
        code = ord(character)
        own = 0x3040 <= code < 0xA000 or 0xE00 <= code < 0xF00 or 0x1000 <= code < 0x1080 or 0x1780 <= code < 0x1800
        between = 0x80 <= code < 0xC0 or 0x2000 <= code < 0x2080 or 0x3000 <= code < 0x3040
        between |= code < 0x80 and not (character.isalnum() or character == "_")
        if not between:
            if inside and not own:
                words[-1] += character
            else:
                words.append(character)
        inside = not (between or own)
    return words


def shingles_of(text: str, unit: str, size: int) -> list[str]:
    units = words_of(text) if unit == "words" else list(" ".join(words_of(text)))
    joint = " " if unit == "words" else ""
    return [joint.join(units[i : i + size]) for i in range(max(1, len(units) - size + 1))] if units else []


def of_datasketch(shingles: list[str], *, num_perm: int = 128, seed: int = 1) -> np.ndarray:
    sketch = MinHash(num_perm, seed)
    sketch.update_batch([shingle.encode() for shingle in shingles])
    return sketch.hashvalues


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(TEXTS, max_size=4), st.sampled_from(["words", "characters"]), st.integers(1, 6))
def test_signatures_equal_datasketch_for_any_text(texts: list[str], unit: str, size: int) -> None:
    select = MinHashDedup(unit=unit, size=size, hashes="datasketch", num_perm=16, seed=7, bands=(4, 4))
    ours, has_words = select.signatures(texts)
    assert has_words.tolist() == [bool(shingles_of(text, unit, size)) for text in texts]
    for text, row in zip(texts, ours, strict=True):
        assert np.array_equal(row, of_datasketch(shingles_of(text, unit, size), num_perm=16, seed=7))


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.skipif("VL3_CORPUS" not in os.environ, reason="VL3_CORPUS names no corpus")
def test_signatures_equal_datasketch_on_the_corpus() -> None:
    files = sorted(Path(os.environ["VL3_CORPUS"]).glob("text-*.parquet"))
    texts = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    texts = [text[:1500] for text in texts[:: len(texts) // 5000][:5000]]  # the reference takes its time
    ours, _ = MinHashDedup(hashes="datasketch").signatures(texts)
    theirs = np.stack([of_datasketch(shingles_of(text, "words", 5)) for text in texts])
    assert len(ours) == 5000
    assert np.array_equal(ours, theirs)


def test_a_row_is_a_signature_of_datasketch() -> None:
    row = MinHashDedup(hashes="datasketch").signatures(["a dog runs over the green grass"])[0][0]
    restored = MinHash(hashvalues=row, seed=1, scheme="affine32")
    other = MinHash(128, 1)
    other.update_batch([b"a dog runs over the", b"dog runs over the green", b"runs over the green grass"])
    assert restored == other
    assert np.array_equal(np.stack(permutations(128, 1)), other.permutations)


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from(["words", "characters"]), st.integers(1, 6))
def test_fast_hashes_are_equal_where_shingles_are(texts: list[str], unit: str, size: int) -> None:
    hashes, bounds = shingle_hashes(texts, size=size, words=unit == "words")
    names = [name for text in texts for name in shingles_of(text, unit, size)]
    assert len(hashes) == len(names) == bounds[-1]
    assert len(set(zip(hashes.tolist(), names, strict=True))) == len(set(names)) == len(set(hashes.tolist()))


def test_every_character_folds_as_python_folds_it() -> None:
    """Alone between two letters, all of Unicode; accents and other joining characters with it."""
    texts = [f"a{chr(code)}B" for code in range(0x80, 0x30000) if not 0xD800 <= code < 0xE000]
    hashes, bounds = shingle_hashes(texts, size=1, words=True)
    folded = [" ".join(words_of(text)) for text in texts]
    theirs, their_bounds = shingle_hashes(folded, size=1, words=True)
    assert np.array_equal(hashes, theirs)
    assert np.array_equal(bounds, their_bounds)
    assert np.diff(bounds).tolist() == [len(text.split(" ")) for text in folded]


def test_fast_hashes_never_change() -> None:
    """Signatures are kept and compared across versions: these values may change only with the operator's VERSION."""
    texts = ["The quick brown fox jumps over the lazy dog.", "Ünïcode, 漢字 und internationalization"]
    assert shingle_hashes(texts, size=5, words=True)[0].tolist() == FROZEN_WORDS
    assert shingle_hashes(["abcdefghij"], size=8, words=False)[0].tolist() == FROZEN_CHARACTERS


def planted(jaccard: np.ndarray, *, shingles: int, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Pairs of signatures of sets that overlap so much; ids so that a pair's second is never the survivor. Returns the true values."""
    generator = np.random.default_rng(seed)
    common = np.round(2 * shingles * jaccard / (1 + jaccard)).astype(int)
    first = generator.integers(0, 1 << 32, (len(jaccard), shingles), dtype=np.uint32)
    second = generator.integers(0, 1 << 32, (len(jaccard), shingles), dtype=np.uint32)
    shared = np.arange(shingles) < common[:, None]
    both = np.concatenate([first, np.where(shared, first, second)])
    bounds = np.arange(0, both.size + 1, shingles)
    values = signatures(both.ravel().astype(np.uint64) << 32, bounds, *permutations(128, 1))
    ids = [f"{number:032x}" for number in range(len(both))]
    cells = _binary(values, np.ones(len(both), dtype=bool))
    return pl.DataFrame({"id": ids, "minhash": cells}), common / (2 * shingles - common)


@pytest.mark.parametrize("jaccard", [0.7, 0.8])
def test_recall_meets_the_curve_and_precision_is_kept(jaccard: float) -> None:
    select = MinHashDedup(jaccard=jaccard)
    bands, rows = select.banding
    count = 4000
    for level in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        table, true = planted(np.full(count, level), shingles=150, seed=int(100 * level))
        dropped = select.choose(table)
        assert [int(better, 16) + count for better in dropped["duplicate_of"]] == [int(i, 16) for i in dropped["id"]]
        recall, predicted = len(dropped) / count, (1 - (1 - true**rows) ** bands).mean()
        # Of pairs at 0.5 some are estimated just below `low`; elsewhere only chance is left: 2.5 standard errors.
        chance = 2.5 * np.sqrt(predicted * (1 - predicted) / count)
        assert recall >= predicted - 0.01 - chance
        assert recall <= predicted + 0.01 + chance


def test_survivors_do_not_depend_on_order_and_every_dropped_text_is_like_its_survivor() -> None:
    generator = random.Random(3)
    texts = []
    for _ in range(60):
        words = [f"w{generator.randrange(5000)}" for _ in range(120)]
        for _ in range(generator.randrange(1, 8)):  # a chain: each is an edit of the one before
            words = list(words)
            for _ in range(generator.randrange(6)):
                words[generator.randrange(len(words))] = f"w{generator.randrange(5000)}"
            texts.append(" ".join(words))
    select = MinHashDedup(size=3, jaccard=0.7, low=0.6, best="Quality")
    table = select.signature(Batch([sample(text, number) for number, text in enumerate(texts)]))
    table = table.with_columns(
        id=pl.Series([f"{generator.getrandbits(128):032x}" for _ in texts]),
        Quality=pl.Series([generator.choice([1.0, 2.0, None, float("nan")]) for _ in texts]),
    )
    dropped = select.choose(table)
    sets = {i: set(shingles_of(t, "words", 3)) for i, t in zip(table["id"], texts, strict=True)}
    scores = {i: -1.0 if s is None or s != s else s for i, s in table.select("id", "Quality").iter_rows()}
    assert len(dropped) > 100
    gone = set(dropped["id"])
    for name, survivor, similarity in dropped.iter_rows():
        assert survivor not in gone
        assert (-scores[survivor], survivor) < (-scores[name], name)
        jaccard = len(sets[name] & sets[survivor]) / len(sets[name] | sets[survivor])
        assert jaccard > 0.5
        assert abs(similarity - jaccard) < 0.2  # 4.5 standard errors of 128 permutations
    for seed in range(3):
        assert select.choose(table.sample(fraction=1, shuffle=True, seed=seed)).equals(dropped)


def sample(text: str, number: int) -> Sample:
    origin = Origin(source="test", locator=f"file#{number}", name=str(number))
    return make_sample(origin, document_turns(text))


def dropped_texts(texts: list[str], **fields: object) -> list[str]:
    select = MinHashDedup(**fields)  # pyright: ignore[reportArgumentType]
    samples = [sample(text, number) for number, text in enumerate(texts)]
    table = select.signature(Batch(samples)).with_columns(id=pl.Series([s.id for s in samples]))
    names = {s.id: s.text() for s in samples}
    return sorted(names[name] for name in select.choose(table)["id"])


def test_empty_texts_are_nobodys_duplicates_and_short_ones_only_their_equals() -> None:
    texts = ["", " ", "...", "", "A dog.", "a dog", "a cat", "A DOG!", "dog"]
    assert [text.lower().strip(".!") for text in dropped_texts(texts)] == ["a dog", "a dog"]


def test_an_empty_batch_has_no_signatures() -> None:
    table = MinHashDedup().signature(Batch([]))
    assert table.schema == {"minhash": pl.Binary}
    assert MinHashDedup().choose(table.with_columns(id=pl.lit("a"))).is_empty()


def test_a_base_stands_before_all_others_and_is_never_dropped(tmp_path: Path) -> None:
    old = ["the first text says that the sun is warm and bright", "the second text says nothing at all about the sun"]
    new = [old[1] + "!", "a third text speaks of rain and of long cold nights"]
    select = MinHashDedup()
    batches = [Batch([sample(text, 10 * k + n) for n, text in enumerate(texts)]) for k, texts in enumerate((old, new))]
    tables = [select.signature(b).with_columns(id=pl.Series([s.id for s in b.samples])) for b in batches]
    assert select.write_base(iter([tables[0]]), tmp_path / "base") == 2
    later = MinHashDedup(base=str(tmp_path / "base"))
    dropped = later.choose(tables[1])
    assert dropped.rows() == [(tables[1]["id"][0], tables[0]["id"][1], 1.0)]
    assert later.settings() != select.settings()
    with pytest.raises(RecipeError, match=r"other settings: size 5 there, 4 here"):
        MinHashDedup(size=4, base=str(tmp_path / "base")).choose(tables[1])
    with pytest.raises(RecipeError, match=r"no readable base\.json"):
        MinHashDedup(base=str(tmp_path)).choose(tables[1])


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(RecipeError, match="20 bands of 10 rows need 200 of 128"):
        MinHashDedup(bands=(20, 10))
    with pytest.raises(RecipeError, match="jaccard 1"):
        MinHashDedup(jaccard=1.0)
