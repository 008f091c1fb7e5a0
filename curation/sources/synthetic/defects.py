"""Defects: what is wrong with real corpora, made on purpose."""

import struct
import zlib

from PIL import Image

from curation.sources.synthetic.scenes import encode_jpeg, encode_png

# What can be planted in each corpus: all of it has to be noticed when it is read or measured.
DEFECTS: dict[str, tuple[str, ...]] = {
    "image_text": (
        "truncated_image", "bomb_header", "blank_image", "extreme_aspect", "exact_duplicate",
        "swapped_caption", "empty_caption", "gibberish_caption", "not_utf8",
    ),
    "documents": ("truncated_image", "empty_caption", "exact_duplicate", "blank_image"),
    "videos": ("truncated_video", "swapped_caption", "empty_caption", "exact_duplicate"),
    "text": ("gibberish_text", "empty_text", "not_utf8", "broken_json", "exact_duplicate"),
    "conversations": ("missing_media", "two_tags_one_picture", "empty_answer", "not_utf8", "broken_json"),
}  # fmt: skip
# Starts no character in UTF-8.
NOT_UTF8 = b"\xff\xfe caf\xe9"


def truncated(data: bytes) -> bytes:
    """The first 60 % of a file: the header is whole, the content is not."""
    return data[: len(data) * 6 // 10]


def png_bomb(side: int = 50_000) -> bytes:
    """A few bytes that declare side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1024))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def blank_jpeg() -> bytes:
    """One colour all over."""
    return encode_jpeg(Image.new("RGB", (112, 112), (128, 128, 128)))


def blank_png() -> bytes:
    """An empty page."""
    return encode_png(Image.new("RGB", (224, 112), (255, 255, 255)))


def strip_jpeg() -> bytes:
    """A banner, 40 times as wide as high."""
    image = Image.new("RGB", (560, 14), (240, 240, 240))
    image.paste((30, 90, 200), (0, 5, 560, 9))
    return encode_jpeg(image)
