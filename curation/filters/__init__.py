"""Filters: measures of images, text and videos; each takes one number per sample and its bounds decide."""

from curation.filters.aesthetic import Aesthetic, HeadScore
from curation.filters.alignment import CaptionGain, EncoderOverflow, ImageTextSimilarity
from curation.filters.image import AspectRatio, Decodable, ShortSide
from curation.filters.safety import Nsfw, Watermark
from curation.filters.text import CharacterRatio, Words
from curation.filters.video import Duration, Frames

__all__ = [
    "Aesthetic",
    "AspectRatio",
    "CaptionGain",
    "CharacterRatio",
    "Decodable",
    "Duration",
    "EncoderOverflow",
    "Frames",
    "HeadScore",
    "ImageTextSimilarity",
    "Nsfw",
    "ShortSide",
    "Watermark",
    "Words",
]
