"""Decode: encoded pictures into upright RGB pixels, all of them or an error; nothing is padded.

Nothing is logged; libtiff alone writes its complaints about broken TIFF strips to standard error, from C.
"""

import io
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from curation.media.formats import require_format
from curation.media.headers import PILLOW_ERRORS, read_header
from curation.media.limits import MAX_IMAGE_BYTES, MAX_SCANS, check_bytes, check_size
from curation.sample import SampleError

if TYPE_CHECKING:
    from PIL import Image

# Marker and upper byte of its length, which is always 0. Thrice as fast as bytes.count.
_SCAN = re.compile(rb"\xff\xda\0")
# A large picture is converted in bands of so many pixels: Pillow's copies of it would be in memory several times.
_BAND_PIXELS = 1 << 20
# EXIF orientation -> how stored rows and columns become displayed ones.
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


def reduction(width: int, height: int, short_side: int) -> int:
    """By how much a picture may shrink, 1, 2, 4 or 8, while its short side stays at least `short_side`; 0 = not at all."""
    fits = min(width, height) // short_side if short_side else 1
    return 8 if fits >= 8 else 4 if fits >= 4 else 2 if fits >= 2 else 1


def decode_image(data: bytes, *, short_side: int = 0) -> np.ndarray:
    """Decode one picture: uint8 [rows, columns, 3], RGB, upright by its EXIF orientation; an animation's first frame.

    `short_side` asks for no more than that: sides are then divided by 1, 2, 4 or 8 (rounded up), never below it. Every
    bit of the file is read all the same, so what is damaged fails at every size.

    Alpha is dropped and palettes are resolved as by Pillow's `convert("RGB")`, which VideoLLaMA3's processor calls;
    16-bit grey keeps its upper 8 bits.

    Raises:
        SampleError: no allowed format, beyond the limits, or not every pixel decodes.
    """
    check_bytes(len(data), what="image", limit=MAX_IMAGE_BYTES)
    image_format = require_format(data, "image")
    header = read_header(data, image_format)
    # Every scan of a progressive JPEG goes over the whole picture: a few kilobytes can hold minutes of work.
    if header.scans and (scans := len(_SCAN.findall(data))) > MAX_SCANS:
        raise SampleError(f"jpeg has {scans:,} scans, limit {MAX_SCANS}: re-encode it at the source")
    plain_jpeg = image_format == "jpeg" and header.components in (1, 3)
    factor = reduction(header.width, header.height, short_side)
    pixels = _decode_jpeg(data, factor) if plain_jpeg else _shrunk(_decode_pillow(data, image_format), factor)
    upright = _UPRIGHT.get(header.orientation)
    return np.ascontiguousarray(upright(pixels)) if upright else pixels


def _decode_jpeg(data: bytes, factor: int) -> np.ndarray:
    """Shrunk by the decoder itself, which transforms 1 / factor of each block's coefficients."""
    import simplejpeg

    try:
        height, width = (int(side) for side in simplejpeg.decode_jpeg_header(data)[:2])
        check_size(width, height, what="jpeg")  # what the decoder will allocate, whatever our parser read
        if factor == 1:
            return simplejpeg.decode_jpeg(data, "RGB")
        return simplejpeg.decode_jpeg(data, "RGB", min_height=-(-height // factor), min_width=-(-width // factor))
    except ValueError as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"jpeg does not decode ({error}): fetch it again") from error


def _shrunk(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor x factor pixels."""
    if factor == 1:
        return pixels
    import cv2

    rows, columns = pixels.shape[:2]
    return cv2.resize(pixels, (-(-columns // factor), -(-rows // factor)), interpolation=cv2.INTER_AREA)


def _decode_pillow(data: bytes, image_format: str) -> np.ndarray:
    from PIL import Image, ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = False  # some libraries set it, and cut pictures then come out grey without a word
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data), formats=[image_format.upper()]) as image:
                check_size(*image.size, what=image_format)
                return _in_bands(image)
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"{image_format} does not decode ({error}): fetch it again") from error


def _in_bands(image: "Image.Image") -> np.ndarray:
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if rows >= height:
        return _to_rgb(image)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        pixels[top : top + rows] = _to_rgb(image.crop((0, top, width, min(top + rows, height))))
    return pixels


def _to_rgb(image: "Image.Image") -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)  # convert("RGB") would clip at 255 instead
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise SampleError(f"has {image.mode} pixels (32 bits, no fixed range): convert it to 8 bits at the source")
    if isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours; straight to RGB Pillow warns, and warnings are errors here
    return np.array(image.convert("RGB"))
