"""Pictures: headers and pixels against Pillow, and everything hostile refused by name."""

import io
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from curation.media import decode, limits
from curation.media.decode import decode_image
from curation.media.formats import sniff
from curation.media.headers import exif_orientation
from curation.media.probe import probe_media
from curation.sample import Media, SampleError
from tests.curation import hostile

PICTURE = hostile.picture()
FORMATS = {
    "jpeg": hostile.jpeg(),
    "jpeg_progressive": hostile.jpeg(progressive=True),
    "jpeg_grey": hostile.encode(PICTURE.convert("L"), "JPEG"),
    "jpeg_cmyk": hostile.encode(PICTURE.convert("CMYK"), "JPEG"),
    "png": hostile.encode(PICTURE, "PNG"),
    "png_alpha": hostile.encode(PICTURE.convert("RGBA"), "PNG"),
    "png_palette": hostile.encode(PICTURE.quantize(16), "PNG", transparency=bytes(range(16))),
    "png_grey": hostile.encode(PICTURE.convert("L"), "PNG"),
    "png_bits": hostile.encode(PICTURE.convert("1"), "PNG"),
    "gif": hostile.encode(PICTURE.quantize(16), "GIF"),
    "webp": hostile.encode(PICTURE, "WEBP"),
    "webp_lossless": hostile.encode(PICTURE, "WEBP", lossless=True),
    "webp_alpha": hostile.encode(PICTURE.convert("RGBA"), "WEBP"),
    "bmp": hostile.encode(PICTURE, "BMP"),
    "tiff": hostile.encode(PICTURE, "TIFF"),
    "tiff_lzw": hostile.encode(PICTURE, "TIFF", compression="tiff_lzw"),
    "avif": hostile.encode(PICTURE, "AVIF"),
}


def probe(data: bytes) -> Media:
    return probe_media(Media(kind="image", data=data))


def pillow_pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA").convert("RGB"))


