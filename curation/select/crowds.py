"""Crowds: keys that so many samples share that not all of them are compared with one another. Counted, and named by their best sample.

A placeholder picture, a test card, a boilerplate text: what such a key stands for is seen by looking at one of its samples.
"""

from typing import Any

import numpy as np
import polars as pl

# One row per key: the id of its best sample, and how many share it (pictures, clips or texts).
CROWDS = {"sample": pl.String, "samples": pl.Int64}
# How many of the largest are named; all are counted.
NAMED = 10


def crowds_of(ids: pl.Series, crowds: np.ndarray) -> pl.DataFrame:
    """As CROWDS. crowds: int64 [H, 2], the best sample of each as a row of `ids`, and its size."""
    return pl.DataFrame({"sample": ids.gather(crowds[:, 0]), "samples": crowds[:, 1]}, schema=CROWDS)


def crowd_facts(crowds: pl.DataFrame) -> dict[str, Any]:
    """How many keys are crowded, and the largest crowds: what a task commits of them."""
    largest = crowds.group_by("sample").agg(pl.col("samples").max())
    named = largest.sort("samples", "sample", descending=[True, False]).head(NAMED)
    return {"keys": crowds.height, "largest": [list(row) for row in named.iter_rows()]}


def add_crowds(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Those of two tasks together."""
    rows = [tuple(row) for facts in (one, other) for row in facts["largest"]]
    both = crowd_facts(pl.DataFrame(rows, schema=CROWDS, orient="row"))
    return {"keys": one["keys"] + other["keys"], "largest": both["largest"]}


NOBODY = pl.DataFrame(schema=CROWDS)
