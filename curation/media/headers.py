"""Headers: size, orientation and frames of a picture from its first bytes, with no pixel decoded.

JPEG, PNG, GIF, WebP and BMP are parsed here, in time and memory that do not depend on what they declare; TIFF and AVIF
by Pillow.
"""

import io
import struct
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from curation.media.limits import MAX_ANIMATION_FRAMES, MAX_CHUNKS, MAX_PIXELS, MAX_PIXELS_BY_FORMAT, check_size
from curation.sample import SampleError

if TYPE_CHECKING:
    from PIL import Image

# What Pillow's parsers raise on hostile bytes; the bomb warning and error are Warning and Exception of its own.
PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, AttributeError,
    NotImplementedError, AssertionError, RuntimeError, struct.error, Warning,
)  # fmt: skip

# SOF0 ... SOF15 without the tables and restart markers that share their range.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset([0x01, *range(0xD0, 0xD8)])
# Most segments of any file: tables and what applications leave, but for EXIF (E1).
_JPEG_PASSED = frozenset([0xC4, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xF0), 0xFE])
_JPEG_SEGMENT = struct.Struct(">BBH").unpack_from  # 0xFF, marker, length without these two bytes
_JPEG_FRAME = struct.Struct(">HHB").unpack_from
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """What a picture declares: stored sides in pixels, EXIF orientation (1 to 8), frames.

    Of a JPEG also its colour components, and whether they come in many scans.
    """

    width: int
    height: int
    orientation: int = 1
    frames: int = 1
    components: int = 3
    scans: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as displayed."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: bytes, image_format: str) -> Header:
    """The header of a picture whose format is known, its size within the limits.

    Raises:
        SampleError: the header is cut or broken, or declares more than the limits allow.
    """
    parse = _PARSERS.get(image_format, _pillow)
    try:
        header = parse(data)
    except (IndexError, struct.error) as error:
        raise SampleError(f"{image_format} header is cut after {len(data):,} bytes: fetch it again") from error
    except SampleError as error:
        raise SampleError(f"{image_format} {error}") from error
    limit = MAX_PIXELS_BY_FORMAT.get(image_format, MAX_PIXELS)
    check_size(header.width, header.height, what=image_format, limit=limit)
    if header.frames > MAX_ANIMATION_FRAMES:
        raise SampleError(
            f"{image_format} declares {header.frames:,} frames, limit {MAX_ANIMATION_FRAMES:,}: cut it at the source"
        )
    return header


def _jpeg(data: bytes) -> Header:
    width = height = components = 0
    orientation, at, progressive = 1, 2, False
    for _ in range(MAX_CHUNKS):
        lead, marker, length = _JPEG_SEGMENT(data, at)
        if lead != 0xFF:
            raise SampleError(f"header has {lead:#04x} at {at:,} where a marker was wanted: fetch it again")
        if marker in _JPEG_PASSED:
            at += 2 + length
        elif marker in _JPEG_FRAMES:
            if not width:
                height, width, components = _JPEG_FRAME(data, at + 5)
                progressive = marker not in (0xC0, 0xC1)
            at += 2 + length
        elif marker == 0xDA and width:  # pixels follow
            # A decoder goes over the picture once per scan, unless the first one holds all of it.
            many = progressive or data[at + 4] != components
            return Header(width, height, orientation, 1, components, many)
        elif marker in (0xD9, 0xDA):
            raise SampleError("header ends without a frame: fetch it again")
        elif marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_STANDALONE:
            at += 2
        else:
            if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
                orientation = exif_orientation(data[at + 10 : at + 2 + length])
            at += 2 + length
    raise SampleError(f"header has more than {MAX_CHUNKS:,} segments")


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise SampleError(f"header starts with {data[12:16]!r}, wanted IHDR: fetch it again")
    width, height = struct.unpack_from(">II", data, 16)
    orientation, frames, at = 1, 1, 8
    for _ in range(MAX_CHUNKS):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            return Header(width, height, orientation, frames)
        if name == b"IEND":
            raise SampleError("has no pixels (no IDAT): fetch it again")
        if name == b"eXIf":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        elif name == b"acTL":
            frames = max(1, struct.unpack_from(">I", data, at + 8)[0])
        at += 12 + length
    raise SampleError(f"header has more than {MAX_CHUNKS:,} chunks")


def _gif(data: bytes) -> Header:
    """A cut file gives the frames that begin in it; decoders widen the screen to the first frame, so that it counts."""
    width, height = struct.unpack_from("<HH", data, 6)
    frames, at = 0, 13 + _colour_table(data[10])
    try:
        while data[at] in (0x21, 0x2C):  # extension, frame
            if data[at] == 0x2C:
                left, top, columns, rows = struct.unpack_from("<4H", data, at + 1)
                if not frames:
                    width, height = max(width, left + columns), max(height, top + rows)
                frames += 1
                at += 11 + _colour_table(data[at + 9])
            else:
                at += 2
            at = _after_blocks(data, at)
            if frames > MAX_ANIMATION_FRAMES:
                raise SampleError(f"has more than {MAX_ANIMATION_FRAMES:,} frames: cut it at the source")
    except (IndexError, struct.error):
        pass
    if not frames:
        raise SampleError(f"has no frame in {len(data):,} bytes: fetch it again")
    return Header(width, height, 1, frames)


def _after_blocks(data: bytes, at: int) -> int:
    while size := data[at]:
        at += 1 + size
    return at + 1


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> Header:
    name = data[12:16]
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF)
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if name != b"VP8X":
        raise SampleError(f"header starts with {name!r}, wanted VP8, VP8L or VP8X: fetch it again")
    width = int.from_bytes(data[24:27], "little") + 1
    height = (data[29] << 16 | data[28] << 8 | data[27]) + 1
    orientation, frames, at = 1, 0, 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return Header(width, height, orientation, max(1, frames))
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            orientation = exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        frames += name == b"ANMF"
        at += 8 + length + (length & 1)
    raise SampleError(f"header has more than {MAX_CHUNKS:,} chunks")


def _bmp(data: bytes) -> Header:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2 header: 16-bit sides
        return Header(*struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return Header(width, abs(height))  # a negative height only says that rows run down


def _pillow(data: bytes) -> Header:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # The bomb limit is ours: check_size runs on the same numbers before any pixel.
            with Image.open(io.BytesIO(data), formats=["TIFF", "AVIF"]) as image:
                check_size(*image.size, what="header")
                # Of a TIFF, Pillow turns size and pixels upright by itself.
                size, turned = image.size, image.format == "TIFF"
                orientation = 1 if turned else image.getexif().get(_ORIENTATION, 1)
                return Header(*size, orientation if orientation in range(1, 9) else 1, _count_frames(image))
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"header does not parse ({error}): fetch it again") from error


def _count_frames(image: "Image.Image") -> int:
    """Frames of an AVIF, as declared; pages of a TIFF, one by one, since a few bytes can declare any number."""
    if image.format == "AVIF":
        return getattr(image, "n_frames", 1)
    for frame in range(1, MAX_ANIMATION_FRAMES + 1):
        try:
            image.seek(frame)
        except EOFError:
            return frame
    raise SampleError(f"has more than {MAX_ANIMATION_FRAMES:,} pages: cut it at the source")


_PARSERS: dict[str, Callable[[bytes], Header]] = {"jpeg": _jpeg, "png": _png, "gif": _gif, "webp": _webp, "bmp": _bmp}


def exif_orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF block (a TIFF directory); 1 (upright) where it has none or is broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
