"""Curation: what is done to samples. Pure: no Ray, no run directory, and no torch at import."""
