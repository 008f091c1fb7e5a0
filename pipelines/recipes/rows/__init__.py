"""Rows: the datasets that VideoLLaMA3 names, one value each, by kind."""
