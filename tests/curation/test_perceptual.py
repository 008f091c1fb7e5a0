"""PerceptualDedup: what looks the same is found, what does not is not."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pictures import clip, film, jpeg, photograph, sample_of
from PIL import Image

from curation.batch import Batch
from curation.operator import OperatorError
from curation.sample import Media, Origin, Sample, caption_turns, make_sample
from curation.select.dct_hash import MIRROR, hash_thumbnails, inside_border
from curation.select.perceptual import PerceptualDedup
from curation.select.pictures import LEADERS
from curation.select.survivors import choose_survivors

CORPUS = os.environ.get("VL3_CORPUS", "")


def table_of(samples: list[Sample]) -> pl.DataFrame:
    signed = PerceptualDedup().signature(Batch(samples))
    return signed.with_columns(id=pl.Series([sample.origin.name for sample in samples]))


def dropped(samples: list[Sample], **settings: object) -> dict[str, str]:
    return dict(PerceptualDedup(**settings).choose(table_of(samples)).drop("similarity").iter_rows())  # pyright: ignore[reportArgumentType]


def reference_bits(thumbnail: np.ndarray) -> list[bool]:
    """The definition: signs of the 8 x 8 lowest coefficients of an orthonormal DCT-II, the constant replaced by (0, 8)."""
    coefficients = cv2.dct(thumbnail.astype(np.float32))
    bits = coefficients[:8, :8] > 0
    bits[0, 0] = coefficients[0, 8] > 0
    return bits.ravel().tolist()


def test_hash_equals_signs_of_a_separate_dct() -> None:
    thumbnails = np.stack(
        [cv2.resize(cv2.cvtColor(photograph(seed), cv2.COLOR_RGB2GRAY), (32, 32)) for seed in range(40)]
    )
    for thumbnail, value in zip(thumbnails, hash_thumbnails(thumbnails).tolist(), strict=True):
        assert [bit == "1" for bit in f"{value:064b}"] == reference_bits(thumbnail)


def test_hash_of_the_mirrored_picture_is_the_hash_with_odd_columns_flipped() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (50, 32, 32), dtype=np.uint8)
    assert (hash_thumbnails(thumbnails) ^ MIRROR == hash_thumbnails(thumbnails[:, :, ::-1])).all()


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_borders_are_found_and_frames_within_frames(colour: int) -> None:
    grey = cv2.cvtColor(photograph(1), cv2.COLOR_RGB2GRAY)
    framed = cv2.copyMakeBorder(grey, 9, 5, 12, 7, cv2.BORDER_CONSTANT, value=(colour,))
    twice = cv2.copyMakeBorder(framed, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=(255 - colour,))
    top, bottom, left, right = inside_border(twice)
    assert (top, left) == (13, 16)
    assert (bottom, right) == (13 + grey.shape[0], 16 + grey.shape[1])
    assert inside_border(np.full((50, 60), colour, np.uint8)) == (0, 50, 0, 60)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "re-encoded": lambda p: np.array(Image.open(io.BytesIO(jpeg(p, 30)))),
    "resized": lambda p: cv2.resize(p, None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA),
    "cropped": lambda p: p[6:-4, 3:-9],
    "brightened": lambda p: np.clip(p * 1.2, 0, 255).astype(np.uint8),
    "bordered": lambda p: cv2.copyMakeBorder(p, 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=(0, 0, 0)),
    "mirrored": lambda p: p[:, ::-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_altered_copies_are_found_and_nothing_else(change: str) -> None:
    originals = [sample_of(f"{n:02d}", jpeg(photograph(n))) for n in range(30)]
    copies = [sample_of(f"{n:02d}~", jpeg(np.ascontiguousarray(CHANGES[change](photograph(n))))) for n in range(30)]
    pairs = dropped(originals + copies)
    assert all(a.rstrip("~") == b.rstrip("~") for a, b in pairs.items())
    assert len(pairs) >= 29


def test_survivor_is_the_best_then_the_largest_then_the_smallest_id() -> None:
    small, large = jpeg(cv2.resize(photograph(1), (160, 120), interpolation=cv2.INTER_AREA)), jpeg(photograph(1))
    samples = [sample_of("a", small), sample_of("c", large), sample_of("b", jpeg(photograph(1), 60))]
    assert dropped(samples) == {"a": "b", "c": "b"}
    table = table_of(samples).with_columns(Score=pl.Series([2.0, None, 1.0]))
    assert dict(PerceptualDedup(best="Score").choose(table).drop("similarity").iter_rows()) == {"b": "a", "c": "a"}
    with pytest.raises(OperatorError, match="no score 'Sharpness'"):
        PerceptualDedup(best="Sharpness").choose(table)


def test_survivors_do_not_depend_on_order() -> None:
    samples = [sample_of(f"{n}{v}", jpeg(photograph(n), 50 + 20 * v)) for n in range(8) for v in range(3)]
    table = table_of(samples)
    chosen = PerceptualDedup().choose(table)
    assert len(chosen) == 16
    for seed in range(3):
        assert PerceptualDedup().choose(table.sample(fraction=1, shuffle=True, seed=seed)).equals(chosen)
    halves = [PerceptualDedup().signature(Batch(samples[i : i + 5])) for i in range(0, len(samples), 5)]
    assert pl.concat(halves).equals(table.drop("id"))


def test_flat_and_failing_pictures_are_never_duplicates() -> None:
    gradient = np.repeat(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], 240, axis=0).repeat(3, axis=2)
    flat = [
        sample_of("a", jpeg(gradient)),
        sample_of("b", jpeg(gradient, 50)),
        sample_of("c", jpeg(np.full_like(gradient, 255))),
    ]
    assert dropped(flat) == {}
    data = jpeg(photograph(1))
    broken = make_sample(
        Origin(source="t", locator="x", name="x"), caption_turns("x"), [Media(kind="image", data=data[:2000])]
    )
    batch = Batch([broken, sample_of("y", data)])
    signed = PerceptualDedup().signature(batch)
    assert list(batch.errors) == [0]
    assert signed["views"].is_null().to_list() == [True, False]


def test_samples_of_several_media_match_only_as_a_whole() -> None:
    one, two, three = (jpeg(photograph(n)) for n in range(3))
    samples = [sample_of("ab", one, two), sample_of("ab2", jpeg(photograph(0), 50), two), sample_of("ba", two, one)]
    samples += [sample_of("ac", one, three), sample_of("a", one)]
    assert dropped(samples) == {"ab2": "ab"}


def test_a_hash_that_is_too_common_still_leaves_one_survivor_and_is_named_by_it() -> None:
    data = jpeg(photograph(5))
    count = 3 * LEADERS
    chosen, crowds = PerceptualDedup().choose_and_tell(table_of([sample_of(f"{n:03d}", data) for n in range(count)]))
    assert dict(chosen.drop("similarity").iter_rows()) == {f"{n:03d}": "000" for n in range(1, count)}
    assert crowds.rows() == [("000", count)]


def test_no_chain_drops_a_sample_for_one_it_was_never_paired_with() -> None:
    stands = choose_survivors(np.array([0, 1, 2, 3]), np.array([0, 1, 2]), np.array([1, 2, 3]))
    assert stands.tolist() == [-1, 0, -1, 2]


def test_clips_re_encoded_and_cut_are_found_and_others_are_not() -> None:
    frames = film([1, 2, 3, 4, 5], 8)
    small = [cv2.resize(frame, (96, 72), interpolation=cv2.INTER_AREA) for frame in frames]
    clips = {
        "whole": clip(frames), "worse": clip(small, options={"crf": "30"}), "part": clip(frames[11:36]),
        "mirrored": clip([np.ascontiguousarray(frame[:, ::-1]) for frame in frames[:32]]), "other": clip(film([6, 7, 8, 9], 8)),
        "shuffled": clip([*film([5], 8), *film([9], 8), *film([3], 8), *film([8], 8), *film([1], 8)]),
    }  # fmt: skip
    pairs = dropped([sample_of(name, data, kind="video") for name, data in clips.items()])
    assert pairs == {"worse": "whole", "part": "whole", "mirrored": "whole"}


def test_clips_of_one_scene_need_more_than_its_background() -> None:
    still = photograph(3, 120, 160)
    moved = still.copy()
    moved[40:80, 60:100] = photograph(9, 40, 40)
    clips = {"a": clip([still] * 16), "b": clip([still] * 16, options={"crf": "32"}), "c": clip([moved] * 16)}
    assert dropped([sample_of(name, data, kind="video") for name, data in clips.items()]) == {"b": "a"}


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.skipif(not CORPUS, reason="VL3_CORPUS is not set")
def test_no_two_photographs_of_the_corpus_are_taken_for_the_same() -> None:
    """The contact sheets of benchmarks/perceptual.py were looked at: none of these photographs is a copy of another."""
    samples = []
    for file in sorted(Path(CORPUS).glob("image_text-*.parquet"))[:2]:
        for row in pq.read_table(file, columns=["id", "image", "kind"]).to_pylist():
            if row["kind"] == "photo":
                samples.append(sample_of(row["id"], row["image"]))
    assert len(samples) > 500
    assert dropped(samples) == {}


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.skipif(not CORPUS, reason="VL3_CORPUS is not set")
def test_copies_among_the_clips_of_the_corpus_are_found() -> None:
    samples = []
    for file in sorted(Path(CORPUS).glob("videos-*.tar")):
        with tarfile.open(file) as tar:
            for member in tar:
                if Path(member.name).suffix in (".mp4", ".mkv", ".avi"):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    samples.append(sample_of(Path(member.name).stem, stream.read(), kind="video"))
    pairs = {frozenset(pair) for pair in dropped(samples).items()}
    # Two clips byte-identical in two repositories, two re-encoded.
    assert pairs == {frozenset(f"vid_{n:04d}" for n in pair) for pair in ((5, 7), (9, 10), (0, 25), (1, 27))}
