"""Transforms: one-to-one rewrites of a sample's turns."""

from curation.transforms.normalize import NormalizeTurns

__all__ = ["NormalizeTurns"]
