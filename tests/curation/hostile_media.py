"""Hostile media: a catalogue of files that lie, break off, blow up or go round in circles, and what must become of each."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from tests.curation import hostile

# What a sample of the catalogue may end as.
REFUSED = r"\.error$"
DROPPED = r"\.(error|above|below|nan)$"
KEPT = "kept"


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A file: what it is presented as, its bytes, and the reason that must end it ("kept" if it is odd but sound)."""

    name: str
    suffix: str
    data: bytes
    ends: str = REFUSED


def catalogue() -> Iterator[Specimen]:
    """Every specimen; the bytes are the same each time."""
    for name, data in _bombs().items():
        yield Specimen(name=f"bomb_{name}", suffix="jpg", data=data, ends=DROPPED)
    for name, data in _posers().items():
        yield Specimen(name=f"poser_{name}", suffix="jpg", data=data)
        yield Specimen(name=f"poser_{name}", suffix="mp4", data=data)
    for name, data in _whole_images().items():
        for tenth in range(1, 10):
            yield Specimen(name=f"cut_{name}_{tenth}", suffix="jpg", data=data[: len(data) * tenth // 10])
    for name, (data, ends) in _odd_images().items():
        yield Specimen(name=f"odd_{name}", suffix="png", data=data, ends=ends)
    for name, data in _containers().items():
        # The frames themselves say their true size, which is believed.
        yield Specimen(name=f"clip_{name}", suffix="mp4", data=data, ends=KEPT if name == "huge_frame" else DROPPED)
    for name, data in (("mp4", hostile.clip(frames=60)), ("mkv", hostile.clip(frames=60, container="matroska"))):
        for tenth in range(1, 10):
            yield Specimen(name=f"cut_{name}_{tenth}", suffix="mp4", data=data[: len(data) * tenth // 10])


def _deflate(zeros: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(zeros >> 20)) + packer.flush()


def _bombs() -> dict[str, bytes]:
    """Small files that ask for much memory or much time."""
    packed = _deflate(200 << 20)
    chunks = [(b"tEXt", b"k\0v")] * 120_000
    return {
        "png_pixels": hostile.png(50_000, 50_000),
        "png_largest": hostile.png(0xFFFFFFFF, 0xFFFFFFFF),
        "png_ztxt": hostile.png_text_bomb(),
        "png_itxt": hostile.png(1, 1, before=[(b"iTXt", b"k\0\1\0\0\0" + packed)], pixels=bytes(4)),
        "png_iccp": hostile.png(1, 1, before=[(b"iCCP", b"k\0\0" + packed)], pixels=bytes(4)),
        "png_idat": hostile.png(1, 1, pixels=bytes(64 << 20)),
        "png_chunks": hostile.png(8, 8, before=chunks),
        "png_frames": hostile.png(8, 8, before=[(b"acTL", struct.pack(">II", 0xFFFFFFFF, 0))]),
        "png_flat": hostile.encode(Image.new("1", (8000, 8000)), "PNG"),
        "jpeg_pixels": hostile.jpeg_declaring(65_000, 65_000),
        "jpeg_scans": hostile.jpeg_scan_bomb(),
        "jpeg_segments": b"\xff\xd8" + b"\xff\xe5\0\2" * 200_000,
        "jpeg_fill": b"\xff\xd8" + b"\xff" * (4 << 20),
        "gif_pixels": hostile.gif_declaring(65_000, 65_000),
        "gif_beyond_screen": hostile.gif_declaring(30_000, 30_000, screen=(1, 1)),
        "gif_frames": hostile.gif_of_frames(20_000),
        "gif_extensions": b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b"\x21\xfe\1\0\0" * 200_000,
        "webp_canvas": hostile.webp_declaring(16_000, 16_000),
        "webp_canvases": hostile.webp_declaring(6_000, 6_000),
        "tiff_pixels": hostile.tiff_declaring(70_000, 70_000),
        "tiff_ring": hostile.tiff_declaring(8, 8, next_directory=8),
        "tiff_strips": hostile.tiff(
            [(256, 4, 1, 64), (257, 4, 1, 64), (273, 4, 0xFFFFFFF, 122), (279, 4, 0xFFFFFFF, 122)]
        ),
        "tiff_deflate": _tiff_deflate(packed),
        "tiff_entries": b"II*\0\x08\0\0\0\xff\xff" + bytes(12) * 200,
        "bmp_pixels": hostile.bmp_declaring(40_000, -40_000),
        "bmp_negative": hostile.bmp_declaring(-40_000, 5),
        "avif_pixels": _avif_declaring(60_000, 60_000),
    }


def _tiff_deflate(packed: bytes) -> bytes:
    """A TIFF whose one strip unpacks to far more than its 64 rows."""
    sides = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    strips = [(273, 4, 1, 122), (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, len(packed))]
    return hostile.tiff([*sides, *strips], body=packed)


def _avif_declaring(width: int, height: int) -> bytes:
    data = bytearray(hostile.encode(hostile.picture(), "AVIF"))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


def _posers() -> dict[str, bytes]:
    """Other things under the names of pictures and clips."""
    return {
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "xml_entities": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj<</Type/Catalog>>endobj",
        "html": b"<!DOCTYPE html><html><body>404 not found</body></html>",
        "zip": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08\0" + bytes(60),
        "pickle": b"\x80\x04\x95\x1c\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "playlist": b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "postscript": b"%!PS-Adobe-3.0\n(/etc/passwd) run",
        "psd": b"8BPS\0\1" + bytes(60),
        "zeros": bytes(1 << 20),
        "one_byte": b"\xff",
        "text": b"a cat sits on a mat" * 20,
        "executable": b"\x7fELF\2\1\1" + bytes(120),
        "shader": b"P6\n4000000000 4000000000\n255\n",
    }


def _whole_images() -> dict[str, bytes]:
    picture = hostile.picture(160, 120)
    return {
        "jpeg": hostile.encode(picture, "JPEG"),
        "progressive": hostile.encode(picture, "JPEG", progressive=True),
        "png": hostile.encode(picture, "PNG"),
        "webp": hostile.encode(picture, "WEBP"),
        "gif": hostile.encode(picture.quantize(64), "GIF"),
        "tiff": hostile.encode(picture, "TIFF", compression="tiff_lzw"),
        "bmp": hostile.encode(picture, "BMP"),
        "avif": hostile.encode(picture, "AVIF"),
    }


def _odd_images() -> dict[str, tuple[bytes, str]]:
    """Sound pictures in odd clothes, and shapes that bounds must drop."""
    picture = hostile.picture(160, 120)
    jpeg = hostile.encode(picture, "JPEG")
    exif = lambda body: jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(body)) + b"Exif\0\0" + body + jpeg[2:]  # noqa: E731
    strips = {
        f"strip_{w}_{h}": (Image.new("RGB", (w, h), "red"), "PNG")
        for w, h in ((1, 5000), (5000, 1), (1, 1), (65_000, 2))
    }
    return {
        "jpeg_as_png": (jpeg, KEPT),
        "exif_cut": (exif(b"II*\0"), KEPT),
        "exif_far": (exif(b"II*\0\xff\xff\xff\xff"), KEPT),
        "exif_ring": (exif(b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0"), KEPT),
        "exif_many": (exif(b"MM\0*\0\0\0\x08\xff\xff"), KEPT),
        "exif_ninety_nine": (exif(b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0"), KEPT),
        "cmyk": (hostile.encode(picture.convert("CMYK"), "JPEG"), KEPT),
        "grey": (hostile.encode(picture.convert("L"), "JPEG"), KEPT),
        "palette": (hostile.encode(picture.quantize(16), "PNG", transparency=bytes(range(16))), KEPT),
        "alpha": (hostile.encode(picture.convert("RGBA"), "PNG"), KEPT),
        "sixteen_bits": (hostile.encode(picture.convert("I").point(lambda v: v * 200).convert("I;16"), "PNG"), KEPT),
        "animated": (
            hostile.encode(picture, "WEBP", save_all=True, append_images=[hostile.picture(160, 120, seed=1)]),
            KEPT,
        ),
        "trailing_html": (jpeg + b"<script>alert(1)</script>" * 100, KEPT),
        "float_tiff": (hostile.encode(picture.convert("F"), "TIFF"), REFUSED),
        **{name: (hostile.encode(*made), DROPPED) for name, made in strips.items()},
    }


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def _nested(name: bytes, depth: int) -> bytes:
    """Boxes within boxes, each as large as what is left."""
    return b"".join(struct.pack(">I", 8 * (depth - level)) + name for level in range(depth))


def _patched(data: bytes, mark: bytes, at: int, value: bytes) -> bytes:
    place = data.index(mark) + at
    return data[:place] + value + data[place + len(value) :]


def _containers() -> dict[str, bytes]:
    """Clips without an index or frames, that lie about them, or whose boxes lead round in circles."""
    mp4, mkv = hostile.clip(frames=24), hostile.clip(frames=24, container="matroska")
    start = _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
    cluster = b"\x1f\x43\xb6\x75\x80"  # of no size
    built: dict[str, Callable[[], bytes]] = {
        "no_moov": lambda: hostile.without_box(mp4, b"moov"),
        "no_mdat": lambda: hostile.without_box(mp4, b"mdat"),
        "no_frames": lambda: hostile.clip(frames=0),
        "zeroed": lambda: hostile.broken_frames(mp4),
        "sound_only": lambda: hostile.clip(audio_only=True),
        "hours": lambda: hostile.clip(frames=3, times=[0, 12_000, 12_000 * 8_000]),
        "one_frame": lambda: hostile.clip(frames=1),
        "huge_frame": lambda: _patched(mp4, b"mp4v", 28, struct.pack(">HH", 65_000, 65_000)),
        "sample_table": lambda: _patched(mp4, b"stsz", 12, struct.pack(">I", 0xFFFFFFF0)),
        "time_table": lambda: _patched(mp4, b"stts", 12, struct.pack(">I", 0xFFFFFFF0)),
        "offsets": lambda: _patched(mp4, b"stco", 12, b"\xff\xff\xff\xf0"),
        "box_of_no_size": lambda: start + b"\0\0\0\0moov" * 50_000,
        "box_in_itself": lambda: start + _nested(b"moov", 100_000),
        "boxes_in_udta": lambda: start + _box(b"moov", _nested(b"udta", 50_000)),
        "box_beyond_end": lambda: start + b"\x7f\xff\xff\xffmoov" + bytes(100),
        "box_of_64_bits": lambda: start + b"\0\0\0\1moov" + b"\xff" * 8 + bytes(100),
        "mkv_no_clusters": lambda: mkv[: mkv.index(b"\x1f\x43\xb6\x75")],
        "mkv_empty_clusters": lambda: mkv[: mkv.index(b"\x1f\x43\xb6\x75")] + cluster * 400_000,
        "mkv_unknown_sizes": lambda: b"\x1a\x45\xdf\xa3\x84webm" + b"\x18\x53\x80\x67\x01" * 40_000,
        "flv_empty_tags": lambda: b"FLV\1\1\0\0\0\x09\0\0\0\0" + (b"\x09" + bytes(14)) * 300_000,
        "ts_nothing": lambda: (b"\x47\x1f\xff\x10" + bytes(184)) * 20_000,
        "ogg_empty_pages": lambda: (b"OggS\0\2" + bytes(20) + b"\0") * 100_000,
        "avi_lists": lambda: b"RIFF\xff\xff\xff\xffAVI " + b"LIST\0\0\0\0hdrl" * 100_000,
        "mpegps_packs": lambda: (b"\0\0\1\xba" + bytes(10)) * 200_000,
        "gif_of_frames": lambda: hostile.gif_of_frames(300_000),
    }
    return {name: build() for name, build in built.items()}
