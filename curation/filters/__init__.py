"""Filters: measures of images, text and videos; each takes one number per sample and its bounds decide."""

from curation.filters.image import AspectRatio, Decodable, ShortSide
from curation.filters.text import CharacterRatio, Words
from curation.filters.video import Duration, Frames

__all__ = ["AspectRatio", "CharacterRatio", "Decodable", "Duration", "Frames", "ShortSide", "Words"]
