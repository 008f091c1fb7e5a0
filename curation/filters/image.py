"""Image filters: shape and integrity of a sample's media. Shapes come from headers and hold for videos as well."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.media.formats import require_format
from curation.media.headers import read_header
from curation.media.video import VideoScan
from curation.operator import Filter
from curation.sample import SampleError


@dataclass(frozen=True, kw_only=True)
class AspectRatio(Filter):
    """Long side over short side of the most elongated image or video, >= 1, as displayed. Null without media.

    Strips and banners waste visual tokens and are captioned badly. Header only. A size that is not known counts as
    infinite.

    Source: DataComp basic filtering, arXiv:2304.14108 (ratio <= 3). VideoLLaMA3, arXiv:2501.13106, filters on it but
    does not disclose its cut.
    """

    high: float | None = 3.0

    def measure(self, batch: Batch) -> pl.Series:
        """One ratio per sample."""
        media = batch.media
        short, long = np.minimum(media.width, media.height), np.maximum(media.width, media.height)
        ratio = np.divide(long, short, out=np.full(len(short), np.inf), where=short > 0)
        return batch.per_sample(media, ratio, worst="max")


@dataclass(frozen=True, kw_only=True)
class ShortSide(Filter):
    """Short side in pixels of the smallest image or video, as displayed. Null without media.

    Icons and thumbnails carry less than their captions say. Header only. A size that is not known counts as 0.

    Source: DataComp basic filtering, arXiv:2304.14108, cuts at 200 pixels. VideoLLaMA3 does not disclose a cut; ours is
    64, some 4 x 4 patches of 14 pixels, below which its encoder sees next to nothing.
    """

    low: float | None = 64

    def measure(self, batch: Batch) -> pl.Series:
        """One length per sample, in pixels."""
        return batch.per_sample(batch.media, np.minimum(batch.media.width, batch.media.height), worst="min")


@dataclass(frozen=True, kw_only=True)
class Pixels(Filter):
    """Pixels (width x height) of the smallest image or video frame, >= 0. Null without media. Header only.

    Source: ours; one visual token of VideoLLaMA3, arXiv:2501.13106, covers 196 pixels. No default: ShortSide is the
    usual cut.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample, in pixels."""
        return batch.per_sample(batch.media, batch.media.width * batch.media.height, worst="min")


@dataclass(frozen=True, kw_only=True)
class BytesPerPixel(Filter):
    """Encoded bytes per pixel of the most thinly coded image, > 0. Null without images. Header only.

    Below 0.05 a photograph was squeezed until blocks show, or it is nearly blank; pages and drawings compress that far
    without harm. An animation's bytes are shared among its frames; a size that is not known counts as infinite.

    Source: ours, and no default: it depends on the codec.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One ratio per sample, in bytes per pixel."""
        media = batch.images
        pixels = media.width * media.height * np.maximum(media.frames, 1)
        ratio = np.divide(media.bytes, pixels, out=np.full(len(pixels), np.inf), where=pixels > 0)
        return batch.per_sample(media, ratio, worst="min")


@dataclass(frozen=True, kw_only=True)
class ImageFrames(Filter):
    """Frames of the most animated image (pages, of a TIFF), >= 1. Null without images. Header only.

    Of an animation only the first frame is ever shown to a model; a caption of what moves does not fit it.

    Source: ours; no default, since first frames are sound pictures.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return batch.per_sample(batch.images, batch.images.frames, worst="max")


@dataclass(frozen=True, kw_only=True)
class Orientation(Filter):
    """EXIF orientation of the most turned image as stored, in [1, 8]; 1 is upright. Null without images. Reads headers again.

    Pixels and sizes are upright everywhere in the project; this records that they were turned. Readers that ignore EXIF
    show such pictures sideways.

    Source: EXIF 2.3, tag 0x0112 (5 to 8 swap the sides).
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One number per sample."""

        def turned(index: int) -> float | None:
            media = batch.samples[index].media
            images = [batch.encoded(index, number) for number, medium in enumerate(media) if medium.kind == "image"]
            return max(
                (float(read_header(data, require_format(data, "image")).orientation) for data in images), default=None
            )

        return batch.measure_each(turned)


@dataclass(frozen=True, kw_only=True)
class Decodable(Filter):
    """Share of a sample's media that decode from first to last pixel or frame, in [0, 1]. Null without media.

    It is 1 or the sample is quarantined: the medium that fails raises its error, so that what the decoder said is kept.
    A video must give all its declared frames, but for a few that edit lists and stream ends legally lose
    (`VideoScan.complete`). One decode, shared with every other operator of the pass. `every_frame` decodes those H.264
    frames too on which no other leans, for up to twice the cost; without it they need only be whole (see
    `Frames`), so that bits changed within one of them go unseen.

    Source: ours; readers that skip or pad what they cannot decode train on captions of grey.
    """

    low: float | None = 1.0
    every_frame: bool = True

    def measure(self, batch: Batch) -> pl.Series:
        """1.0 for each sample with media, or its error."""
        return batch.measure_each(lambda index: _decode_all(batch, index, every_frame=self.every_frame))


def _decode_all(batch: Batch, index: int, *, every_frame: bool) -> float | None:
    media = batch.samples[index].media
    for number, medium in enumerate(media):
        try:
            if medium.kind == "image":
                batch.decodes(index, number)
            else:
                _require_complete(batch.scan(index, number, thorough=every_frame))
        except SampleError as error:
            place = f"{medium.kind} {number + 1} of {len(media)}"
            raise SampleError(f"{place}: {error}", retryable=error.retryable) from error
    return 1.0 if media else None


def _require_complete(scan: VideoScan) -> None:
    if not scan.complete:
        wanted = f"of {scan.declared:,} declared frames" if scan.declared else f"frames ({scan.errors:,} packets fail)"
        said = f"; the decoder says: {scan.error}" if scan.error else ""
        raise SampleError(f"{scan.frames:,} {wanted} decode{said}: fetch it again or cut it to {scan.last:.2f} s")
