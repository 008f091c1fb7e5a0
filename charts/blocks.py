"""Blocks: what a page is made of, as values; each names the template that shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup


class Share(float):
    """A share of something, 0 to 1; shown in per cent."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Something to look at. title: what it is; look: one sentence that says what to look for."""

    TEMPLATE: ClassVar[str]

    title: str = ""
    look: str = ""

    def facts(self) -> Any:
        """The numbers behind it as JSON, or None."""
        return None


@dataclass(frozen=True, kw_only=True)
class Chart(Block):
    """A picture of numbers. svg: trusted markup, made by `charts.plots` and never from text of a corpus."""

    TEMPLATE = "chart.html"

    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Table(Block):
    """Rows of numbers, shares and texts, one cell per column; None is an empty cell."""

    TEMPLATE = "table.html"

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), (
            f"{self.title}: a row is not as wide as its head"
        )

    def facts(self) -> list[dict[str, Any]]:
        """One mapping per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Facts(Block):
    """Names and values, one line each."""

    TEMPLATE = "facts.html"

    values: Mapping[str, Any]

    def facts(self) -> dict[str, Any]:
        """The values."""
        return dict(self.values)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of a page. lead: what it answers."""

    title: str
    lead: str = ""
    blocks: Sequence[Block] = ()

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return "".join(c if c.isalnum() and c.isascii() else "-" for c in self.title.lower())

    def facts(self) -> Any:
        """The numbers of its blocks, by title; those of an only block without a title alone; blocks without numbers are left out."""
        if len(self.blocks) == 1 and not self.blocks[0].title:
            return self.blocks[0].facts()
        return {block.title: facts for block in self.blocks if (facts := block.facts()) is not None}
