"""Branches: the chain of each kind of corpus, cheap before dear and dedup last, over a data directory laid out as

    DATA/image_text-*.parquet    pictures with captions           DATA/videos-*.tar         clips with captions (WebDataset)
    DATA/documents-*.parquet     pages, charts, scene text        DATA/conversations.jsonl  instructions over the media above
    DATA/text*                   text documents (.parquet, .jsonl, .gz, .zst)

which is what `vl3-curate synth` writes.
"""

from collections.abc import Mapping

from curation.filters import (
    AlphabeticWords,
    AltTextFillers,
    AspectRatio,
    BoilerplateCharacters,
    CharacterRatio,
    Decodable,
    DuplicateLineCharacters,
    DuplicateLines,
    DuplicateNgrams,
    Duration,
    EmptyAnswers,
    FileNames,
    Frames,
    Refusal,
    Repetition,
    ShortSide,
    StockPhrases,
    StrayPlaceholders,
    TurnsOutOfOrder,
    WordRepetition,
    Words,
    WordsPerMegapixel,
)
from curation.operator import Operator, Source
from curation.select import ExactDedup
from curation.sources import ConversationSource, JsonlSource, ParquetMedia, ParquetSource, TarMedia, WebDatasetSource
from curation.transforms import NormalizeTurns
from curation.uris import directory
from pipelines.recipe import Branch, branch


def image_text(data: str) -> Branch:
    """Pictures with captions. A picture that stands there twice is kept once."""
    return branch(
        "image_text",
        ParquetSource(f"{data}/image_text-*.parquet", texts="texts", id="id", licence="license", url="source_url"),
        Words(low=3, high=512),
        NormalizeTurns(),
        AspectRatio(high=3.0),
        ShortSide(low=56),
        Decodable(),
        ExactDedup(by="bytes"),
    )


def documents(data: str) -> Branch:
    """Pages and charts with their text; a page may be long and narrow."""
    return branch(
        "documents",
        ParquetSource(f"{data}/documents-*.parquet", texts="texts", id="id", licence="license", url="source_url"),
        Words(low=1),
        NormalizeTurns(),
        AspectRatio(high=8.0),
        ShortSide(low=56),
        Decodable(),
        ExactDedup(by="bytes"),
    )


def text(data: str) -> Branch:
    """Text documents that are mostly words."""
    return branch(
        "text",
        _text_source(data),
        Words(low=5, high=100_000),
        NormalizeTurns(),
        CharacterRatio(characters="alphabetic", low=0.6),
        ExactDedup(by="text"),
    )


def _text_source(data: str) -> Source:
    if any(directory(data).glob("text*.parquet")):
        return ParquetSource(f"{data}/text*.parquet", image="", id="id", licence="license", url="source_url")
    return JsonlSource(f"{data}/text*", id="id", licence="license", url="source_url")


def videos(data: str) -> Branch:
    """Clips with captions; a clip must last a second and really decode."""
    return branch(
        "videos",
        WebDatasetSource(f"{data}/videos-*.tar", id="json:id"),
        Words(low=1),
        NormalizeTurns(),
        Duration(low=1.0, high=600.0),
        Frames(low=8),
        ExactDedup(by="bytes"),
    )


def conversations(data: str) -> Branch:
    """Instructions over images, clips and none."""
    media = (
        ParquetMedia(paths=f"{data}/image_text-*.parquet"),
        ParquetMedia(paths=f"{data}/documents-*.parquet"),
        TarMedia(tars=f"{data}/videos-*.tar"),
    )
    return branch(
        "conversations",
        ConversationSource(f"{data}/conversations.jsonl", media=media),
        Words(low=1),
        NormalizeTurns(),
        Decodable(),
        ExactDedup(),
    )


# What words must not be in a stage, for one's own corpora, which nobody has filtered. Bounds are the operators' own defaults, each with its
# provenance there, but for two that have none and are ours: a fifth of a text in banners and footers, and words on a page. Chosen by
# looking at what passed without them: captions that were file names and fillers of alternative text, mail with its headers
# (AlphabeticWords, Gopher's), pages of menus, a refusal. Rules that only fit English (stop words) or whole pages (C4's sentences) are left
# out.
_NO_CAPTION = (FileNames(), AltTextFillers())
OWN_RULES: Mapping[str, tuple[Operator, ...]] = {
    "image_text": (*_NO_CAPTION, StockPhrases(), WordRepetition()),
    # A page to be read holds more text than this. Receipts have 43 words per megapixel and more, nine tenths of the drawings, logos and
    # plots named after their files less than 28.
    "documents": (*_NO_CAPTION, WordsPerMegapixel(low=30)),
    "videos": _NO_CAPTION,
    "text": (
        AlphabeticWords(),
        DuplicateLines(),
        DuplicateLineCharacters(),
        DuplicateNgrams(n=10, high=0.10),
        BoilerplateCharacters(high=0.2),
    ),
    "conversations": (TurnsOutOfOrder(), StrayPlaceholders(), EmptyAnswers(), Refusal(), Repetition()),
}

# What a corpus of a category goes through: rules for its words, for its media, and its dedup. A published corpus was filtered by its
# authors: bounds here keep out what a model cannot learn from, and the rules of `vl3_syn7m` what nobody has filtered yet.
_PICTURE = (AspectRatio(high=8.0), ShortSide(low=28), Decodable())
_SCENE = (AspectRatio(high=3.0), ShortSide(low=28), Decodable())
_CLIP = (Duration(low=1.0, high=3600.0), Frames(low=2))
_CAPTION = (Words(low=1, high=2048), NormalizeTurns())
_CHAT = (Words(low=1, high=8192), NormalizeTurns())
# Captions that models wrote, or will: what goes wrong with those. Chats keep refusals where they are text only: there they are taught.
_WRITTEN = (Words(low=3, high=2048), NormalizeTurns(), FileNames(), AltTextFillers(), Refusal(), Repetition())
_SEEN_CHAT = (*_CHAT, EmptyAnswers(), Refusal())
Operators = tuple[Operator, ...]
CHAINS: Mapping[str, tuple[Operators, Operators, Operators]] = {
    "scene_image": (_WRITTEN, _SCENE, (ExactDedup(by="bytes"),)),
    "scene_text": (_CAPTION, _PICTURE, (ExactDedup(by="bytes"),)),
    "document": ((Words(low=1, high=16_384), NormalizeTurns()), _PICTURE, (ExactDedup(),)),
    "chart": (_CAPTION, _PICTURE, (ExactDedup(),)),
    "fine_grained": (_CAPTION, _PICTURE, (ExactDedup(),)),
    "image_general": (_SEEN_CHAT, _PICTURE, (ExactDedup(),)),
    "image_only": (_SEEN_CHAT, _PICTURE, (ExactDedup(),)),
    "ocr": (_CHAT, _PICTURE, (ExactDedup(),)),
    "grounding": (_CHAT, _PICTURE, (ExactDedup(),)),
    "multi_image": (_SEEN_CHAT, _PICTURE, (ExactDedup(),)),
    "text": ((*_CHAT, EmptyAnswers()), (), (ExactDedup(by="text"),)),
    "video": (_SEEN_CHAT, _CLIP, (ExactDedup(),)),
    "streaming": (_CHAT, _CLIP, (ExactDedup(),)),
    "temporal_grounding": (_CHAT, _CLIP, (ExactDedup(),)),
}
