"""Batch: consecutive samples of a part, with what a pass computes about them once and all operators share.

Header facts are columns (`media`), encoded bytes are read when first asked for, pixels are decoded at most once per pass. A batch is
small enough that its decoded pixels fit in memory; batches are cut from a part in row order by `batches`, so that a model's batch never
depends on scheduling.
"""

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import polars as pl

from curation.media.decode import decode_image, reduction
from curation.media.read import LONG_BYTES, open_reference, read_reference
from curation.media.video import VideoScan, scan_video
from curation.sample import Media, Sample, SampleError
from curation.uris import is_remote

# Decoded pixels of one batch at full size; a single larger image still makes a batch of its own.
BATCH_PIXEL_BYTES = 24 << 20
# With an encoder in the pass, per picture of its groups: a group that is not full is filled up, so there should be many in a batch.
GROUP_PIXEL_BYTES = 8 << 20
# What a character costs beside pixels: its copies in columns, and the tokens of the longest text.
CHARACTER_BYTES = 16
# Pixels of a video's frames for which the watchdog allows as long as for a byte: 7 ms per megapixel.
FRAME_PIXELS_PER_BYTE = 300
# The same for a store that is asked again for half a minute before it is given up.
STORE_BYTES = 20 << 20
# Whatever a header says, no clip decodes for longer than ten minutes.
MAX_FRAME_BYTES = 300 << 20


@dataclass(frozen=True)
class MediaColumns:
    """Header facts of a batch's media, one entry per medium in order; unknown facts are 0 (duration of some containers).

    sample: index in the batch. medium: number within the sample. kind, format: strings. The rest are floats; bytes: encoded size.
    """

    sample: np.ndarray
    medium: np.ndarray
    kind: np.ndarray
    format: np.ndarray
    width: np.ndarray
    height: np.ndarray
    duration: np.ndarray
    fps: np.ndarray
    frames: np.ndarray
    bytes: np.ndarray

    def only(self, kind: Literal["image", "video"]) -> "MediaColumns":
        """The media of one kind."""
        mask = self.kind == kind
        if mask.all():
            return self
        return MediaColumns(*(getattr(self, field.name)[mask] for field in fields(self)))


