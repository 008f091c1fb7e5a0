"""Quality filters: gibberish, boilerplate and surprise in text of any kind."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.operator import Filter
from curation.text.statistics import answers

# What navigation, consent banners and footers say; a line with one of them is rarely content.
BOILERPLATE = (
    "accept all cookies", "all rights reserved", "click here", "cookie policy", "cookie settings", "enable javascript",
    "follow us on", "forgot your password", "log in", "page not found", "powered by", "privacy policy", "read more",
    "share on facebook", "share this", "sign in", "sign up", "skip to content", "skip to main content", "subscribe to",
    "terms and conditions", "terms of service", "terms of use", "this site uses cookies", "use of cookies", "uses cookies",
    "view all", "we use cookies", "your cart", "your email address",
)  # fmt: skip
_BOILERPLATE_LINE = rf"(?i)[^\n]*(?:©|\b(?:{'|'.join(BOILERPLATE)})\b)[^\n]*"


@dataclass(frozen=True, kw_only=True)
class CompressionRatio(Filter):
    """Compressed bytes over bytes of the answers (UTF-8, zlib level 1), > 0. Null without text.

    Cost: about 20 us per kilobyte. English prose of some kilobytes lies near 0.45; copies and lists far below, keys and random
    characters above 0.7. Texts under 100 bytes lie above it whatever they say.

    Source: ours; MassiveWeb-style rules (Gopher, arXiv:2112.11446) do not see random characters, and this does. No default bound.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One ratio per sample."""
        said = [text.encode() for text in answers(batch)]
        ratios = [len(zlib.compress(text, 1)) / len(text) if text else None for text in said]
        return pl.Series("ratio", ratios, dtype=pl.Float64)


@dataclass(frozen=True, kw_only=True)
class BoilerplateCharacters(Filter):
    """Share of the answers' characters that stand in lines of navigation, consent banners and footers, in [0, 1]. NaN without text.

    Cost: one regular expression over the text. Lines count whole when they hold one of `BOILERPLATE`.

    Source: the substrings of C4's code ("terms of use", "uses cookies" ...; arXiv:1910.10683), with the common ones of footers; no
    default bound.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        said = answers(batch)
        total = said.str.len_chars().cast(pl.Float64)
        return (total - said.str.replace_all(_BOILERPLATE_LINE, "").str.len_chars()) / total


@dataclass(frozen=True, kw_only=True)
class Perplexity(Filter):
    """Perplexity per byte of the answers under a byte n-gram model, >= 1: how surprising their spelling is. NaN without text.

    Cost: some 50 ns per byte and order. Text like the model's training text has the lowest values (English under a model of English
    about 4); other languages, codes and gibberish have higher ones.

    Source: CCNet, arXiv:1911.00359 (perplexity under a model of clean text ranks pages). Ours is a byte model that
    `curation.text.byte_model.train` makes from any text; `model` is its file. Bounds belong to the model: no default.
    """

    model: str

    def open(self) -> Callable[[Batch], np.ndarray]:
        """Loads the model.

        Raises:
            RecipeError: it is no file of such a model.
        """
        from curation.text.byte_model import load

        model = load(self.model)
        return lambda batch: np.exp2(model.bits_per_byte(answers(batch).to_list()))
