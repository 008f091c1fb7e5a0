"""Caption filters: repetition, file names, alt-text fillers, stock phrases, templates, and length against the picture."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.filters.text import Words
from curation.operator import Filter
from curation.text.statistics import answers

_SUFFIX = r"(?:jpe?g|png|gif|webp|bmp|tiff?|svg|avif|heic|mp4|mov|avi|mkv|webm|pdf)"
_CAMERA = r"(?:img|dsc[fn]?|dscn|dji|gopr|pxl|mvi|vid|p\d{3}|screen[ _-]?shot|photo|image|picture|pic|untitled|scan|capture|whatsapp image)"
_FILE_NAME = "(?i)^\\s*(?:" + "|".join((
    rf"[^\n]*[^\s.]\.{_SUFFIX}",  # a name with a media suffix
    rf"{_CAMERA}[ _-]*(?:at[ _-]*)?[\d(](?:[\d\s_().:-]|at )*",  # what cameras and programs call their pictures, with its number
    r"[0-9a-f]{12,}|[\d_.-]{3,}|\w+(?:[_-]\w+)*[_-]\d{2,}",  # one word of digits, hexadecimal or parts that end in a number
)) + ")\\s*$"  # fmt: skip
_FILLER = (
    "alt", "alt text", "avatar", "background", "banner", "button", "caption", "click to enlarge", "close", "cover", "default",
    "download", "enlarge image", "favicon", "featured image", "figure", "graphic", "header", "hero image", "icon", "illustration",
    "image", "image may contain", "images", "img", "loading", "logo", "menu", "no image", "null", "none", "undefined", "photo",
    "photograph", "pic", "picture", "placeholder", "preview", "profile picture", "screenshot", "share", "slide", "spacer",
    "thumbnail", "undefined", "untitled", "video", "view image", "zoom",
)  # fmt: skip
_FILLERS = rf"(?i)^[\s\W]*(?:(?:an?|the|this|our|my|site|main)\s+)?(?:{'|'.join(_FILLER)})(?:[\s#_-]*\d+)?[\s\W]*$"
STOCK = (
    "add to cart", "all rights reserved", "alamy", "buy now", "click here", "click to enlarge", "depositphotos", "dreamstime",
    "for sale", "free download", "free shipping", "getty images", "high resolution", "in stock", "istock", "pinterest",
    "premium photo", "price", "product image", "royalty free", "royalty-free", "shutterstock", "stock footage", "stock image",
    "stock photo", "stock photography", "stock vector", "stock video", "vector illustration", "wallpaper", "watermark",
)  # fmt: skip
_STOCK = rf"(?i)\b(?:{'|'.join(STOCK)})s?\b|©|https?://|www\."
_VERB = (
    "(?:shows?|depicts?|features?|captures?|displays?|presents?|portrays?|showcases?|illustrates?|contains?|appears?"
    r"|is (?:a|an|of)\b|we (?:can )?see|there (?:is|are))"
)
_PICTURE = (
    "(?:in )?(?:the|this|that) (?:provided |given |above )?(?:image|picture|photo|photograph|video|clip|scene|frame)s?"
)
_TEMPLATE = (
    r"(?i)^\s*(?:(?:sure|certainly|of course|absolutely)[,!.:]\s*)?"
    rf"(?:here(?:['’]s| is| are) (?:a|the|an|your)\b|{_PICTURE},?\s*{_VERB}|(?:overall|in summary|in conclusion),)"
)


@dataclass(frozen=True, kw_only=True)
class WordRepetition(Filter):
    """Share of the answers' words that stood there before, in either case, in [0, 1). NaN without words.

    Cost: columnar. Keyword lists and looping captioners repeat; so do long texts: meant for captions of up to some 100 words.

    Source: CC3M (Sharma et al., ACL 2018) drops captions with a high rate of token repetition and does not say its cut; 0.6 is ours.
    """

    high: float | None = 0.6

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        words = answers(batch).str.to_lowercase().str.extract_all(r"[\p{L}\p{M}\p{N}]+")
        return 1.0 - words.list.n_unique() / words.list.len().cast(pl.Float64)


@dataclass(frozen=True, kw_only=True)
class PatternFilter(Filter):
    """How much of an answer some pattern finds."""

    PATTERN: ClassVar[str]
    high: float | None = 0

    def measure(self, batch: Batch) -> pl.Series:
        """Matches per sample."""
        return answers(batch).str.count_matches(self.PATTERN).cast(pl.Float64)


@dataclass(frozen=True, kw_only=True)
class FileNames(PatternFilter):
    """1 where the answers are nothing but the name of a file ("IMG_0231.JPG", "screenshot-2021", a long number), else 0.

    Cost: one regular expression.

    Source: ours.
    """

    PATTERN: ClassVar[str] = _FILE_NAME


@dataclass(frozen=True, kw_only=True)
class AltTextFillers(PatternFilter):
    """1 where the answers are nothing but a filler of alternative text ("logo", "image 3", "click to enlarge"), else 0.

    Cost: one regular expression.

    Source: the words are ours, from alternative texts of real pages.
    """

    PATTERN: ClassVar[str] = _FILLERS


@dataclass(frozen=True, kw_only=True)
class StockPhrases(PatternFilter):
    """Phrases of shops and picture agencies, copyright marks and addresses in the answers, >= 0.

    Cost: one regular expression. Such a caption sells the picture instead of saying what it shows; one may slip into a good one, two
    rarely do.

    Source: CC3M (Sharma et al., ACL 2018) drops captions by frequent boilerplate phrases; the list `STOCK` and the bound are ours.
    """

    PATTERN: ClassVar[str] = _STOCK
    high: float | None = 1


@dataclass(frozen=True, kw_only=True)
class TemplateOpenings(PatternFilter):
    """1 where the answers open with a captioner's phrase ("The image shows", "Here is a"), else 0. No default bound.

    Cost: one regular expression. One is harmless; a corpus that always begins so teaches nothing else.

    Source: ours.
    """

    PATTERN: ClassVar[str] = _TEMPLATE
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class WordsPerMegapixel(Filter):
    """Words of the answers per million pixels of all media, >= 0. Null without media; infinite where a size is not known.

    Cost: header only. Far too many words for a small picture are a page's text, not a caption; no default bound.

    Source: ours.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One ratio per sample."""
        pixels, has = np.zeros(len(batch)), np.zeros(len(batch), dtype=bool)
        np.add.at(pixels, batch.media.sample, batch.media.width * batch.media.height)
        has[batch.media.sample] = True
        words = Words().measure(batch).to_numpy()
        ratios = np.divide(1e6 * words, pixels, out=np.full(len(batch), np.inf), where=pixels > 0)
        return pl.Series(
            "ratio", [r if h else None for r, h in zip(ratios.tolist(), has.tolist(), strict=True)], dtype=pl.Float64
        )