@pytest.mark.parametrize("band", [decode._BAND_PIXELS, 7 * 80], ids=["whole", "bands"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_decodes_as_by_pillow(name: str, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_BAND_PIXELS", band)
    data = FORMATS[name]
    pixels, medium = decode_image(data), probe(data)
    # Two JPEG decoders may round differently.
    assert np.abs(pixels.astype(int) - pillow_pixels(data)).max() <= (3 if name.startswith("jpeg") else 0)
    assert pixels.dtype == np.uint8
    assert (medium.format, medium.width, medium.height, medium.frames) == (name.split("_")[0], 80, 60, 1)
    assert medium.size == len(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_to_size_and_pixels(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = hostile.encode(PICTURE, image_format, exif=exif)
    pixels, medium = decode_image(data), probe(data)
    assert (medium.height, medium.width) == pixels.shape[:2]
    assert np.abs(pixels.astype(int) - pillow_pixels(data)).max() <= 3
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("band", [decode._BAND_PIXELS, 7 * 80], ids=["whole", "bands"])
def test_sixteen_bit_grey_keeps_its_upper_bits(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_BAND_PIXELS", band)
    values = np.arange(80 * 60, dtype=np.uint16).reshape(60, 80) * 13
    data = hostile.encode(Image.fromarray(values), "PNG")
    assert np.array_equal(decode_image(data)[:, :, 1], (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animation_gives_its_first_frame_and_counts_the_others(image_format: str) -> None:
    others = [hostile.picture(seed=seed) for seed in (1, 2)]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = hostile.encode(PICTURE, image_format, save_all=True, append_images=others, **options)
    first = hostile.encode(PICTURE, image_format, **options)
    assert probe(data).frames == 3
    if image_format != "AVIF":  # coded anew with other settings
        assert np.array_equal(decode_image(data), decode_image(first))


@pytest.mark.parametrize("name", FORMATS)
def test_cut_file_is_an_error_and_never_padded(name: str) -> None:
    data = FORMATS[name]
    for tenth in range(10):
        cut = data[: len(data) * tenth // 10]
        with pytest.raises(SampleError):
            decode_image(cut)


@pytest.mark.parametrize("name", FORMATS)
def test_cut_header_is_an_error_that_names_the_format(name: str) -> None:
    with pytest.raises(SampleError, match=name.split("_")[0]):
        probe(FORMATS[name][:20])


BOMBS = {
    "png": (hostile.png(50_000, 50_000), r"png declares 50,000 x 50,000 = 2.5 Gpx, limit 67 Mpx"),
    "jpeg": (hostile.jpeg_declaring(65_000, 65_000), "jpeg declares 65,000 x 65,000 = 4.2 Gpx"),
    "gif": (hostile.gif_declaring(65_000, 65_000), "gif declares 65,000 x 65,000"),
    "gif beyond its screen": (hostile.gif_declaring(30_000, 30_000, screen=(1, 1)), "gif declares 30,000 x 30,000"),
    "gif of frames": (hostile.gif_of_frames(20_000), "gif has more than 10,000 frames"),
    "webp": (hostile.webp_declaring(16_000, 16_000), "webp declares 16,000 x 16,000"),
    "webp canvases": (hostile.webp_declaring(6_000, 6_000), "webp declares 6,000 x 6,000 = 36 Mpx, limit 34 Mpx"),
    "tiff": (hostile.tiff_declaring(70_000, 70_000), "tiff header does not parse .*4900000000 pixels"),
    "tiff below pillow's limit": (hostile.tiff_declaring(9_000, 9_000), "declares 9,000 x 9,000 = 81 Mpx"),
    "bmp": (hostile.bmp_declaring(40_000, -40_000), "bmp declares 40,000 x 40,000"),
    "long strip": (hostile.png(100_000, 1), "png declares 100,000 x 1, .*65,535|longest side"),
    "no rows": (hostile.png(10, 0), "png declares 10 x 0 pixels"),
    "largest numbers": (hostile.png(0xFFFFFFFF, 0xFFFFFFFF), "png declares 4,294,967,295"),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("read", [probe, decode_image], ids=["probe", "decode"])
def test_bomb_is_refused_with_its_numbers_before_memory_is_taken(name: str, read) -> None:
    data, message = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(SampleError, match=message):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_text_bomb_and_scan_bomb_are_refused() -> None:
    with pytest.raises(SampleError, match="png does not decode"):
        decode_image(hostile.png_text_bomb())
    with pytest.raises(SampleError, match="scans, limit 200"):
        decode_image(hostile.jpeg_scan_bomb())


def test_tiff_whose_pages_form_a_ring_is_read_once() -> None:
    assert probe(hostile.tiff_declaring(8, 8, next_directory=8)).frames <= 2


@pytest.mark.parametrize("sides", [(1, 5_000), (5_000, 1), (1, 1), (65_535, 3)])
def test_strips_of_one_pixel_are_pictures(sides: tuple[int, int]) -> None:
    data = hostile.encode(Image.new("RGB", sides, (9, 9, 9)), "PNG")
    assert (probe(data).width, probe(data).height) == sides
    assert decode_image(data).shape == (sides[1], sides[0], 3)


POSERS = {
    "svg": b'<?xml version="1.0"?>\n<svg width="9" height="9"/>',
    "pdf": b"%PDF-1.7\n%\xe2\xe3",
    "html": b"\n<!DOCTYPE HTML><title>404</title>",
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0cos\nsystem\n",
    "zip archive": b"PK\x03\x04" + bytes(30),
    "mp4": b"\0\0\0\x18ftypisom" + bytes(30),
    "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
    "unknown content": b"\x01\x02\x03\x04 nothing known",
    "empty": b"",
}


@pytest.mark.parametrize("name", POSERS)
def test_what_is_no_picture_is_named(name: str) -> None:
    for read in (probe, decode_image):
        with pytest.raises(SampleError, match=name):
            read(POSERS[name])


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"junk" * 9])
def test_broken_exif_means_upright(exif: bytes) -> None:
    data = hostile.jpeg()
    segment = b"Exif\0\0" + exif
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment + data[2:]
    assert exif_orientation(exif) == 1
    assert (probe(data).width, probe(data).height) == (80, 60)
    assert decode_image(data).shape == (60, 80, 3)


@given(st.data())
def test_changed_bytes_either_decode_to_the_probed_size_or_are_refused(data: st.DataObject) -> None:
    original = FORMATS[data.draw(st.sampled_from(sorted(FORMATS)))]
    at = data.draw(st.lists(st.integers(0, min(len(original), 400) - 1), min_size=1, max_size=6))
    changed = bytearray(original)
    for place in at:
        changed[place] = data.draw(st.integers(0, 255))
    try:
        medium = probe(bytes(changed))
        pixels = decode_image(bytes(changed))
    except SampleError:
        return
    assert pixels.shape == (medium.height, medium.width, 3)


@given(st.sampled_from([FORMATS[name][:12] for name in sorted(FORMATS)]), st.binary(max_size=300))
def test_random_headers_are_refused_or_within_the_limits(start: bytes, rest: bytes) -> None:
    try:
        medium = probe(start + rest)
    except SampleError:
        return
    assert 0 < medium.width * medium.height <= limits.MAX_PIXELS


def test_nothing_is_printed_for_broken_pictures(capfd: pytest.CaptureFixture[str]) -> None:
    for data in FORMATS.values():
        for cut in (data[: len(data) // 2], data[:-30] + bytes(20)):
            with pytest.raises(SampleError):
                decode_image(cut[: len(data) // 2])
    assert capfd.readouterr() == ("", "")


@pytest.mark.corpus
def test_real_pictures_have_the_sizes_that_pillow_gives() -> None:
    import pyarrow.parquet as pq

    corpus = os.environ.get("VL3_CORPUS")
    if not corpus:
        pytest.skip("VL3_CORPUS is not set")
    cells = pq.read_table(Path(corpus) / "image_text-00000.parquet", columns=["image"])["image"].to_pylist()
    for data in cells:
        medium = probe(data)
        with Image.open(io.BytesIO(data)) as image:
            assert image.format is not None
            assert medium.format == sniff(data) == image.format.lower()
            assert (medium.width, medium.height) == ImageOps.exif_transpose(image).size
