"""Filters: measures of images, text and videos; each takes one number per sample and its bounds decide."""

from curation.filters.aesthetic import Aesthetic, HeadScore
from curation.filters.alignment import CaptionGain, EncoderOverflow, ImageTextSimilarity
from curation.filters.appearance import (
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
from curation.filters.held_out import HeldOut
from curation.filters.image import AspectRatio, BytesPerPixel, Decodable, Pixels, ShortSide
from curation.filters.safety import Nsfw, Watermark
from curation.filters.text import CharacterRatio, Words
from curation.filters.video import Duration, Frames

__all__ = [
    "Aesthetic",
    "AspectRatio",
    "Blank",
    "Borders",
    "Brightness",
    "BytesPerPixel",
    "CaptionGain",
    "CharacterRatio",
    "Contrast",
    "Decodable",
    "Duration",
    "EncoderOverflow",
    "Entropy",
    "Frames",
    "Grayscale",
    "HeadScore",
    "HeldOut",
    "ImageTextSimilarity",
    "Nsfw",
    "Pixels",
    "Saturation",
    "Sharpness",
    "ShortSide",
    "TextArea",
    "Watermark",
    "Words",
]
