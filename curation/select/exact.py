"""Exact dedup: samples with the same key are one group, and one of them survives."""

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from typing import Literal

import polars as pl
from blake3 import blake3

from curation.batch import Batch
from curation.operator import OperatorError, Select
from curation.sample import Sample, SampleError

_KEY = ["key_high", "key_low"]


@dataclass(frozen=True, kw_only=True)
class ExactDedup(Select):
    """Keeps one sample of each group with the same key: the best score, then the smallest id.

    by: "content" = the same media bytes and the same turns; "bytes" = the same media bytes in the same order; "text" =
    the same words of all turns but system turns. Text is compared after NFKC, case folding and collapsing white space.
    Samples that the key does not apply to (no media, no text) are never duplicates of each other. Keys are 128-bit
    digests: among 10^10 samples the chance of one false pair is below 10^-18.
    best: name of the score whose highest value survives (None: the smallest id alone); missing and NaN scores rank
    last.
    """

    by: Literal["content", "bytes", "text"] = "content"
    best: str | None = None

    @property
    def name(self) -> str:
        """The key, unless it is the default, is part of the name: several of these may stand in one branch."""
        return "ExactDedup" if self.by == "content" else f"ExactDedup[{self.by}]"

    def signature(self, batch: Batch) -> pl.DataFrame:
        """The key as two unsigned 64-bit columns, `key_high` and `key_low`; null where it does not apply."""
        keys = [self._key(batch, index) for index in range(len(batch))]
        halves = {
            "key_high": [None if key is None else int.from_bytes(key[:8], "big") for key in keys],
            "key_low": [None if key is None else int.from_bytes(key[8:], "big") for key in keys],
        }
        return pl.DataFrame(halves, schema=dict.fromkeys(_KEY, pl.UInt64))

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """All of each group but its survivor, sorted by id, with the survivor as `duplicate_of`.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        if self.best is not None and self.best not in table.columns:
            raise OperatorError(
                f"{self.name}: no score {self.best!r}, only {', '.join(table.columns)}: put its filter first"
            )
        worst = float("-inf")
        score = (
            pl.lit(worst) if self.best is None else pl.col(self.best).cast(pl.Float64).fill_nan(worst).fill_null(worst)
        )
        keyed = table.lazy().drop_nulls(_KEY).select("id", *_KEY, score.alias("score"))
        # Grouping before any sort: most keys occur once, and those rows go no further.
        best = keyed.group_by(_KEY).agg(pl.len().alias("rows"), pl.col("score").max().alias("best"))
        groups = keyed.join(best.filter(pl.col("rows") > 1), on=_KEY).collect(engine="streaming").lazy()
        leading = groups.filter(pl.col("score") == pl.col("best"))
        survivors = leading.group_by(_KEY).agg(pl.col("id").min().alias("duplicate_of"))
        dropped = groups.join(survivors, on=_KEY).filter(pl.col("id") != pl.col("duplicate_of"))
        return dropped.select("id", "duplicate_of").collect(engine="streaming").sort("id")

    def _key(self, batch: Batch, index: int) -> bytes | None:
        sample = batch.samples[index]
        try:
            media = [] if self.by == "text" else [_digest(batch, index, j) for j in range(len(sample.media))]
        except SampleError as error:
            batch.errors[index] = error
            return None
        text = [] if self.by == "bytes" else _text(sample) if self.by == "text" else _turns(sample)
        if not (media or any(text)):
            return None
        content = json.dumps([media, text], ensure_ascii=False).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=16).digest()


def normalize_for_comparison(text: str) -> str:
    """Text as it is compared: NFKC, case folded, runs of white space one space, none around it."""
    if not text.isascii():  # ASCII is NFKC already
        # Folding may undo NFKC and NFKC may undo folding; one more round is stable.
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).casefold()
        return " ".join(unicodedata.normalize("NFKC", text).split())
    return " ".join(text.casefold().split())


def _text(sample: Sample) -> list[str]:
    return [normalize_for_comparison(sample.text())]


def _turns(sample: Sample) -> list[str]:
    """Roles and texts, tags included: the place of a medium matters. Empty when nothing at all is said."""
    texts = [normalize_for_comparison(turn.text) for turn in sample.turns]
    return [f"{turn.role} {text}" for turn, text in zip(sample.turns, texts, strict=True)] if any(texts) else []


def _digest(batch: Batch, index: int, number: int) -> str:
    digest = batch.samples[index].media[number].digest
    return digest or blake3(batch.encoded(index, number)).hexdigest()
