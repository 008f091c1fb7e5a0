"""Manifest: what a dataset holds. Written last and atomically; what differs from run to run (times, hosts) lives elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curation.uris import atomic

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One tar: its name below OUT/shards, sha256 of it and of its index, and what it holds; visual_tokens are those after pruning."""

    name: str
    sha256: str
    index_sha256: str
    samples: int
    bytes: int
    text_tokens: int
    visual_tokens: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The dataset's contents.

    recipe: resolved, as JSON, with its digest; counted_with: tokenizer and pixel rules of all token counts; branches: per branch
    the samples, bytes, text_tokens, visual_tokens and visual_tokens_kept in the shards; mixture: asked and realised shares; licences
    and origins: samples per licence and per source.
    """

    stage: str
    recipe: Mapping[str, Any]
    recipe_digest: str
    seed: int
    counted_with: Mapping[str, Any]
    shards: tuple[ShardEntry, ...]
    branches: Mapping[str, Mapping[str, int]]
    mixture: Mapping[str, Any]
    licences: Mapping[str, int]
    origins: Mapping[str, int]
    schema: int = field(default=SCHEMA_VERSION)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Publish OUT/manifest.json: canonical JSON, whole or not at all."""
    text = json.dumps(asdict(manifest), ensure_ascii=False, sort_keys=True, indent=1) + "\n"
    with atomic(directory / "manifest.json") as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a dataset directory.

    Raises:
        FileNotFoundError: there is none, so there is no dataset (its run has not finished).
        ValueError: it was written by another version of this format.
    """
    path = directory / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not there, so {directory} is not a finished dataset: run (or resume) vl3-curate run"
        )
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields.get("schema") != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema {fields.get('schema')}, this version reads {SCHEMA_VERSION}: curate again or use the older vl3"
        )
    fields["shards"] = tuple(ShardEntry(**entry) for entry in fields["shards"])
    return Manifest(**fields)
