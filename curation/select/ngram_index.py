"""Indexes of a benchmark's texts, looked up by batches of samples.

Shapes: N samples.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from curation.select.linking import equal_bytes
from curation.select.minhash import MinHashDedup
from curation.select.shingles import shingle_hashes

# Entries of the table that tells most hashes are in no item, without a search.
TABLE_BITS = 24


class NgramIndex:
    """Runs of words of the items, by 64-bit hash. An item of fewer words than `size` is one run of its own length."""

    def __init__(self, texts: Sequence[str], *, size: int, min_words: int) -> None:
        _, bounds = shingle_hashes(texts, size=1, words=True)
        lengths = np.diff(bounds)
        self.tables: dict[int, pl.DataFrame] = {}
        for words in range(min_words, size + 1):
            wanted = np.flatnonzero(lengths >= size if words == size else lengths == words)
            if len(wanted):
                self.tables[words] = _runs([texts[item] for item in wanted.tolist()], words, wanted)
        self.sizes = np.zeros(len(texts), dtype=np.int64)
        self.present = {words: _present(table["run"].to_numpy()) for words, table in self.tables.items()}
        for table in self.tables.values():
            items, counts = np.unique(table["owner"].to_numpy(), return_counts=True)
            self.sizes[items] = counts

    def best(self, texts: Sequence[str], *, low: float) -> tuple[np.ndarray, np.ndarray]:
        """The item that each text contains most of, -1 where none reaches `low`; and the share of it. Ties: the first item."""
        found = []
        for words, table in self.tables.items():
            hashes, bounds = shingle_hashes(texts, size=words, words=True)
            owners = np.repeat(np.arange(len(texts)), np.diff(bounds))
            maybe = self.present[words][hashes >> np.uint64(64 - TABLE_BITS)]
            runs = pl.DataFrame({"sample": owners[maybe], "run": hashes[maybe]}).unique()
            found.append(runs.join(table, on="run").group_by("sample", "owner").len())
        hit, share = np.full(len(texts), -1, dtype=np.int64), np.full(len(texts), np.nan)
        if found:
            pairs = pl.concat(found)
            pairs = pairs.with_columns(share=pl.col("len") / self.sizes[pairs["owner"].to_numpy()])
            best = pairs.filter(pl.col("share") >= low).sort(
                "sample", "share", "owner", descending=[False, True, False]
            )
            best = best.unique("sample", keep="first", maintain_order=True)
            hit[best["sample"].to_numpy()] = best["owner"].to_numpy()
            share[best["sample"].to_numpy()] = best["share"].to_numpy()
        return hit, share


def _runs(texts: Sequence[str], words: int, owners: np.ndarray) -> pl.DataFrame:
    """Every different run of each text, with its owner."""
    hashes, bounds = shingle_hashes(texts, size=words, words=True)
    return pl.DataFrame({"run": hashes, "owner": np.repeat(owners, np.diff(bounds))}).unique()


def _present(runs: np.ndarray) -> np.ndarray:
    table = np.zeros(1 << TABLE_BITS, dtype=bool)
    table[runs >> np.uint64(64 - TABLE_BITS)] = True
    return table


class NearIndex:
    """MinHash signatures of the items, by band."""

    def __init__(self, signatures: pl.DataFrame, like: MinHashDedup) -> None:
        self.like = like
        signed = signatures.with_row_index("item").drop_nulls()
        self.items = signed["item"].to_numpy().astype(np.int64)
        self.sketches = like.sketches(signed) if len(signed) else np.zeros((0, like.num_perm), dtype=np.uint8)
        keys = like.keys(signed) if len(signed) else np.zeros((0, 1), dtype=np.uint64)
        places = np.repeat(np.arange(len(signed)), keys.shape[1])
        self.keys = pl.DataFrame({"key": keys.ravel(), "place": places}).unique()

    def best(self, signatures: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The item that each sample is most like, -1 where none is as alike as `like` wants; and how alike. Ties: the first item."""
        hit, alike = np.full(len(signatures), -1, dtype=np.int64), np.full(len(signatures), np.nan)
        signed = signatures.with_row_index("sample").drop_nulls()
        if not len(signed) or not len(self.items):
            return hit, alike
        keys, sketches = self.like.keys(signed), self.like.sketches(signed)
        rows = np.repeat(np.arange(len(signed)), keys.shape[1])
        met = pl.DataFrame({"key": keys.ravel(), "row": rows}).join(self.keys, on="key").select("row", "place").unique()
        for row, place in met.sort("row", "place").iter_rows():
            share = equal_bytes(self.sketches[place], sketches[row]) / self.like.num_perm
            sample = signed["sample"][row]
            if share >= self.like.low and not share <= alike[sample]:
                hit[sample], alike[sample] = self.items[place], share
        return hit, alike
