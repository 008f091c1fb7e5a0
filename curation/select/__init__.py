"""Selects: decisions over all samples of a branch, from columns only."""

from curation.select.exact import ExactDedup

__all__ = ["ExactDedup"]
