"""Image filters: appearance against Pillow and plain numpy, sizes from headers, and one small decode for all of them."""

import io
import math
import random
from collections import Counter

import cv2
import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageFilter

from curation.batch import Batch
from curation.filters.appearance import (
    AppearanceFilter,
    Blank,
    Borders,
    Brightness,
    Contrast,
    Entropy,
    Grayscale,
    Saturation,
    Sharpness,
    TextArea,
)
from curation.filters.image import BytesPerPixel, Decodable, ImageFrames, Orientation, Pixels
from curation.media.decode import decode_image, reduction
from curation.media.probe import probe_media
from curation.operator import Filter
from curation.sample import Media, Origin, Sample, SampleError, caption_turns, document_turns, make_sample
from tests.curation import hostile

APPEARANCE = (Brightness(), Contrast(), Entropy(), Sharpness(), Saturation(), Grayscale(), Blank(), Borders())


def sample(*images: bytes, number: int = 0) -> Sample:
    origin = Origin(source="test", locator=f"file#{number}", name=str(number))
    media = [probe_media(Media(kind="image", data=data)) for data in images]
    turns = caption_turns("x", ["image"] * len(media)) if media else document_turns("x")
    return make_sample(origin, turns, media)


def measured(operator: Filter, *samples: Sample) -> list[float | None]:
    values = operator.open()(Batch(samples))
    assert isinstance(values, pl.Series)
    return values.to_list()


