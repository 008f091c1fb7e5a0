"""Priority: a number per sample that depends on its id and a seed alone, so that what is taken stays taken when data is added."""

import hashlib

import numpy as np
import polars as pl


def priorities(ids: pl.Series, seed: int) -> np.ndarray:
    """Uniform numbers in (0, 1), float64 [N]: the same id and seed give the same number, whatever else there is."""
    key = seed.to_bytes(8, "little", signed=True)
    digests = b"".join(hashlib.blake2b(str(i).encode(), digest_size=8, key=key).digest() for i in ids)
    return (np.frombuffer(digests, "<u8") >> np.uint64(11)).astype(np.float64) / 2.0**53 + 2.0**-54


def weighted_priorities(ids: pl.Series, seed: int, weights: np.ndarray) -> np.ndarray:
    """Numbers whose smallest n are a random sample without replacement, likelier by weight; weight 0 comes last.

    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
    """
    with np.errstate(divide="ignore"):
        return -np.log(priorities(ids, seed)) / np.maximum(weights, 0)
