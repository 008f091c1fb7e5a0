"""Blocks of the dataset report: samples to look at, a score with its sliders, a branch's chain."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from charts import Block


@dataclass(frozen=True, kw_only=True)
class Card:
    """A sample to look at. pictures: data URIs with their label; note: why it stands here; facts: its numbers."""

    id: str
    origin: str
    note: str
    caption: str
    before: str = ""
    pictures: Sequence[tuple[str, str]] = ()
    missing: str = ""
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cards(Block):
    """Samples side by side. folded: shown when asked for; strips: below each other, each as wide as the page."""

    TEMPLATE = "cards.html"

    cards: Sequence[Card]
    folded: bool = False
    strips: bool = False


@dataclass(frozen=True, kw_only=True)
class WhatIf(Block):
    """A score: its histogram, two sliders for its bounds, and samples near the bounds."""

    TEMPLATE = "whatif.html"

    branch: str
    score: str
    svg: Markup
    sketch: Mapping[str, Any]
    low: float | None
    high: float | None
    quantiles: Mapping[str, float]
    rows: Sequence[Cards] = ()

    @property
    def name(self) -> str:
        """Its name among the page's elements."""
        return re.sub(r"[^A-Za-z0-9]+", "-", f"{self.branch}-{self.score}")

    @property
    def positions(self) -> int:
        """How many places a bound can take."""
        return len(self.sketch["edges"])

    def place(self, bound: float | None, none: int) -> int:
        """The slider's position of a bound; `none` when there is none."""
        return none if bound is None else self.sketch["edges"].index(bound)

    def facts(self) -> dict[str, Any]:
        """Bounds, counts and quantiles."""
        return {
            "measured": self.sketch["measured"],
            "in the shards": self.sketch["kept"],
            "low": self.low,
            "high": self.high,
            "quantiles": dict(self.quantiles),
        }


@dataclass(frozen=True, kw_only=True)
class Link:
    """One node of a chain. share: of what the branch read, what is left after it; rate: samples per second and worker."""

    name: str
    settings: str
    seen: int
    kept: int
    share: float
    rate: str
    lost: str
    barrier: bool


@dataclass(frozen=True, kw_only=True)
class Chain(Block):
    """A branch from its source to the shards."""

    TEMPLATE = "chain.html"

    links: Sequence[Link]


@dataclass(frozen=True, kw_only=True)
class Folded(Block):
    """Text for machines, shown when asked for."""

    TEMPLATE = "folded.html"

    text: str
