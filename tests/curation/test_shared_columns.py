"""Batch: what operators of a pass share is computed once, and never outlives a rewritten sample."""

from dataclasses import replace

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.sample import Origin, Turn, make_sample


def _batch(*texts: str) -> Batch:
    return Batch(
        [
            make_sample(turns=[Turn(role="assistant", text=t)], media=[], origin=Origin(source="s", locator=t, name=t))
            for t in texts
        ]
    )


def test_shared_columns_are_computed_once_and_follow_the_samples_that_go_on() -> None:
    asked = []

    def lengths(batch: Batch) -> pl.DataFrame:
        asked.append(len(batch))
        return pl.DataFrame({"length": batch.texts().str.len_chars()})

    batch = _batch("a", "bb", "ccc")
    assert batch.shared("lengths", lengths)["length"].to_list() == [1, 2, 3]
    going = batch.take([0, 2], list(batch.samples))
    assert going.shared("lengths", lengths)["length"].to_list() == [1, 3]
    assert going.take([]).shared("lengths", lengths).height == 0
    assert asked == [3]


def test_a_rewritten_sample_is_looked_at_again() -> None:
    batch = _batch("a", "bb")
    batch.shared("length", lambda b: pl.DataFrame({"length": b.texts().str.len_chars()}))
    rewritten = [replace(batch.samples[0], turns=(Turn(role="assistant", text="longer"),)), batch.samples[1]]
    again = batch.take(np.arange(2), rewritten)
    assert again.shared("length", lambda b: pl.DataFrame({"length": b.texts().str.len_chars()}))[
        "length"
    ].to_list() == [6, 2]
