"""Hostile: builders of media that lie, break off or blow up, for any test that needs one; each returns bytes."""

import io
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image


def picture(width: int = 80, height: int = 60, *, seed: int = 0) -> Image.Image:
    """A smooth random picture, so that lossy formats keep it close."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(width: int = 80, height: int = 60, *, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(picture(width, height), "JPEG", **({"exif": exif} if orientation != 1 else {}), **options)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *, before: Sequence[tuple[bytes, bytes]] = (), pixels: bytes = b"\0" * 100) -> bytes:
    """An 8-bit RGB PNG that declares any size and holds the given chunks before its (few) pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    extra = b"".join(png_chunk(name, body) for name, body in before)
    body = png_chunk(b"IDAT", zlib.compress(pixels)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def png_text_bomb() -> bytes:
    """A PNG of 1 x 1 pixel whose compressed text unpacks to 200 MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    return png(1, 1, before=[(b"zTXt", b"Comment\0\0" + packed)], pixels=b"\0" * 4)


def jpeg_declaring(width: int, height: int) -> bytes:
    """A JPEG whose frame header was overwritten."""
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_scan_bomb(scans: int = 10_000) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = jpeg(progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * scans + b"\xff\xd9"


def gif_declaring(width: int, height: int, *, screen: tuple[int, int] | None = None) -> bytes:
    """A GIF of one frame; `screen` may differ from it."""
    screen = screen or (width, height)
    start = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    return start + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0\x3b"


def gif_of_frames(count: int) -> bytes:
    """A GIF with very many tiny frames."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * count + b"\x3b"


def webp_declaring(width: int, height: int) -> bytes:
    """An extended WebP whose canvas was overwritten."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    inner = encode(picture(), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(body) + len(inner)) + b"WEBP" + body + inner


def tiff(entries: Sequence[tuple[int, int, int, int]], *, next_directory: int = 0, body: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value) each."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", next_directory) + body


def tiff_declaring(width: int, height: int, *, next_directory: int = 0) -> bytes:
    """An uncompressed 8-bit grey TIFF of one strip that declares any size."""
    sides = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    strips = [(273, 4, 1, 122), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height % (1 << 32))]
    return tiff([*sides, *strips], next_directory=next_directory, body=bytes(64))


def bmp_declaring(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def clip(
    frames: int = 12, *, width: int = 64, height: int = 48, fps: int = 12, container: str = "mp4", codec: str = "mpeg4",
    times: Sequence[int] | None = None, audio_only: bool = False,
) -> bytes:  # fmt: skip
    """A clip of a moving gradient. `times` are presentation times in 1 / (fps * 1000) seconds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        if audio_only:
            _add_silence(output)
            return _finish(output, buffer)
        stream = output.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", 6
        unit = Fraction(1, fps if times is None else fps * 1000)
        stream.codec_context.time_base = unit
        columns = np.arange(width)[None, :, None] * np.ones((height, 1, 3))
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(((columns * 3 + number * 10) % 256).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], unit
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        return _finish(output, buffer)


def _add_silence(output: av.container.OutputContainer) -> None:
    stream = output.add_stream("aac", rate=44_100)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 44_100, 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode())


def _finish(output: av.container.OutputContainer, buffer: io.BytesIO) -> bytes:
    output.close()
    return buffer.getvalue()


def without_box(data: bytes, name: bytes) -> bytes:
    """An MP4 without one of its top-level boxes."""
    kept, at = b"", 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kept += b"" if data[at + 4 : at + 8] == name else data[at : at + size]
        at += size
    return kept


def broken_frames(data: bytes) -> bytes:
    """An MP4 whose index is right and whose frames are zeros."""
    at = data.index(b"mdat")
    size = int.from_bytes(data[at - 4 : at], "big")
    return data[: at + 4] + bytes(size - 8) + data[at - 4 + size :]
