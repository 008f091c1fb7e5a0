"""Byte model: a small n-gram model over the bytes of text, trained here, kept in one file of plain arrays.

The probability of a byte after its last 0 to ORDER-1 bytes: p_k = (count(context, byte) + WEIGHT p_(k-1)) / (count(context) + WEIGHT), from
the uniform p_0. Contexts share slots of one table by hash, so that a model has the same size whatever it has read.

Source: Dirichlet smoothing, MacKay and Peto, 1995; the sizes are ours.
"""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curation.operator import RecipeError
from curation.text.compiled import compiled, inner

ORDER = 5
SLOTS = 1 << 20
WEIGHT = 4.0
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ByteModel:
    """Counts of contexts and of contexts with their next byte, uint32 [ORDER, SLOTS] each."""

    contexts: np.ndarray
    bytes: np.ndarray

    def bits_per_byte(self, texts: Iterable[str]) -> np.ndarray:
        """Mean bits that a byte of each text costs; NaN without text."""
        data, offsets = _joined(texts)
        bits = np.full(len(offsets) - 1, np.nan)
        _score(data, offsets, self.contexts, self.bytes, bits)
        return bits

    def save(self, path: str | Path) -> None:
        """Write the model; what was there is replaced."""
        with open(path, "wb") as file:
            np.savez_compressed(file, format=np.array(FORMAT), contexts=self.contexts, bytes=self.bytes)


def train(texts: Iterable[str]) -> ByteModel:
    """A model of these texts."""
    data, offsets = _joined(texts)
    model = ByteModel(contexts=np.zeros((ORDER, SLOTS), np.uint32), bytes=np.zeros((ORDER, SLOTS), np.uint32))
    _count(data, offsets, model.contexts, model.bytes)
    return model


def load(path: str | Path) -> ByteModel:
    """A model that was saved.

    Raises:
        RecipeError: there is no such file, or it is no byte model of this version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > 3 * 4 * ORDER * SLOTS:
            raise RecipeError(
                f"{path}: unpacks to {size:,} bytes, more than a byte model has: train one with byte_model.train"
            )
        with np.load(path, allow_pickle=False) as arrays:
            version, contexts, counts = int(arrays["format"]), arrays["contexts"], arrays["bytes"]
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise RecipeError(
            f"{path}: no byte model ({error}): train one with byte_model.train and save it there"
        ) from error
    shapes = {(array.shape, array.dtype.str) for array in (contexts, counts)}
    if version != FORMAT or shapes != {((ORDER, SLOTS), "<u4")}:
        raise RecipeError(f"{path}: format {version} with {shapes}; wanted format {FORMAT}: train it again")
    return ByteModel(contexts=contexts, bytes=counts)


def _joined(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


@inner
def _context(data, i, start, order):
    """Slot of the `order` bytes before i."""
    value = np.uint64(order + 1)
    for k in range(1, order + 1):
        byte = np.uint64(data[i - k]) if i - k >= start else np.uint64(256)
        value = (value ^ byte) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
    return value


@inner
def _slot(value):
    return ((value * np.uint64(0xD6E8FEB86659FD93)) >> np.uint64(40)) & np.uint64(SLOTS - 1)


@compiled
def _count(data, offsets, contexts, counts):
    for text in range(len(offsets) - 1):
        for i in range(offsets[text], offsets[text + 1]):
            for order in range(ORDER):
                context = _context(data, i, offsets[text], order)
                contexts[order, _slot(context)] += np.uint32(1)
                counts[order, _slot(context + np.uint64(data[i]) + np.uint64(1))] += np.uint32(1)


@compiled
def _score(data, offsets, contexts, counts, bits):
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        total = 0.0
        for i in range(start, end):
            chance = 1 / 256
            for order in range(ORDER):
                context = _context(data, i, start, order)
                seen = contexts[order, _slot(context)]
                hits = min(counts[order, _slot(context + np.uint64(data[i]) + np.uint64(1))], seen)
                chance = (hits + WEIGHT * chance) / (seen + WEIGHT)
            total -= np.log2(chance)
        if end > start:
            bits[text] = total / (end - start)
