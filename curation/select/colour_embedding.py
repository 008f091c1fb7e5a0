"""Colour embedding: a small vector of a picture without any model, for tests and small runs on machines without torch."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from curation.batch import Batch
from curation.media.appearance import SHORT_SIDE
from curation.sample import SampleError

# Cells per side, and directions of edges per cell.
_CELLS, _DIRECTIONS = 4, 8
WIDTH = _CELLS * _CELLS * (3 + _DIRECTIONS)


@dataclass(frozen=True, kw_only=True)
class ColourEmbedding:
    """Where a picture has which colours and edges: 176 numbers of unit length, the mean over a sample's images.

    It says that pictures look alike, not that they mean the same: use it where no encoder can be had. Videos are left out.
    """

    @property
    def short_side(self) -> int:
        """Of the pictures it is made from."""
        return SHORT_SIDE

    def open(self) -> Callable[[Batch], np.ndarray]:
        """Returns `embed`: there is nothing to load."""
        return self.embed

    def embed(self, batch: Batch) -> np.ndarray:
        """Float16 [B, 176]; NaN for samples without images, and for those that fail (`batch.errors`)."""
        rows = np.full((len(batch), WIDTH), np.nan, np.float32)
        for index, sample in enumerate(batch.samples):
            images = [number for number, medium in enumerate(sample.media) if medium.kind == "image"]
            try:
                vectors = [colours_and_edges(batch.pixels(index, n, short_side=SHORT_SIDE)) for n in images]
            except SampleError as error:
                batch.errors[index] = error
                continue
            if vectors:
                mean = np.mean(vectors, axis=0)
                rows[index] = mean / max(np.linalg.norm(mean), 1e-6)
        return rows.astype(np.float16)


def colours_and_edges(pixels: np.ndarray) -> np.ndarray:
    """Float32 [176] of unit length, of RGB uint8 pixels: mean colours, then edge strength by direction, each per cell."""
    side = 16 * _CELLS
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255 - 0.5
    colours = cv2.resize(small, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).ravel()
    grey = small.mean(axis=2)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    direction = (np.arctan2(down, across) % np.pi * (_DIRECTIONS / np.pi)).astype(int) % _DIRECTIONS
    cell = np.arange(side) // 16
    place = (cell[:, None] * _CELLS + cell[None, :]) * _DIRECTIONS + direction
    edges = np.bincount(place.ravel(), weights=np.hypot(across, down).ravel(), minlength=_CELLS * _CELLS * _DIRECTIONS)
    parts = [part / max(float(np.linalg.norm(part)), 1e-6) for part in (colours, edges.astype(np.float32))]
    return np.concatenate(parts) / np.float32(np.sqrt(2))
