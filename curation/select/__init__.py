"""Selects: decisions over all samples of a branch, from columns only."""

from curation.select.exact import ExactDedup
from curation.select.minhash import MinHashDedup

__all__ = ["ExactDedup", "MinHashDedup"]