class Batch:
    """Consecutive samples under one pass.

    `counters` counts what was really done ("media_read", "media_decoded"), which the report shows; `errors` holds the samples that
    failed, by index in the batch. A pass drops failed samples with `without_errors` before the next operator sees them.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        counters: Counter[str] | None = None,
        beat: Callable[[int], None] = lambda _: None,
        keep: Path | None = None,
        short_sides: Collection[int] = (),
    ) -> None:
        self.samples = list(samples)
        self.counters = Counter() if counters is None else counters
        self.beat = beat  # called with the media bytes of what comes next: the runner's watchdog
        self.keep = keep  # a folder for what is dear to compute (embeddings, captions): kept from run to run, a cache
        self.short_sides = short_sides  # at which sizes pictures are asked for in this pass, as far as is known
        self.errors: dict[int, SampleError] = {}
        self._pixels: dict[tuple[str, int, int], np.ndarray] = {}
        self._scans: dict[tuple[str, int], VideoScan] = {}
        self._bytes: dict[tuple[str, int], bytes] = {}
        self._clips: dict[tuple[str, int], BinaryIO] = {}
        self._shared: dict[str, pl.DataFrame] = {}

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def media(self) -> MediaColumns:
        """Header facts of all media, as columns. Plain arrays: batches are small, and a data frame's start-up costs more than its work."""
        rows = [
            (i, j, m.kind, m.format, m.width, m.height, m.duration, m.fps, m.frames, m.size)
            for i, sample in enumerate(self.samples)
            for j, m in enumerate(sample.media)
        ]
        columns = list(zip(*rows, strict=True)) or [()] * 10
        kinds = (np.intp, np.intp, object, object, *[np.float64] * 6)
        return MediaColumns(*(np.array(c, dtype=k) for c, k in zip(columns, kinds, strict=True)))

    @property
    def images(self) -> MediaColumns:
        """The media that are images."""
        return self.media.only("image")

    @property
    def videos(self) -> MediaColumns:
        """The media that are videos."""
        return self.media.only("video")

    def per_sample(self, media: MediaColumns, values: np.ndarray, *, worst: Literal["max", "min"]) -> pl.Series:
        """A number per medium folded to one per sample, the largest or the smallest. Null where a sample has no such medium."""
        fold, start = (np.fmax, -np.inf) if worst == "max" else (np.fmin, np.inf)
        folded = np.full(len(self), start)
        fold.at(folded, media.sample, values)
        has = np.zeros(len(self), dtype=bool)
        has[media.sample] = True
        series = pl.Series("value", folded)
        return series if has.all() else series.set(pl.Series(~has), None)

    def shared(self, name: str, compute: Callable[["Batch"], pl.DataFrame]) -> pl.DataFrame:
        """Columns that several operators of a pass need, one row per sample in order, computed by the first that asks.

        `name` stands for `compute` and every setting it depends on. The columns follow the samples that go on, until a transform
        rewrites one of them.
        """
        if name not in self._shared:
            self._shared[name] = compute(self)
        return self._shared[name]

    def texts(self) -> pl.Series:
        """What each sample says, all turns but system turns, without tags."""
        return pl.Series("text", [sample.text() for sample in self.samples], dtype=pl.String)

    def captions(self) -> pl.Series:
        """What each sample would teach the model to say: its assistant turns."""
        return pl.Series("caption", [sample.answers() for sample in self.samples], dtype=pl.String)

    def encoded(self, index: int, medium: int) -> bytes:
        """Encoded bytes of one medium, read in place.

        Raises:
            SampleError: they cannot be read.
        """
        item, key = self.samples[index].media[medium], (self.samples[index].id, medium)
        if item.data is not None:
            self.counters["media_read"] += key not in self._bytes
            self._bytes[key] = item.data
        elif key not in self._bytes:
            self.counters["media_read"] += 1
            self.beat(reading_bytes(item))
            self._bytes[key] = _read(item)
        self.beat(max(item.size, _frame_bytes(item)))
        return self._bytes[key]

    def clip(self, index: int, medium: int) -> BinaryIO:
        """Encoded bytes of one video as a seekable file; a long one is read where it lies, never in memory whole.

        Raises:
            SampleError: they cannot be read.
        """
        item, key = self.samples[index].media[medium], (self.samples[index].id, medium)
        if item.data is not None or item.reference is None or item.size <= LONG_BYTES:
            return io.BytesIO(self.encoded(index, medium))
        if key not in self._clips:
            self.counters["media_read"] += 1
            self.beat(reading_bytes(item))
            self._clips[key] = open_reference(item.reference)
        self.beat(max(item.size, _frame_bytes(item)))
        return self._clips[key]

    def pixels(self, index: int, medium: int, *, short_side: int = 0) -> np.ndarray:
        """Decoded image, uint8 [rows, columns, 3], RGB, upright; decoded once per size.

        `short_side` asks for no more than that (see `decode_image`); operators that ask for similar sides get the same
        pixels, and what they get never depends on which other operators a pass holds.

        Raises:
            SampleError: it does not decode.
        """
        item = self.samples[index].media[medium]
        factor = reduction(item.width, item.height, short_side) if item.width else short_side
        key = (self.samples[index].id, medium, factor if item.width else -factor)
        if key not in self._pixels:
            self.counters["media_decoded"] += 1
            self._pixels[key] = decode_image(self.encoded(index, medium), short_side=short_side)
        return self._pixels[key]

    def decodes(self, index: int, medium: int) -> None:
        """Make sure that an image decodes to its last pixel, at whatever size it is or will be needed; else at the smallest.

        Raises:
            SampleError: it does not.
        """
        if not any((self.samples[index].id, medium, factor) in self._pixels for factor in (1, 2, 4, 8)):
            self.pixels(index, medium, short_side=min(self.short_sides, default=1))

    def scan(self, index: int, medium: int, *, thorough: bool = False) -> VideoScan:
        """What one decode of a video shows; done once, unless a `thorough` one is asked for after one that was not.

        What it says of the pictures is the same either way; a thorough one also knows that every frame decodes.

        Raises:
            SampleError: it does not decode.
        """
        key = (self.samples[index].id, medium)
        known = self._scans.get(key)
        if known is None or (thorough and not known.thorough):
            self.counters["media_decoded"] += 1
            self._scans[key] = scan_video(self.clip(index, medium), thorough=thorough)
        return self._scans[key]

    def measure_each(self, measure: Callable[[int], float | None]) -> pl.Series:
        """One number per sample from a function of its index; a SampleError fails that sample only."""
        values: list[float | None] = []
        for index in range(len(self)):
            self.beat(0)
            try:
                values.append(measure(index))
            except SampleError as error:
                self.errors[index] = error
                values.append(None)
        return pl.Series("value", values, dtype=pl.Float64)

    def each(self, rewrite: Callable[[Sample], Sample]) -> list[Sample]:
        """Every sample rewritten; a SampleError fails that sample only and leaves it as it was."""
        rewritten = list(self.samples)
        for index, sample in enumerate(self.samples):
            self.beat(0)
            try:
                rewritten[index] = rewrite(sample)
            except SampleError as error:
                self.errors[index] = error
        return rewritten

    def take(self, indices: Iterable[int], samples: Sequence[Sample] | None = None) -> "Batch":
        """Some samples as a batch that shares what was read and decoded; `samples` replaces the originals (after a transform)."""
        indices = list(indices)
        samples = self.samples if samples is None else samples
        part = Batch(
            [samples[i] for i in indices],
            counters=self.counters,
            beat=self.beat,
            keep=self.keep,
            short_sides=self.short_sides,
        )
        part._pixels, part._scans, part._bytes, part._clips = self._pixels, self._scans, self._bytes, self._clips
        if all(samples[i] is self.samples[i] for i in indices):
            part._shared = {name: table[indices] for name, table in self._shared.items()}
        return part


