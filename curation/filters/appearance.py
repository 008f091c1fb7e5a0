"""Appearance filters: what pictures look like, all from one small decode that every operator of the pass shares.

Pictures are measured at a short side between 224 and 448 pixels (a power of two of their own: JPEG decodes to it
directly), or at full size if they are smaller. Cost: one small decode, then some 0.15 ms a picture for all of them.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import polars as pl

from curation.batch import Batch
from curation.media.appearance import SHORT_SIDE, Appearance, appearance
from curation.media.textlike import text_share
from curation.operator import Filter
from curation.sample import SampleError

Fold = Literal["lowest", "highest"]


@dataclass(frozen=True, kw_only=True)
class AppearanceFilter(Filter):
    """A number of a sample's pictures: of several, `of` says whether the lowest or the highest stands for the sample.

    Null without pictures (clips have measures of their own).
    """

    of: Fold = "lowest"

    FIELD: ClassVar[str] = ""

    @property
    def short_side(self) -> int:
        """All of these see the same pictures."""
        return SHORT_SIDE

    @property
    def name(self) -> str:
        """The class; with the fold where it is not the class's own, so that both ends can be bounded in one branch."""
        own = type(self).__dataclass_fields__["of"].default
        return type(self).__name__ if self.of == own else f"{type(self).__name__}[{self.of}]"

    def measure(self, batch: Batch) -> pl.Series:
        """One number per sample."""
        return batch.shared("appearance", _appearances)[f"{self.of}.{self.FIELD}"]


def _appearances(batch: Batch) -> pl.DataFrame:
    """Lowest and highest of every field over a sample's pictures; a picture that does not decode fails its sample."""
    rows: list[tuple[float | None, ...]] = []
    nothing = (None,) * (2 * len(Appearance._fields))
    for index, sample in enumerate(batch.samples):
        batch.beat(0)
        try:
            seen = [
                appearance(batch.pixels(index, number, short_side=SHORT_SIDE))
                for number, medium in enumerate(sample.media)
                if medium.kind == "image"
            ]
        except SampleError as error:
            batch.errors[index] = error
            seen = []
        if len(seen) == 1:
            rows.append((*seen[0], *seen[0]))
        else:
            rows.append((*map(min, zip(*seen, strict=True)), *map(max, zip(*seen, strict=True))) if seen else nothing)
    names = [f"{fold}.{field}" for fold in ("lowest", "highest") for field in Appearance._fields]
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        {name: pl.Series(column, dtype=pl.Float64) for name, column in zip(names, columns, strict=True)}
    )


@dataclass(frozen=True, kw_only=True)
class Brightness(AppearanceFilter):
    """Mean luma over 255, in [0, 1]: 0 is black, 1 white. Of several pictures the darkest.

    Source: ours; photographs lie between 0.1 and 0.9, scanned pages above 0.8.
    """

    FIELD: ClassVar[str] = "brightness"


@dataclass(frozen=True, kw_only=True)
class Contrast(AppearanceFilter):
    """Standard deviation of luma over 255 (root-mean-square contrast), in [0, 0.5]. Of several pictures the flattest.

    Source: ours; below 0.03 a picture is fog, night or an empty page.
    """

    FIELD: ClassVar[str] = "contrast"


@dataclass(frozen=True, kw_only=True)
class Entropy(AppearanceFilter):
    """Shannon entropy of the luma histogram in bits, in [0, 8]. Of several pictures the poorest.

    Drawings and pages of text lie below 3, photographs mostly above 6.

    Source: Shannon, 1948, over 256 levels; there is no default, since pages are poor by nature.
    """

    VERSION: ClassVar[int] = 2
    FIELD: ClassVar[str] = "entropy"


@dataclass(frozen=True, kw_only=True)
class Sharpness(AppearanceFilter):
    """Variance of the Laplacian of luma, squared levels, >= 0. Of several pictures the least sharp.

    The picture is brought to a fixed range of sides first, so that one cut serves all sizes. Blurred photographs lie
    below 50, sharp ones in the hundreds and thousands.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000; no cut there.
    """

    VERSION: ClassVar[int] = 2
    FIELD: ClassVar[str] = "sharpness"


@dataclass(frozen=True, kw_only=True)
class Saturation(AppearanceFilter):
    """Mean chroma (largest minus smallest channel) over mean value (largest channel), in [0, 1]. Of several the palest.

    A mean of the pixels' own ratios would count the colour noise of dark areas; this does not.

    Source: ours, after HSV.
    """

    FIELD: ClassVar[str] = "saturation"


@dataclass(frozen=True, kw_only=True)
class Grayscale(AppearanceFilter):
    """Share of pixels without colour (channels within 12 levels), in [0, 1]. Of several pictures the greyest.

    Grey pictures stored in colour count as grey: what lossy coding adds stays within 12 levels.

    Source: ours.
    """

    of: Fold = "highest"

    FIELD: ClassVar[str] = "grayscale"


@dataclass(frozen=True, kw_only=True)
class Blank(AppearanceFilter):
    """Share of pixels within 2 levels of the commonest luma, in [0, 1]. Of several pictures the emptiest.

    Placeholders, single colours and failed renders come near 1.

    Source: ours; the default cuts what is plain but for one pixel in fifty. A page of text holds more ink than that.
    """

    high: float | None = 0.98
    of: Fold = "highest"

    FIELD: ClassVar[str] = "blank"


@dataclass(frozen=True, kw_only=True)
class Borders(AppearanceFilter):
    """Share of the area in uniform margins (letterboxes, frames), in [0, 1]. Of several pictures the most framed.

    Rows above and below whose luma spans at most 16 levels, and such columns at the sides between them. Borders are
    visual tokens that say nothing.

    Source: ours. Wide margins are normal on pages, so there is no default.
    """

    of: Fold = "highest"

    FIELD: ClassVar[str] = "borders"


@dataclass(frozen=True, kw_only=True)
class TextArea(AppearanceFilter):
    """Share of the area that looks like lines of text, in [0, 1]. Of several pictures the one with the most.

    By strokes alone, on the small decode: letters lower than 4 pixels there are missed (see
    `curation.media.textlike`). Cost: some 0.6 ms a picture.

    Source: ours, a coarse sign and no OCR. In a mixed corpus 97 % of photographs lay below 0.02, half of the receipts
    and PDF pages above 0.04 (AUC 0.92 between them; 0.73 between photographs and the same with a line drawn on).
    """

    of: Fold = "highest"

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        fold = min if self.of == "lowest" else max

        def share(index: int) -> float | None:
            media = batch.samples[index].media
            images = [number for number, medium in enumerate(media) if medium.kind == "image"]
            return fold((_text_share(batch, index, number) for number in images), default=None)

        return batch.measure_each(share)


def _text_share(batch: Batch, index: int, number: int) -> float:
    pixels = batch.pixels(index, number, short_side=SHORT_SIDE)
    return text_share(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
