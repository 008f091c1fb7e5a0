"""Limits: how large media may be before they are refused, and the check that refuses them.

A header is cheap to forge: every limit is checked against what it declares, before memory is taken for it.
"""

from curation.sample import SampleError

# 8192 x 8192. VideoLLaMA3 sees at most 16,384 tokens of 14 x 14 pixels (3.2 Mpx), so larger pictures add bytes and no
# detail; the dearest decode (Pillow, 4 bytes a pixel, its RGB copy beside it) then stays below 1 GB in a worker.
MAX_PIXELS = 1 << 26
# WebP's decoder keeps two RGBA canvases of its own beside those copies (21 bytes a pixel, measured), AVIF's planes.
MAX_PIXELS_BY_FORMAT = {"webp": 1 << 25, "avif": 1 << 25}
# The longest side JPEG can declare; formats with 32-bit sides gain nothing by more.
MAX_SIDE = 65_535
# One 8K frame (8192 x 4320): the largest that common codecs' levels allow.
MAX_FRAME_PIXELS = 8192 * 4320
MAX_IMAGE_BYTES = 128 << 20
MAX_BYTES = 1 << 30
# Progressive JPEGs have about ten; counted with those of embedded thumbnails.
MAX_SCANS = 200
# Of animated pictures; counting stops there.
MAX_ANIMATION_FRAMES = 10_000
# Two hours; the frames are those of two hours at 60 a second.
MAX_DURATION = 7_200.0
MAX_FRAMES = 432_000
# Chunks, boxes or segments of one header; real files have tens.
MAX_CHUNKS = 100_000


def check_size(width: int, height: int, *, what: str, limit: int = MAX_PIXELS) -> None:
    """Refuse a declared size in pixels that is empty or beyond the limits.

    Raises:
        SampleError: says what was declared and what is allowed.
    """
    if width <= 0 or height <= 0:
        raise SampleError(
            f"{what} declares {width:,} x {height:,} pixels: nothing to see, drop the sample at its source"
        )
    if width * height > limit:
        size = f"{width:,} x {height:,} = {pixels(width * height)}"
        raise SampleError(f"{what} declares {size}, limit {pixels(limit)}: downscale it at the source")
    if max(width, height) > MAX_SIDE:
        raise SampleError(
            f"{what} declares {width:,} x {height:,}, longest side allowed {MAX_SIDE:,}: downscale it at the source"
        )


def check_bytes(size: int, *, what: str, limit: int = MAX_BYTES) -> None:
    """Refuse encoded bytes beyond the limit.

    Raises:
        SampleError: says how many there are and how many are allowed.
    """
    if size > limit:
        raise SampleError(f"{what} has {size:,} bytes, limit {limit:,}: re-encode or cut it at the source")


def pixels(count: int) -> str:
    """A number of pixels for people: 2.5 Gpx, 67 Mpx, 640 px."""
    for unit, scale in (("Gpx", 1e9), ("Mpx", 1e6), ("kpx", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count} px"
