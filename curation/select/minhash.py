"""MinHash dedup: texts whose sets of shingles overlap are one group, and one of them survives."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import pyarrow as pa

from curation.batch import Batch
from curation.operator import RecipeError
from curation.select.partitioned import PartitionedSelect


@dataclass(frozen=True, kw_only=True)
class MinHashDedup(PartitionedSelect):
    """Keeps one text of each group of near-duplicates: the best score, then the smallest id.

    by: what is compared, the whole text without system turns, or the caption (the assistant turns).
    unit, size: a shingle is `size` words, or characters, in a row (see curation.select.words for what a word is). A text with fewer has
    one shingle, all of it, so that short texts match only their equals; a text without words is nobody's duplicate.
    jaccard: the similarity, in (0, 1), around which two texts begin to be found: bands and rows are datasketch's optimum for it, unless
    `bands` gives them as (bands, rows); two texts of similarity s are compared with probability 1 - (1 - s^rows)^bands.
    low: estimated similarity below which two texts that were compared are no duplicates. Every dropped text is at least so similar to
    the one that stands for it.
    num_perm, seed: of the permutations. hashes: of shingles. "fast" is arithmetic of our own; "datasketch" gives signatures equal to
    datasketch's, bit for bit, and takes about four times as long.

    The estimate compares 8 bits of each value, so it reads high by (1 - s) / 256 on average.

    Source: Broder 1997 (MinHash); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, ch. 3 (banding); Lee et al.,
    arXiv:2107.06499 (near-duplicates hurt language models; 5-grams, Jaccard 0.8).
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("minhash",)

    by: Literal["text", "caption"] = "text"
    unit: Literal["words", "characters"] = "words"
    size: int = 5
    jaccard: float = 0.8
    low: float = 0.5
    num_perm: int = 128
    seed: int = 1
    hashes: Literal["fast", "datasketch"] = "fast"
    bands: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not (0 < self.jaccard < 1 and 0 <= self.low <= 1 and self.size >= 1 and self.num_perm >= 2):
            raise RecipeError(
                f"{self.name}: jaccard {self.jaccard}, low {self.low}, size {self.size}, num_perm {self.num_perm}: wanted jaccard in "
                "(0, 1), low in [0, 1], size >= 1, num_perm >= 2"
            )
        bands, rows = self.banding
        if bands < 1 or rows < 1 or bands * rows > self.num_perm:
            raise RecipeError(
                f"{self.name}: {bands} bands of {rows} rows need {bands * rows} of {self.num_perm} permutations: raise num_perm"
            )

    @property
    def name(self) -> str:
        """What is compared, unless it is the default, is part of the name."""
        return "MinHashDedup" if self.by == "text" else f"MinHashDedup[{self.by}]"

    @property
    def banding(self) -> tuple[int, int]:
        """Bands, and rows of each."""
        return self.bands or _optimal_banding(self.jaccard, self.num_perm)

    @property
    def alike(self) -> float:
        """The estimated similarity itself."""
        return self.low

    def settings(self) -> dict[str, Any]:
        """As of any operator, with bands and rows as they will be used, whatever finds them."""
        return super().settings() | {"bands": list(self.banding)}

    def signature_settings(self) -> dict[str, Any]:
        """What signatures depend on."""
        names = ("by", "unit", "size", "num_perm", "seed", "hashes")
        return {"version": self.VERSION} | {name: getattr(self, name) for name in names}

    def signature(self, batch: Batch) -> pl.DataFrame:
        """`minhash`: num_perm unsigned 32-bit integers, little-endian, as binary; null for a text without words."""
        texts = batch.texts() if self.by == "text" else batch.captions()
        return pl.DataFrame({"minhash": _binary(*self.signatures(texts))})

    def signatures(self, texts: pl.Series | list[str]) -> tuple[np.ndarray, np.ndarray]:
        """uint32 [N, num_perm], and bool [N]: whether the text has words."""
        from curation.select.shingles import shingle_hashes
        from curation.select.signatures import permutations, signatures

        words = self.unit == "words"
        hashes, bounds = shingle_hashes(list(texts), size=self.size, words=words, sha1=self.hashes == "datasketch")
        return signatures(hashes, bounds, *permutations(self.num_perm, self.seed)), np.diff(bounds) > 0

    def keys(self, table: pl.DataFrame) -> np.ndarray:
        """uint64 [N, bands]: one key per band."""
        from curation.select.signatures import band_keys

        return band_keys(_unsigned(table["minhash"], self.num_perm), *self.banding)

    def sketches(self, table: pl.DataFrame) -> np.ndarray:
        """uint8 [N, num_perm]: 8 bits of each value."""
        from curation.select.signatures import eight_bits

        return eight_bits(_unsigned(table["minhash"], self.num_perm))


@lru_cache
def _optimal_banding(jaccard: float, num_perm: int) -> tuple[int, int]:
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=jaccard, num_perm=num_perm)
    return index.b, index.r


def _binary(values: np.ndarray, valid: np.ndarray) -> pl.Series:
    """Rows as binary cells, null where not valid."""
    width = 4 * values.shape[1]
    cells = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(values), [None, pa.py_buffer(values.astype("<u4"))]
    )
    return pl.Series("minhash", cells, dtype=pl.Binary).set(pl.Series(~valid), None)


def _unsigned(cells: pl.Series, count: int) -> np.ndarray:
    """Inverse of `_binary`, without nulls."""
    arrow = cells.to_arrow().cast(pa.large_binary())
    _, offsets, data = arrow.buffers()
    first = np.frombuffer(offsets, dtype=np.int64)[arrow.offset]
    return np.frombuffer(data, dtype="<u4", offset=first, count=len(arrow) * count).reshape(-1, count)
