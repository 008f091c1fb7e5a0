"""Media pairs: pairs of media that show the same, made into pairs of samples and a decision."""

import numpy as np
import polars as pl

from curation.select.survivors import choose_survivors, dropped_table

# Rows (samples) left and right, the number of the medium in both, how alike.
MEDIA_PAIRS = {"left": pl.Int64, "right": pl.Int64, "medium": pl.Int64, "similarity": pl.Float64}


def media_pairs(
    left: np.ndarray, left_medium: np.ndarray, right: np.ndarray, right_medium: np.ndarray, similarity: np.ndarray
) -> pl.DataFrame:
    """Pairs as MEDIA_PAIRS; those of a sample with itself, or of media of different places, are left out."""
    same = (left != right) & (left_medium == right_medium)
    low, high = np.minimum(left, right), np.maximum(left, right)
    columns = {"left": low, "right": high, "medium": left_medium, "similarity": similarity}
    return pl.DataFrame({name: values[same] for name, values in columns.items()}, schema=MEDIA_PAIRS, strict=False)


def all_media(pairs: pl.DataFrame, counts: pl.Series) -> pl.DataFrame:
    """Pairs of samples (left, right, similarity) of which every medium is paired with the other's medium of the same number.

    Args:
        pairs: MEDIA_PAIRS; one pair may occur several times, and counts by its largest similarity.
        counts: media of each row.
    """
    pairs = pairs.filter(counts.gather(pairs["left"]) == counts.gather(pairs["right"]))
    media = pairs.group_by("left", "right", "medium").agg(pl.col("similarity").max())
    samples = media.group_by("left", "right").agg(pl.len().alias("media"), pl.col("similarity").min())
    whole = samples.filter(pl.col("media") == counts.gather(samples["left"]))
    return whole.drop("media").sort("left", "right")


def decide(ids: pl.Series, pairs: pl.DataFrame) -> pl.DataFrame:
    """What a Select returns of samples given best first, from all pairs of them (left < right, similarity)."""
    rows = np.arange(len(ids))
    stands = choose_survivors(rows, pairs["left"].to_numpy(), pairs["right"].to_numpy())
    found = pl.DataFrame({"left": np.minimum(rows, stands), "right": np.maximum(rows, stands)})
    similarity = found.join(pairs, on=["left", "right"], how="left", maintain_order="left")["similarity"]
    return dropped_table(ids, stands, similarity.to_numpy())
