"""Transforms: one-to-one rewrites of a sample's turns."""

from curation.transforms.encoding import RepairEncoding
from curation.transforms.instruct import InstructFromCaption
from curation.transforms.lines import KeepC4Lines
from curation.transforms.normalize import NormalizeTurns
from curation.transforms.personal import MaskPersonalData
from curation.transforms.recaption import CaptionVideo, Recaption

__all__ = [
    "CaptionVideo",
    "InstructFromCaption",
    "KeepC4Lines",
    "MaskPersonalData",
    "NormalizeTurns",
    "Recaption",
    "RepairEncoding",
]