def reading_bytes(medium: Media) -> int:
    """What reading a medium is to the watchdog."""
    remote = medium.data is None and medium.reference is not None and is_remote(medium.reference.uri)
    return medium.size + (STORE_BYTES if remote else 0)


def _frame_bytes(medium: Media) -> int:
    """The encoded bytes that would take as long to decode as the frames of this video, which may be many and small."""
    frames = medium.frames or medium.duration * medium.fps
    return min(MAX_FRAME_BYTES, int(frames * medium.width * medium.height / FRAME_PIXELS_PER_BYTE))


def _read(medium: Media) -> bytes:
    if medium.reference is None:
        raise SampleError(f"{medium.kind} has neither bytes nor a reference: its source must give one of them")
    return read_reference(medium.reference)


def batches(
    samples: Iterable[Sample], *, size: int = 64, pixel_bytes: int = BATCH_PIXEL_BYTES, group: int = 1
) -> Iterator[list[Sample]]:
    """Consecutive samples in lists of at most `size` whose images, decoded at full size, and texts stay within `pixel_bytes`.

    group: pictures per inference of an encoder that will see them. Lists have room for several groups and end with a full one
    where they can, so that little is inferred only to fill a group up.
    """
    if group > 1:
        size, pixel_bytes = max(size, 4 * group), max(pixel_bytes, group * GROUP_PIXEL_BYTES)
    batch: list[Sample] = []
    weights: list[int] = []
    for sample in samples:
        need = sum(3 * m.width * m.height if m.kind == "image" else m.size for m in sample.media)
        need += CHARACTER_BYTES * sum(len(turn.text) for turn in sample.turns)
        if batch and (len(batch) >= size or sum(weights) + need > pixel_bytes):
            full = len(batch) - len(batch) % group or len(batch)
            yield batch[:full]
            batch, weights = batch[full:], weights[full:]
        batch.append(sample)
        weights.append(need)
    if batch:
        yield batch
