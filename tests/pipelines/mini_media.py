"""Small real media for miniature corpora: pictures, clips and PDFs, every one different."""

import hashlib
import io
from collections.abc import Sequence
from functools import lru_cache

import av
import numpy as np
import pypdfium2
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 84, 56


def _seed(*key: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest(), "big")


Texts = Sequence[tuple[str, Sequence[int]]]


def picture(
    *key: object, size: tuple[int, int] = (WIDTH, HEIGHT), form: str = "JPEG", texts: Texts = (), scale: int = 1
) -> bytes:
    """A picture drawn from its key; `texts` stand in their boxes, everything `scale` times as large."""
    rng = np.random.default_rng(_seed(*key))
    image = Image.new("RGB", size, tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y = (int(v) for v in rng.integers(0, size[0], 2))
        draw.rectangle((x, y % size[1], x + 20, y % size[1] + 16), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    if not texts:
        draw.text((4, 4), str(key[-1])[-8:], fill="white")
    image = image.resize((size[0] * scale, size[1] * scale))
    for text, box in texts:
        draw = ImageDraw.Draw(image)
        draw.rectangle([scale * side for side in box], fill="white")
        draw.text((scale * box[0] + 2, scale * box[1] + 1), text, fill="black", font_size=7 * scale)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@lru_cache(maxsize=4096)
def clip(*key: object, seconds: int = 4, fps: int = 2, pan: bool = False) -> bytes:
    """A clip of a moving block drawn from its key, or of a camera that pans over a pattern."""
    rng = np.random.default_rng(_seed("clip", *key))
    ground, block = (rng.integers(0, 256, 3).astype(np.uint8) for _ in range(2))
    pattern = rng.integers(0, 256, (7, 7, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 56, 56, "yuv420p"  # pyright: ignore
        for number in range(seconds * fps):
            frame = np.broadcast_to(ground, (56, 56, 3)).copy()
            left = int(number * 40 / (seconds * fps))
            frame[20:36, left : left + 16] = block
            if pan:
                frame = np.roll(pattern, 2 * number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))  # pyright: ignore
        container.mux(stream.encode())  # pyright: ignore
    return buffer.getvalue()


def pdf(*key: object, pages: int = 2) -> bytes:
    """A PDF with a coloured block per page."""
    document = pypdfium2.PdfDocument.new()
    for number in range(pages):
        page = document.new_page(120, 160)
        image = pypdfium2.PdfImage.new(document)
        source = io.BytesIO(picture("pdf", *key, number))
        image.load_jpeg(source, inline=True)
        image.set_matrix(pypdfium2.PdfMatrix().scale(80, 60))
        page.insert_obj(image)
        page.gen_content()
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    return buffer.getvalue()
