"""Linking: pairs of samples that met under a key and are alike, and who survives, given the pairs. Compiled kernels.

Shapes: N samples, W bytes of a sketch.

Samples are taken best first: those of a base, then the highest score, then the smallest id. Under one key, the best sample leads; every
other one is compared with the leaders so far, and is paired with the first that it is alike, or leads too. Then, over all pairs, a
sample is dropped for the best survivor that it was compared with and is alike; where its partner was itself dropped, it is compared with
that partner's survivor. So every dropped sample is alike the one that stands for it: chains a-b-c do not drop c for a. Neither the order
of samples nor how keys are cut into partitions changes the outcome.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numba import njit

# Under one key at most this many samples lead; any more that are alike none of them stay unpaired under this key, and are counted.
MAX_LEADERS = 256
PAIR_SCHEMA = {"better": pl.Int64, "worse": pl.Int64, "similarity": pl.Float32}


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What linking knows of N samples.

    ids; scores: float64 [N], higher is better; fixed: bool [N], of the base, never dropped; sketches: uint8 [N, W], whose share of equal
    bytes is how alike two samples are.
    """

    ids: pl.Series
    scores: np.ndarray
    fixed: np.ndarray
    sketches: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray) -> "Nodes":
        """Some of them, in this order."""
        return Nodes(
            ids=self.ids.gather(indices), scores=self.scores[indices], fixed=self.fixed[indices], sketches=self.sketches[indices]
        )  # fmt: skip

    def ranks(self) -> np.ndarray:
        """int64 [N], 0 = best."""
        keys = pl.DataFrame({"fixed": self.fixed, "score": self.scores, "id": self.ids}).with_row_index("node")
        order = keys.sort("fixed", "score", "id", "node", descending=[True, True, False, False])["node"].to_numpy()
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[order] = np.arange(len(self))
        return ranks

    @staticmethod
    def concat(pieces: "list[Nodes]") -> "Nodes":
        """One after the other."""
        return Nodes(
            ids=pl.concat([piece.ids for piece in pieces]),
            scores=np.concatenate([piece.scores for piece in pieces]),
            fixed=np.concatenate([piece.fixed for piece in pieces]),
            sketches=np.concatenate([piece.sketches for piece in pieces]),
        )


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of samples that are alike, by number: `better` ranks before `worse`.

    similarity: float32, the share of equal bytes of their sketches. crowds: int64 [H, 2], the best sample and the number of samples
    of each key under which some were left unpaired because too many lead.
    """

    better: np.ndarray
    worse: np.ndarray
    similarity: np.ndarray
    crowds: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))

    def table(self) -> pl.DataFrame:
        """Each pair once, sorted by the worse one."""
        columns = {"better": self.better, "worse": self.worse, "similarity": self.similarity}
        return pl.DataFrame(columns, schema=PAIR_SCHEMA).unique(["better", "worse"]).sort("worse", "better")

    @staticmethod
    def concat(pieces: "list[Pairs]") -> "Pairs":
        """All of them, each once."""
        table = pl.concat([piece.table() for piece in pieces]).unique(["better", "worse"])
        return Pairs(
            better=table["better"].to_numpy(), worse=table["worse"].to_numpy(), similarity=table["similarity"].to_numpy(),
            crowds=np.concatenate([piece.crowds for piece in pieces]),
        )  # fmt: skip


def shared_keys(keys: np.ndarray) -> np.ndarray:
    """Positions of the keys that occur more than once, sorted by key."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    shared = np.zeros(len(keys), dtype=bool)
    shared[1:] |= same
    shared[:-1] |= same
    return order[shared]


def link(keys: np.ndarray, members: np.ndarray, nodes: Nodes, ranks: np.ndarray, *, low: float) -> Pairs:
    """Pairs among samples with equal keys.

    Args:
        keys: uint64 [M]. members: int64 [M], the number in `nodes` of the sample that each key belongs to.
        ranks: of `nodes`. low: least share of equal bytes of two sketches, in [0, 1].
    """
    order = np.lexsort((ranks[members], keys))
    keys, members = keys[order], members[order]
    leaders = np.full(len(members), -1, dtype=np.int64)
    alike = int(np.ceil(low * nodes.sketches.shape[1]))
    left_out = np.zeros(len(members), dtype=np.bool_)
    _lead(keys, members, nodes.sketches, nodes.fixed, alike, leaders, left_out)
    found = leaders >= 0
    better, worse = leaders[found], members[found]
    return Pairs(
        better=better, worse=worse, similarity=similarities(nodes.sketches, better, worse),
        crowds=_crowds(keys, members, left_out),
    )  # fmt: skip


def _crowds(keys: np.ndarray, members: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """As in `Pairs`; keys are sorted, and members of one key best first."""
    crowded = np.unique(keys[left_out])
    first = np.searchsorted(keys, crowded)
    sizes = np.searchsorted(keys, crowded, side="right") - first
    return np.stack([members[first], sizes], axis=1)


def survivors(pairs: Pairs, nodes: Nodes, ranks: np.ndarray, *, low: float) -> np.ndarray:
    """int64 [N]: the number of the sample that stands for each; its own where it survives."""
    order = np.lexsort((ranks[pairs.better], ranks[pairs.worse]))
    stands = np.arange(len(nodes), dtype=np.int64)
    alike = int(np.ceil(low * nodes.sketches.shape[1]))
    _survive(pairs.better[order], pairs.worse[order], ranks, nodes.sketches, alike, stands)
    return stands


@njit(cache=True)
def similarities(sketches, one, other):
    """The share of equal bytes of the sketches of each pair, float32."""
    result = np.empty(one.shape[0], dtype=np.float32)
    for pair in range(one.shape[0]):
        result[pair] = equal_bytes(sketches[one[pair]], sketches[other[pair]]) / sketches.shape[1]
    return result


@njit(cache=True)
def equal_bytes(one, other):
    """How many bytes of two sketches are equal."""
    count = 0
    for place in range(one.shape[0]):
        count += one[place] == other[place]
    return count


@njit(cache=True)
def _lead(keys, members, sketches, fixed, alike, leaders, left_out):
    """Fill in the leader that each member is paired with, -1 for none, and who can neither be paired nor lead; members are sorted by key,
    then rank.
    """
    leading = np.empty(MAX_LEADERS, dtype=np.int64)
    count = 0
    for place in range(members.shape[0]):
        if place == 0 or keys[place] != keys[place - 1]:
            count = 0
        member = members[place]
        for candidate in range(0 if fixed[member] else count):
            if equal_bytes(sketches[leading[candidate]], sketches[member]) >= alike:
                leaders[place] = leading[candidate]
                break
        if leaders[place] >= 0:
            continue
        if count < MAX_LEADERS:
            leading[count] = member
            count += 1
        else:
            left_out[place] = True


@njit(cache=True)
def _survive(better, worse, ranks, sketches, alike, stands):
    """Pairs are sorted by rank of the worse one, so that the fate of the better one is known."""
    place = 0
    while place < worse.shape[0]:
        member = worse[place]
        chosen = member
        while place < worse.shape[0] and worse[place] == member:
            partner = better[place]
            place += 1
            survivor = stands[partner]
            if ranks[survivor] >= ranks[chosen]:
                continue
            if survivor == partner or equal_bytes(sketches[survivor], sketches[member]) >= alike:
                chosen = survivor
        stands[member] = chosen
