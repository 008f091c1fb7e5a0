"""Text samples: how the tests of text filters make and measure them."""

import polars as pl

from curation.batch import Batch
from curation.operator import Filter
from curation.sample import Media, Origin, Sample, Turn, document_turns

ORIGIN = Origin(source="test", locator="file#1", name="1")


def document(text: str) -> Sample:
    return Sample(id=f"{hash(text) & (2**128 - 1):032x}", turns=document_turns(text), media=(), origin=ORIGIN)


def talk(*turns: tuple[str, str], media: int = 0, times: bool = False) -> Sample:
    made = tuple(Turn(role=r, text=t, time=float(i) if times else None) for i, (r, t) in enumerate(turns))  # type: ignore[arg-type]
    images = tuple(Media(kind="image", width=100, height=50) for _ in range(media))
    return Sample(id="0" * 32, turns=made, media=images, origin=ORIGIN)


def measure(operator: Filter, *samples: Sample | str) -> list[float | None]:
    batch = Batch([document(s) if isinstance(s, str) else s for s in samples])
    return pl.Series("value", operator.open()(batch), dtype=pl.Float64, strict=False).to_list()
