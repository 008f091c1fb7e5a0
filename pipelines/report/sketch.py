"""Sketch: how the values of one score lie, counted exactly between fixed edges, so that any bound among them can be tried later."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charts import Bounds

POSITIONS = 201  # places a bound can be tried at, besides every hundredth of the range and the bounds in force
BARS = 40
FEW = 40  # values so few that each gets a bar of its own


@dataclass(kw_only=True, eq=False)
class Sketch:
    """Counts of one score's values between edges.

    edges: ascending places of bounds; for each, samples below it and samples not above it are counted exactly, whatever the
    edges were chosen from. bars: ascending limits of the histogram, all of them among the edges. log: whether its axis is
    logarithmic. measured, kept, ended: samples with the score, those of them in the shards, those that this filter dropped.
    """

    edges: np.ndarray
    bars: np.ndarray
    log: bool
    nan: int = 0
    lowest: float = np.inf
    highest: float = -np.inf
    _cuts: np.ndarray = field(init=False)
    _counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        # Between an edge and the next number above it lie exactly the values equal to the edge.
        self._cuts = np.unique(np.concatenate([self.edges, np.nextafter(self.edges, np.inf)]))
        self._counts = np.zeros((3, len(self._cuts) + 1), dtype=np.int64)

    @classmethod
    def over(cls, values: np.ndarray, bounds: Bounds) -> "Sketch":
        """An empty sketch whose edges suit these values (finite, at least one) and hold the bounds."""
        unique = np.unique(values)
        log = bool(unique[0] > 0 and unique[-1] > 10 * np.median(values))
        bars = _bars(values, unique, log=log)
        positions = np.quantile(values, np.linspace(0, 1, POSITIONS), method="inverted_cdf")
        limits = [b for b in (bounds.low, bounds.high) if b is not None]
        edges = unique if len(unique) <= POSITIONS else positions
        return cls(edges=np.unique(np.concatenate([edges, bars, np.asarray(limits, dtype=float)])), bars=bars, log=log)

    def add(self, values: np.ndarray, kept: np.ndarray, ended: np.ndarray) -> None:
        """Count values, with a mask of those in the shards and of those that the score's own filter dropped."""
        missing = np.isnan(values)
        if missing.any():
            self.nan += int(missing.sum())
            values, kept, ended = values[~missing], kept[~missing], ended[~missing]
        if not len(values):
            return
        place = np.searchsorted(self._cuts, values, side="right")
        for row, mask in enumerate((None, kept, ended)):
            self._counts[row] += np.bincount(place if mask is None else place[mask], minlength=self._counts.shape[1])
        self.lowest, self.highest = min(self.lowest, float(values.min())), max(self.highest, float(values.max()))

    @property
    def measured(self) -> int:
        """Samples that have the score (NaN apart)."""
        return int(self._counts[0].sum())

    def below(self, edge: float, kind: int = 0) -> int:
        """Values below an edge. kind: 0 measured, 1 in the shards, 2 dropped by this filter."""
        return int(self._counts[kind, : np.searchsorted(self._cuts, edge, side="right")].sum())

    def equal(self, edge: float, kind: int = 0) -> int:
        """Values equal to an edge."""
        return int(self._counts[kind, np.searchsorted(self._cuts, edge, side="right")])

    def within(self, bounds: Bounds, kind: int = 0) -> int:
        """Values that bounds among the edges keep."""
        total = int(self._counts[kind].sum())
        under = 0 if bounds.low is None else self.below(bounds.low, kind)
        upto = total if bounds.high is None else self.below(bounds.high, kind) + self.equal(bounds.high, kind)
        return max(0, upto - under)

    def histogram(self) -> dict[str, list[int]]:
        """Samples per bar; the first and the last bar also hold what lies beyond them."""
        kinds = {}
        for kind, name in ((1, "in the shards"), (2, "dropped here"), (0, "lost elsewhere")):
            under = np.array([self.below(edge, kind) for edge in self.bars[1:-1]])
            steps = np.concatenate([[0], under, [self._counts[kind].sum()]])
            kinds[name] = np.diff(steps)
        kinds["lost elsewhere"] = kinds["lost elsewhere"] - kinds["in the shards"] - kinds["dropped here"]
        return {name: [int(n) for n in numbers] for name, numbers in kinds.items() if numbers.any()}

    def quantile(self, share: float) -> float:
        """The value below which about that share of the values lies: an edge, exact where the edges are all values."""
        running = np.cumsum(self._counts[0])
        place = int(np.searchsorted(running, share * running[-1], side="left"))
        return float(
            np.clip(self._cuts[min(place, len(self._cuts)) - 1] if place else self.lowest, self.lowest, self.highest)
        )

    def what_if(self) -> dict[str, Any]:
        """What the slider of the report needs: edges, and cumulative counts at each of them."""
        return {
            "edges": [float(edge) for edge in self.edges],
            "below": _steps([self.below(edge) for edge in self.edges]),
            "upto": _steps([self.below(edge) + self.equal(edge) for edge in self.edges]),
            "kept_below": _steps([self.below(edge, 1) for edge in self.edges]),
            "kept_upto": _steps([self.below(edge, 1) + self.equal(edge, 1) for edge in self.edges]),
            "measured": self.measured,
            "kept": int(self._counts[1].sum()),
            "first": float(self.bars[0]),
            "last": float(self.bars[-1]),
            "log": self.log,
        }


def _steps(counts: Sequence[int]) -> list[int]:
    """Differences of cumulative counts: shorter in the page."""
    return [int(n) for n in np.diff(np.asarray(counts), prepend=0)]


def _bars(values: np.ndarray, unique: np.ndarray, *, log: bool) -> np.ndarray:
    """Limits of the bars: equally wide over the bulk of the values, or one narrow bar around each of a few."""
    scale, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    if len(unique) <= min(FEW, len(values) / 2) or len(unique) == 1:
        places = scale(unique)
        width = (
            max(float(np.diff(places).min(initial=np.inf)), float(places[-1] - places[0]) / 80)
            if len(unique) > 1
            else 1.0
        )
        middles = (places[1:] + places[:-1]) / 2
        left = np.maximum(places - width / 2, np.concatenate([[-np.inf], middles]))
        right = np.minimum(places + width / 2, np.concatenate([middles, [np.inf]]))
        return np.unique(back(np.concatenate([left, right])))
    first, last = np.quantile(values, [0.001, 0.999])
    if first == last:
        first, last = unique[0], unique[-1]
    return np.geomspace(first, last, BARS + 1) if log else np.linspace(first, last, BARS + 1)
