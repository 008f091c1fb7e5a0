"""Synthetic: seeded corpora in all modalities, with a settable share of planted defects whose truth is recorded."""

from curation.sources.synthetic.corpora import write_synthetic

__all__ = ["write_synthetic"]