def one(operator: Filter, picture: Image.Image | np.ndarray, image_format: str = "PNG") -> float:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    (value,) = measured(operator, sample(hostile.encode(image, image_format)))
    assert value is not None
    return value


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_appearance_equals_pillow_and_numpy(seed: int) -> None:
    size = (60 + 37 * seed, 90 + 11 * seed)
    rough = Image.fromarray(noise(*size, 3, seed=seed)).filter(ImageFilter.GaussianBlur(seed))
    luma = np.asarray(rough.convert("L")).astype(float)
    pixels = np.asarray(rough).astype(int)
    shares = np.bincount(luma.astype(int).ravel(), minlength=256) / luma.size
    padded = np.pad(luma, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luma
    chroma = np.ptp(pixels, axis=2)
    wanted = {
        Brightness: luma.mean() / 255,
        Contrast: luma.std() / 255,
        Entropy: -sum(p * math.log2(p) for p in shares if p),
        Sharpness: laplacian.var(),
        Saturation: chroma.sum() / pixels.max(axis=2).sum(),
        Grayscale: (chroma <= 12).mean(),
        Blank: max(shares[at : at + 5].sum() for at in range(252)),
    }
    for operator, value in wanted.items():
        # Pillow and OpenCV round a few pixels' luma differently.
        assert one(operator(), rough) == pytest.approx(value, rel=2e-3, abs=1e-4), operator.__name__


def test_plain_pictures_are_blank_grey_and_all_border() -> None:
    white = Image.new("RGB", (300, 200), "white")
    values = {type(o).__name__: one(o, white, "JPEG") for o in APPEARANCE}
    assert values == {
        "Brightness": 1, "Contrast": 0, "Entropy": 0, "Sharpness": 0, "Saturation": 0, "Grayscale": 1, "Blank": 1, "Borders": 1
    }  # fmt: skip
    assert one(Saturation(), Image.new("RGB", (64, 64), "black")) == 0
    assert one(Saturation(), Image.new("RGB", (64, 64), "red")) == 1


def test_blur_lowers_sharpness_at_every_size() -> None:
    sharp = Image.fromarray(noise(40, 60, 3)).resize((1200, 800), Image.Resampling.NEAREST)
    for side in (1, 2, 4):
        picture = sharp.resize((1200 // side, 800 // side), Image.Resampling.BOX)
        radii = [one(Sharpness(), picture.filter(ImageFilter.GaussianBlur(r * 8 / side))) for r in (0, 0.5, 1, 2)]
        assert radii == sorted(radii, reverse=True)
        assert radii[0] > 10 * radii[-1]


@pytest.mark.parametrize(
    ("top", "right", "bottom", "left"), [(30, 0, 30, 0), (0, 40, 0, 0), (10, 20, 30, 5), (0, 0, 0, 0)]
)
def test_borders_are_the_area_outside_the_picture(top: int, right: int, bottom: int, left: int) -> None:
    framed = np.pad(noise(100, 160, 3), ((top, bottom), (left, right), (0, 0)), constant_values=7)
    assert one(Borders(), framed) == pytest.approx(1 - 100 * 160 / (framed.shape[0] * framed.shape[1]))


def test_grey_photographs_stored_in_colour_are_grey() -> None:
    coloured = hostile.picture(320, 240, seed=3)
    assert one(Grayscale(), coloured.convert("L").convert("RGB"), "JPEG") > 0.99
    assert one(Grayscale(), coloured, "JPEG") < 0.5


def lettered(ground: Image.Image, lines: int, *, size: float = 0.6) -> Image.Image:
    pixels = np.array(ground)
    for line in range(lines):
        place = (12, 30 + 28 * line)
        cv2.putText(pixels, "The quick brown fox jumps over", place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1)
    return Image.fromarray(pixels)


def test_text_area_grows_with_the_lines_and_is_none_in_smooth_pictures() -> None:
    page = Image.new("RGB", (400, 300), "white")
    shares = [one(TextArea(), lettered(page, lines)) for lines in (0, 1, 4, 8)]
    assert shares[0] == 0
    assert 0.02 < shares[1] < 0.1
    np.testing.assert_allclose(shares[2:], [4 * shares[1], 8 * shares[1]], rtol=0.1)
    assert one(TextArea(), hostile.picture(400, 300, seed=1)) == 0
    inverted = Image.fromarray(255 - np.asarray(lettered(page, 4)))
    assert one(TextArea(), inverted) == pytest.approx(shares[2], rel=0.05)


def test_fold_names_the_picture_that_stands_for_the_sample() -> None:
    dark, light = (hostile.encode(Image.new("RGB", (64, 64), (v, v, v)), "PNG") for v in (51, 204))
    both, none = sample(dark, light), sample(number=1)
    assert measured(Brightness(), both, none) == [0.2, None]
    assert measured(Brightness(of="highest"), both, none) == [0.8, None]
    assert measured(TextArea(), both, none) == [0.0, None]
    assert Brightness(of="highest").name == "Brightness[highest]"
    assert (Brightness().name, Blank().name, Blank(of="lowest").name) == ("Brightness", "Blank", "Blank[lowest]")


def test_all_operators_of_a_pass_share_one_decode() -> None:
    counters: Counter[str] = Counter()
    operators = (Decodable(), *APPEARANCE, TextArea())
    sizes = {operator.short_side for operator in operators if operator.short_side is not None}
    batch = Batch([sample(hostile.jpeg(800, 600), number=n) for n in range(3)], counters=counters, short_sides=sizes)
    for operator in operators:
        operator.open()(batch)
    assert counters["media_decoded"] == 3
    assert batch.pixels(0, 0).shape == (600, 800, 3)
    assert counters["media_decoded"] == 4


def test_numbers_do_not_depend_on_what_else_a_pass_decodes() -> None:
    photo = sample(hostile.encode(Image.fromarray(noise(500, 700, 3)).filter(ImageFilter.GaussianBlur(3)), "JPEG"))
    alone, together = Batch([photo]), Batch([photo])
    together.pixels(0, 0)
    for operator in (*APPEARANCE, TextArea()):
        assert list(operator.open()(alone)) == list(operator.open()(together))


def test_a_damaged_picture_is_found_at_the_smallest_size_too() -> None:
    rng, verdicts = random.Random(0), Counter[bool]()
    whole = hostile.encode(Image.fromarray(noise(300, 400, 3)).filter(ImageFilter.GaussianBlur(2)), "JPEG")
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.randrange(650, len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(650, len(data)) :]
        found = {decodes(bytes(data), short_side=side) for side in (0, 224, 1)}
        assert len(found) == 1
        verdicts.update(found)
    assert min(verdicts[True], verdicts[False]) > 5


def decodes(data: bytes, *, short_side: int) -> bool:
    try:
        decode_image(data, short_side=short_side)
    except SampleError:
        return False
    return True


def test_a_picture_that_does_not_decode_fails_its_sample_only() -> None:
    good, cut = hostile.jpeg(500, 400), hostile.jpeg(500, 400)[:-400]
    for operator in (Sharpness(), TextArea()):
        batch = Batch([sample(good), sample(good, cut, number=1), sample(good, number=2)])
        values = list(operator.open()(batch))
        assert values[1] is None
        assert values[0] == values[2] is not None
        assert list(batch.errors) == [1]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(640, 480), (101, 97), (2000, 999), (3, 900)])
def test_small_decodes_are_means_of_whole_ones(image_format: str, size: tuple[int, int]) -> None:
    picture = hostile.picture(*size)
    data = hostile.encode(picture, image_format)
    whole, small = decode_image(data), decode_image(data, short_side=100)
    factor = reduction(*size, 100)
    assert factor == max(f for f in (1, 2, 4, 8) if f == 1 or min(size) // f >= 100)
    assert small.shape[:2] == tuple(-(-side // factor) for side in whole.shape[:2])
    averaged = cv2.resize(whole, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - averaged).mean() < 1.5


@pytest.mark.parametrize("progressive", [False, True])
def test_damage_shows_at_every_size(progressive: bool) -> None:
    data = hostile.jpeg(1600, 1200, progressive=progressive)
    for tenth in range(10):
        for side in (1, 200, 400, 800):
            with pytest.raises(ValueError, match="jpeg"):
                decode_image(data[: len(data) * tenth // 10] or b"\xff\xd8\xff", short_side=side)


def test_sizes_come_from_headers_alone() -> None:
    unread = Media(kind="image", width=640, height=480, size=76_800, frames=1, format="jpeg")
    clip = Media(kind="image", width=10, height=10, size=2_000, frames=10, format="gif")
    unknown = Media(kind="image")
    origin = Origin(source="s", locator="l", name="n")
    samples = [
        make_sample(origin, caption_turns("x", ["image"] * len(m)), m) for m in ([unread], [unread, clip], [unknown])
    ]
    assert measured(Pixels(), *samples) == [307_200, 100, 0]
    assert measured(BytesPerPixel(), *samples) == [0.25, 0.25, math.inf]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_orientation_and_frames_are_recorded(image_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = hostile.encode(hostile.picture(), image_format, exif=exif)
    film = hostile.encode(
        hostile.picture(), "GIF", save_all=True, append_images=[hostile.picture(seed=s) for s in (1, 2)]
    )
    samples = [sample(turned, hostile.jpeg()), sample(film, number=1), sample(number=2)]
    assert measured(Orientation(), *samples) == [6, 1, None]
    assert measured(ImageFrames(), *samples) == [1, 3, None]


@pytest.mark.corpus
def test_real_pages_hold_more_text_than_photographs() -> None:
    import os
    from pathlib import Path

    import pyarrow.parquet as pq

    corpus = os.environ.get("VL3_CORPUS")
    if not corpus:
        pytest.skip("VL3_CORPUS is not set")

    def shares(name: str, column: str, wanted: tuple[str, ...]) -> np.ndarray:
        table = pq.read_table(Path(corpus) / name, columns=["image", column])
        pairs = zip(table["image"].to_pylist(), table[column].to_pylist(), strict=True)
        pictures = [data for data, kind in pairs if kind in wanted][:60]
        return np.array(measured(TextArea(), *(sample(data, number=n) for n, data in enumerate(pictures))))

    photos = shares("image_text-00000.parquet", "kind", ("photo",))
    pages = shares("documents-00000.parquet", "dataset", ("sroie", "pdf_pages"))
    assert len(pages) >= 10
    wins = (pages[:, None] > photos).mean() + 0.5 * (pages[:, None] == photos).mean()
    assert wins > 0.85


def test_every_appearance_filter_says_unit_range_and_source() -> None:
    for operator in (*APPEARANCE, TextArea()):
        assert isinstance(operator, AppearanceFilter)
        text = type(operator).__doc__ or ""
        assert "Source:" in text
        assert "[0, " in text or ">= 0" in text


def test_appearance_of_encoded_bytes_is_that_of_the_pixels() -> None:
    photo = hostile.encode(hostile.picture(300, 200), "JPEG", quality=95)
    with Image.open(io.BytesIO(photo)) as image:
        direct = one(Contrast(), image.convert("RGB"))
    (value,) = measured(Contrast(), sample(photo))
    assert value == pytest.approx(direct, rel=0.01)
