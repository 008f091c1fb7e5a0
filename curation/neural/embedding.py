"""Embedding: the media of a sample as one vector, computed once and used by every score, dedup and balance that asks for it.

In a pass they are shared columns of the batch; between passes and runs they lie in the part's folder, in half precision, under
the encoder's key and the sample's id, which covers its media. A sample's vector is the normalised mean over its media, a video's
the mean over its frames.

Shapes: B samples, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import polars as pl

from curation.neural.encoder import Encoder, EncoderSpec, unit
from curation.neural.journal import Journal
from curation.operator import OperatorError
from curation.sample import SampleError
from model.frames import decode_frames, plan_frames
from model.geometry import VisualRules

if TYPE_CHECKING:
    from curation.batch import Batch

# Frames of a video are decoded at most this high or wide on their short side: no encoder looks at more.
FRAME_SIDE = 512
# What loading weights is to the runner's watchdog: ten minutes.
LOADING_BYTES = 300 << 20


class _PastEndError(ValueError):
    """A clip has fewer frames than were asked for: how many is only known when it is decoded."""


@dataclass(frozen=True, kw_only=True)
class MediaEmbedding:
    """What a Select asks for: `open()` gives a function from a batch to float16 [B, D], NaN where a sample has no media."""

    encoder: EncoderSpec

    @property
    def short_side(self) -> int:
        """That of its encoder."""
        return self.encoder.short_side

    def open(self) -> Callable[[Batch], np.ndarray]:
        """Called once per worker."""
        return partial(media_embeddings, spec=self.encoder)


def media_embeddings(batch: Batch, spec: EncoderSpec) -> np.ndarray:
    """The vector of every sample, float16 [B, D], unit length; NaN without media. Failures go to `batch.errors`."""
    table = batch.shared(spec.key, partial(_table, spec=spec))
    column = table["vector"]
    width = column.dtype.shape[0] if isinstance(column.dtype, pl.Array) else 0
    return column.to_numpy().reshape(len(batch), width).astype(np.float16)


def text_embeddings(batch: Batch, spec: EncoderSpec, texts: list[str], name: str) -> np.ndarray:
    """The vectors of a text per sample, float32 [B, D]; `name` says which texts, for sharing. Cut texts are counted."""

    def compute(_: Batch) -> pl.DataFrame:
        vectors, cut = _loaded(batch, spec).texts(texts)
        batch.counters["texts_truncated"] += int((cut > 0).sum())
        return pl.DataFrame({"vector": _column(vectors.astype(np.float16)), "cut": cut})

    column = batch.shared(f"{spec.key}/{name}", compute)["vector"]
    return column.to_numpy().reshape(len(batch), -1).astype(np.float32)


def _table(batch: Batch, spec: EncoderSpec) -> pl.DataFrame:
    """Vectors of a batch: those that are kept, and the others computed and kept."""
    journal = _journal(batch.keep, spec.key) if batch.keep else Journal(None, "")
    keys = [bytes.fromhex(sample.id) for sample in batch.samples]
    found: list[bytes | None] = [journal.get(key) for key in keys]
    missing = [i for i, known in enumerate(found) if known is None and batch.samples[i].media]
    if missing:
        for index, vector in _computed(batch, _loaded(batch, spec), missing, spec.frames):
            found[index] = vector.astype(np.float16).tobytes()
            journal.put(keys[index], found[index] or b"")
    batch.counters["embedded"] += len(missing)
    width = max((len(known) // 2 for known in found if known), default=0)
    rows = np.full((len(batch), width), np.nan, np.float16)
    for index, known in enumerate(found):
        if known:
            if len(known) != 2 * width:
                raise OperatorError(
                    f"{spec.model}: kept embeddings of {len(known) // 2} and {width} numbers: delete {batch.keep}"
                )
            rows[index] = np.frombuffer(known, np.float16)
    return pl.DataFrame({"vector": _column(rows)})


def _loaded(batch: Batch, spec: EncoderSpec) -> Encoder:
    """The encoder; the first batch of a worker waits for its weights."""
    batch.beat(LOADING_BYTES)
    encoder = spec.load()
    batch.beat(0)
    return encoder


def _column(rows: np.ndarray) -> pl.Series:
    """Rows as a column of float32: polars computes with it, and every half is one."""
    return pl.Series("vector", rows.astype(np.float32), dtype=pl.Array(pl.Float32, rows.shape[1]))


# One pass works on one part: a worker keeps the journals of the few it came across last.
@lru_cache(maxsize=4)
def _journal(folder: Path, name: str) -> Journal:
    return Journal(folder, name)


def _computed(batch: Batch, encoder: Encoder, indices: list[int], frames: int) -> Iterator[tuple[int, np.ndarray]]:
    """The vector of each sample that has no failing medium; failures go to `batch.errors`."""
    owners = [(index, medium) for index in indices for medium in range(len(batch.samples[index].media))]
    shares = [(index, picture) for index, medium in owners for picture in _pictures(batch, index, medium, frames)]
    sums: dict[int, list[np.ndarray]] = {}
    for (index, _), vector in zip(shares, encoder.pictures(picture for _, picture in shares), strict=True):
        batch.beat(0)
        if isinstance(vector, np.ndarray):
            sums.setdefault(index, []).append(vector)
        elif not isinstance(vector, _PastEndError) and index not in batch.errors:
            batch.errors[index] = (
                vector if isinstance(vector, SampleError) else SampleError(f"cannot be embedded: {vector}")
            )
    for index, vectors in sums.items():
        if index not in batch.errors:
            yield index, unit(np.mean(vectors, axis=0, keepdims=True))[0]


def _pictures(batch: Batch, index: int, medium: int, frames: int) -> list[Callable[[], np.ndarray]]:
    """Functions that give the pictures of one medium when they are called: an image, or a video's frames."""
    item = batch.samples[index].media[medium]
    if item.kind == "image":
        return [partial(batch.pixels, index, medium)]
    held: dict[str, Any] = {}

    def frame(number: int) -> np.ndarray:
        if "frames" not in held:
            held["frames"] = clip_frames(batch.clip(index, medium), frames)
            batch.counters["media_decoded"] += 1
        if number >= len(held["frames"]):
            raise _PastEndError(f"frame {number}")
        return held["frames"][number]

    return [partial(frame, number) for number in range(frames)]


def clip_frames(data: bytes | BinaryIO, frames: int) -> np.ndarray:
    """At most `frames` frames of a clip, one per second or evenly over a longer one: uint8 [frames, rows, columns, 3].

    Raises:
        SampleError: it does not decode.
    """
    try:
        plan = plan_frames(data, VisualRules(max_frames=frames, fps=1))
        scale = min(1.0, FRAME_SIDE / min(plan.height, plan.width))
        height, width = max(1, round(plan.height * scale)), max(1, round(plan.width * scale))
        return decode_frames(data, plan, height=height, width=width).pixels
    except ValueError as error:
        raise SampleError(f"video: {error}") from error
