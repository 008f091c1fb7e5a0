"""Pipelines: where and when curation happens. The only package that knows Ray."""
