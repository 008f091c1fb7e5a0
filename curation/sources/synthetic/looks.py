"""Looks: what makes a picture ugly though its caption is right, planted on purpose for scores of quality."""

import random

import numpy as np
from PIL import Image, ImageFilter

LOOKS = ("blurred", "noisy", "dark", "faded", "blocky", "blank")


def spoil(image: Image.Image, look: str, rng: random.Random) -> Image.Image:
    """The picture with one fault of looks; the same for the same state of `rng`.

    Raises:
        ValueError: `look` is not one of LOOKS.
    """
    if look == "blurred":
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(4, 9)))
    if look == "noisy":
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(35, 70), (*image.size[::-1], 3))
        return _picture(np.asarray(image) + noise)
    if look == "dark":
        return _picture(np.asarray(image) * rng.uniform(0.12, 0.3))
    if look == "faded":
        pixels, share = np.asarray(image, dtype=float), rng.uniform(0.1, 0.25)
        return _picture(share * pixels + (1 - share) * pixels.mean())
    if look == "blocky":
        side = rng.randint(14, 24)
        small = image.resize((max(1, image.width // side), max(1, image.height // side)), Image.Resampling.BOX)
        return small.resize(image.size, Image.Resampling.NEAREST)
    if look == "blank":
        level = rng.randint(0, 255)
        return Image.new("RGB", image.size, (level, level, level))
    raise ValueError(f"look {look!r}: not one of {', '.join(LOOKS)}")


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
