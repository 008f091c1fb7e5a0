"""Corpus: a recipe over a folder with all five kinds of corpora, to copy and change.

    vl3-curate plan examples/corpus.py:recipe --data DATA
    vl3-curate run  examples/corpus.py:recipe --data DATA --out OUT

DATA holds image_text-*.parquet and documents-*.parquet (columns image, text, texts, id, license, source_url,
file_name), videos-*.tar (WebDataset), text-*.parquet or text.jsonl, and conversations.jsonl about these images and
videos; `vl3-curate synth DATA` writes such a folder.
"""

from pathlib import Path

from curation.filters import AspectRatio, CharacterRatio, Decodable, Duration, Frames, ShortSide, Words
from curation.operator import Source
from curation.select import ExactDedup
from curation.sources import (
    ConversationSource,
    JsonlSource,
    ParquetMedia,
    ParquetSource,
    TarMedia,
    WebDatasetSource,
)
from curation.transforms import NormalizeTurns
from pipelines.recipe import Mixture, Recipe, branch


def recipe(data: str) -> Recipe:
    """Stage 2, vision-language alignment: every corpus, cheap filters before dear ones, duplicates last."""
    image_text = branch(
        "image_text",
        ParquetSource(f"{data}/image_text-*.parquet", texts="texts", id="id", licence="license", url="source_url"),
        Words(low=3, high=256),
        NormalizeTurns(),
        AspectRatio(high=3.0),
        ShortSide(low=64),
        Decodable(),
        ExactDedup(by="content"),
    )
    documents = branch(
        "documents",
        ParquetSource(f"{data}/documents-*.parquet", id="id", licence="license", url="source_url"),
        Words(low=3, high=4096),
        NormalizeTurns(),
        # Receipts are long and narrow; what is longer is read badly at any resolution.
        AspectRatio(high=6.0),
        ShortSide(low=64),
        Decodable(),
        ExactDedup(by="content"),
    )
    videos = branch(
        "videos",
        WebDatasetSource(f"{data}/videos-*.tar", id="id", url="source_url"),
        Words(low=1),
        NormalizeTurns(),
        Duration(low=1.0, high=180.0),
        ShortSide(low=64),
        Frames(low=8),
        ExactDedup(by="bytes"),
    )
    text = branch(
        "text",
        text_source(data),
        Words(low=20, high=20_000),
        NormalizeTurns(),
        CharacterRatio(characters="alphabetic", low=0.6),
        CharacterRatio(characters="digit", high=0.2),
        ExactDedup(by="text"),
    )
    media = (
        ParquetMedia(paths=f"{data}/image_text-*.parquet"),
        ParquetMedia(paths=f"{data}/documents-*.parquet"),
        TarMedia(tars=f"{data}/videos-*.tar"),
    )
    conversations = branch(
        "conversations",
        ConversationSource(f"{data}/conversations.jsonl", media=media),
        Words(low=1, high=4096),
        NormalizeTurns(),
        AspectRatio(high=6.0),
        Decodable(),
        ExactDedup(by="content"),
    )
    # In samples. The scarcest branch sets the whole: videos are few, so their share is small.
    weights = {"image_text": 0.25, "documents": 0.1, "videos": 0.01, "text": 0.4, "conversations": 0.24}
    branches = (image_text, documents, videos, text, conversations)
    return Recipe(stage="stage2", branches=branches, mixture=Mixture(weights=weights))


def text_source(data: str) -> Source:
    """Text from Parquet where there is any, else from JSON lines."""
    if any(Path(data).glob("text-*.parquet")):
        return ParquetSource(f"{data}/text-*.parquet", image="", id="id", licence="license", url="source_url")
    return JsonlSource(f"{data}/text.jsonl", id="id", licence="license")
