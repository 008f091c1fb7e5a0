"""Hamming: all pairs of 64-bit hashes within a few bits, exactly, without comparing every pair.

A hash is cut into `blocks` blocks of bits. Two hashes that differ in at most r bits agree in at least `blocks - r` whole
blocks, so with k = blocks - r every such pair meets in one of the C(blocks, k) tables that group hashes by k blocks.
k = 1 is the pigeonhole (few tables, large buckets: best for small sets), larger k cut smaller buckets with more sorting.
Source: Manku, Jain, Das Sarma: Detecting near-duplicates for web crawling, WWW 2007 (the blocks).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

BITS = 64
# What a table costs on one core, measured: sorting a row, and comparing a pair.
_SORT_SECONDS, _PAIR_SECONDS = 1.5e-7, 1.2e-9


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """How hashes are cut: into `blocks` blocks, of which a table takes `clean` as its key."""

    blocks: int
    clean: int

    @property
    def tables(self) -> int:
        """How often the hashes are sorted."""
        return math.comb(self.blocks, self.clean)

    def masks(self) -> Iterator[int]:
        """The key bits of every table."""
        edges = [BITS * i // self.blocks for i in range(self.blocks + 1)]
        pieces = [(1 << high) - (1 << low) for low, high in pairwise(edges)]
        return (sum(chosen) for chosen in combinations(pieces, self.clean))

    def seconds(self, rows: float) -> float:
        """Expected time on one core for so many evenly spread hashes: sorting, and comparing within buckets."""
        pairs = rows * rows / 2 / 2.0 ** (BITS * self.clean / self.blocks)
        return self.tables * (rows * _SORT_SECONDS + pairs * _PAIR_SECONDS)


@dataclass(frozen=True, kw_only=True)
class NearPairs:
    """Pairs of rows, `left < right`, each once, sorted; `distance` in bits.

    crowds: int64 [H, 2], first row and size of the buckets that held more rows than the cap; skipped: pairs that were not
    compared in them (some of these meet in another table).
    """

    left: np.ndarray
    right: np.ndarray
    distance: np.ndarray
    crowds: np.ndarray
    skipped: int


def plan_blocks(rows: int, radius: int) -> Blocks:
    """The cheapest exact cut for so many hashes."""
    choices = [Blocks(blocks=radius + clean, clean=clean) for clean in range(1, BITS - radius + 1)]
    return min(choices[:6], key=lambda blocks: blocks.seconds(rows))


def near_pairs(
    hashes: np.ndarray,
    *,
    radius: int,
    anchors: int | None = None,
    cap: int = 1 << 16,
    blocks: Blocks | None = None,
    tables: Sequence[int] | None = None,
) -> NearPairs:
    """All pairs of hashes that differ in at most `radius` bits.

    Args:
        hashes: uint64 [N]; where one bucket exceeds `cap`, earlier rows take precedence.
        anchors: only pairs with a row below this number are wanted (the others are probes); None: all rows are.
        cap: in a bucket of more rows than this, each row is compared with the bucket's first `cap` rows only.
        blocks: how to cut; None: the cheapest.
        tables: only pairs that these tables are the first to hold; None: all tables.
    """
    from curation.select.hamming_kernels import scan_table

    hashes = np.ascontiguousarray(hashes, dtype=np.uint64)
    blocks = blocks or plan_blocks(len(hashes), radius)
    masks = np.array(list(blocks.masks()), dtype=np.uint64)
    anchors = len(hashes) if anchors is None else anchors
    pieces, crowds, skipped = [], [np.empty((0, 2), np.int64)], 0
    for table in range(len(masks)) if tables is None else tables:
        order = np.argsort(hashes & masks[table], kind="stable")
        found, filled, over, left_out = scan_table(
            hashes[order], order, masks, table, np.uint64(radius), anchors, cap, np.empty((1024, 2), np.int64)
        )
        pieces.append(found[:filled].copy())
        crowds.append(over)
        skipped += left_out
    pairs = np.concatenate(pieces) if pieces else np.empty((0, 2), np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    left, right = pairs[:, 0], pairs[:, 1]
    distance = np.bitwise_count(hashes[left] ^ hashes[right]).astype(np.uint8)
    return NearPairs(left=left, right=right, distance=distance, crowds=np.concatenate(crowds), skipped=skipped)
