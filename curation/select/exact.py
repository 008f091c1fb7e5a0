"""Exact dedup: samples with the same key are one group, and one of them survives."""

import hashlib
import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from blake3 import blake3

from curation.batch import Batch
from curation.sample import Sample, SampleError
from curation.select.crowds import NOBODY
from curation.select.partitioned import PartitionedSelect

Key = Literal["content", "bytes", "pixels", "text", "caption", "conversation"]


@dataclass(frozen=True, kw_only=True)
class ExactDedup(PartitionedSelect):
    """Keeps one sample of each group with the same key: the best score, then the smallest id.

    by: "content" = the same media bytes and the same turns; "bytes" = the same media bytes in the same order; "pixels" = the same decoded
    pictures, however their files differ (metadata, lossless re-encoding; videos by their bytes); "text" = the same words of all turns
    but system turns; "caption" = the same assistant turns; "conversation" = the same turns and places of media, whatever the media.
    Text is compared after NFKC, case folding and collapsing white space.
    alternates: where media alone are compared ("bytes", "pixels"), a survivor carries at most so many other captions of its duplicates.
    Samples that the key does not apply to (no media, no text) are never duplicates of each other. Keys are 128-bit
    digests: among 10^10 samples the chance of one false pair is below 10^-18.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("key_high", "key_low")

    by: Key = "content"
    alternates: int = 16

    @property
    def name(self) -> str:
        """The key, unless it is the default, is part of the name: several of these may stand in one branch."""
        return "ExactDedup" if self.by == "content" else f"ExactDedup[{self.by}]"

    @property
    def alike(self) -> float:
        """All bytes of the key."""
        return 1.0

    @property
    def carries(self) -> int:
        """Captions differ where words are no part of the key."""
        return self.alternates if self.by in ("bytes", "pixels") else 0

    def signature_settings(self) -> dict[str, Any]:
        """What keys depend on."""
        return {"version": self.VERSION, "by": self.by}

    def signature(self, batch: Batch) -> pl.DataFrame:
        """The key as two unsigned 64-bit columns, `key_high` and `key_low`; null where it does not apply."""
        keys = [self._key(batch, index) for index in range(len(batch))]
        halves = {
            "key_high": [None if key is None else int.from_bytes(key[:8], "big") for key in keys],
            "key_low": [None if key is None else int.from_bytes(key[8:], "big") for key in keys],
        }
        return pl.DataFrame(halves, schema=dict.fromkeys(self.COLUMNS, pl.UInt64))

    def keys(self, table: pl.DataFrame) -> np.ndarray:
        """uint64 [N, 1]: half of the key."""
        return table["key_high"].to_numpy().reshape(-1, 1)

    def sketches(self, table: pl.DataFrame) -> np.ndarray:
        """uint8 [N, 16]: the key."""
        return np.stack([table[half].to_numpy() for half in self.COLUMNS], axis=1).view(np.uint8)

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """All of each group but its survivor, with the survivor as `duplicate_of`, in no particular order.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        from curation.select.equal_keys import best_of_equal

        table = self.with_base(table).drop_nulls(self.COLUMNS)
        high, low = (table[half].to_numpy() for half in self.COLUMNS)
        stands = best_of_equal(high, low, table["score"].to_numpy(), table["id"])
        gone = np.flatnonzero(stands != np.arange(len(table)))
        chosen = {"id": table["id"].gather(gone), "duplicate_of": table["id"].gather(stands[gone])}
        return pl.DataFrame(chosen).with_columns(similarity=pl.lit(1.0))

    @property
    def short_side(self) -> int | None:
        """Whole pictures, where their pixels are the key."""
        return 0 if self.by == "pixels" else None

    def choose_and_tell(self, table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """As `choose`; all equal keys are compared, however many."""
        return self.choose(table), NOBODY

    def _key(self, batch: Batch, index: int) -> bytes | None:
        sample = batch.samples[index]
        try:
            media = [self._medium(batch, index, j) for j in range(len(sample.media))] if self.by in _OF_MEDIA else []
        except SampleError as error:
            batch.errors[index] = error
            return None
        text = _OF_TEXT[self.by](sample)
        if not (media or any(text)):
            return None
        content = json.dumps([media, text], ensure_ascii=False).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=16).digest()

    def _medium(self, batch: Batch, index: int, number: int) -> str:
        if self.by == "pixels" and batch.samples[index].media[number].kind == "image":
            pixels = batch.pixels(index, number)
            return blake3(np.ascontiguousarray(pixels).data).update(str(pixels.shape).encode()).hexdigest()
        return _digest(batch, index, number)


def normalize_for_comparison(text: str) -> str:
    """Text as it is compared: NFKC, case folded, runs of white space one space, none around it."""
    if not text.isascii():  # ASCII is NFKC already
        # Folding may undo NFKC and NFKC may undo folding; one more round is stable.
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).casefold()
        return " ".join(unicodedata.normalize("NFKC", text).split())
    return " ".join(text.casefold().split())


def _nothing(sample: Sample) -> list[str]:  # noqa: ARG001  the key is of the media alone
    return []


def _text(sample: Sample) -> list[str]:
    return [normalize_for_comparison(sample.text())]


def _caption(sample: Sample) -> list[str]:
    return [normalize_for_comparison(sample.answers())]


def _turns(sample: Sample) -> list[str]:
    """Roles and texts, tags included: the place of a medium matters. Empty when nothing at all is said."""
    texts = [normalize_for_comparison(turn.text) for turn in sample.turns]
    return [f"{turn.role} {text}" for turn, text in zip(sample.turns, texts, strict=True)] if any(texts) else []


def _conversation(sample: Sample) -> list[str]:
    return _turns(sample) if sample.text() else []


def _digest(batch: Batch, index: int, number: int) -> str:
    digest = batch.samples[index].media[number].digest
    return digest or blake3(batch.encoded(index, number)).hexdigest()


_OF_MEDIA = ("content", "bytes", "pixels")
_OF_TEXT: dict[Key, Callable[[Sample], list[str]]] = {
    "content": _turns, "bytes": _nothing, "pixels": _nothing, "text": _text, "caption": _caption,
    "conversation": _conversation,
}  # fmt: skip
