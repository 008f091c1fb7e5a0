"""Samples: one sample again, with its turns and media, from the shards or from where it was first read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from curation.media.read import read_reference
from curation.sample import Reference, Turn, turns_from_json
from curation.shards import index_path
from pipelines.store import Store, read_frame, scan_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMedium:
    """One medium. width, height: pixels; duration: seconds; fps: frames per second; reference: where its encoded bytes lie."""

    kind: str
    format: str
    width: int
    height: int
    duration: float
    fps: float
    reference: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSample:
    """A sample to look at. turns: as they are in the shard, or as they were read; place: "shard" or "source"."""

    id: str
    place: str
    turns: tuple[Turn, ...]
    media: tuple[FoundMedium, ...]

    @property
    def caption(self) -> str:
        """What the assistant says, first turn; of a text document, the document."""
        return next((turn.text for turn in self.turns if turn.role == "assistant"), "")


@dataclass(frozen=True, kw_only=True)
class SampleFinder:
    """Finds samples of a dataset directory by their rows of the ledger (`id`, `part` and `shard`)."""

    directory: Path

    def find(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, FoundSample]:
        """Samples by id: from their shard when they are in one, else as they were read; missing ones are left out."""
        rows = list(rows)
        found = self.in_shards(rows)
        return self.as_read([row for row in rows if row["id"] not in found]) | found

    def in_shards(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, FoundSample]:
        """Those that lie in a shard."""
        found = {}
        for shard, ids in _grouped(rows, "shard"):
            path = self.directory / "shards" / Path(shard).name
            if path.is_file() and index_path(path).is_file():
                index = read_frame(index_path(path), ["key", "members", "media"])
                for row in index.filter(pl.col("key").is_in(ids)).iter_rows(named=True):
                    found[row["key"]] = _from_shard(path, row)
        return found

    def as_read(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, FoundSample]:
        """As their source gave them, before any transform; only while OUT's working files are still there."""
        found = {}
        for part, ids in _grouped(rows, "part"):
            for path in sorted(Store(root=self.directory).work.glob(f"*/{part}.parquet")):
                if _is_base(path):
                    columns = ["id", "turns", "media"]
                    table = scan_frames([path]).filter(pl.col("id").is_in(ids)).select(columns).collect()
                    found |= {row["id"]: _from_base(row) for row in table.iter_rows(named=True) if row["turns"]}
        return found


def _grouped(rows: Iterable[Mapping[str, Any]], column: str) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.get(column):
            groups.setdefault(row[column], []).append(row["id"])
    return sorted(groups.items())


@lru_cache(maxsize=4096)
def _is_base(path: Path) -> bool:
    """Whether a table of the working files holds what a source read (see `pipelines.tables`)."""
    with path.open("rb") as file:
        return {"id", "locator", "turns", "media"} <= set(pq.read_schema(file).names)


def _from_shard(path: Path, row: Mapping[str, Any]) -> FoundSample:
    places = {member["name"]: member for member in row["members"]}
    uri = str(path)

    def reference(name: str) -> Reference:
        return Reference(uri=uri, member=name, offset=places[name]["offset"], size=places[name]["size"])

    fields = json.loads(read_reference(reference(f"{row['key']}.json")))
    turns = tuple(Turn(role=turn["role"], text=turn["text"], time=turn.get("time")) for turn in fields["turns"])
    media = tuple(_medium(medium, reference(medium["member"])) for medium in fields["media"])
    return FoundSample(id=row["key"], place="shard", turns=turns, media=media)


def _from_base(row: Mapping[str, Any]) -> FoundSample:
    media = tuple(
        _medium(m, Reference(uri=m["uri"], member=m["member"], offset=m["offset"], size=m["size"]))
        for m in row["media"] or ()
    )
    return FoundSample(id=row["id"], place="source", turns=turns_from_json(row["turns"]), media=media)


def _medium(facts: Mapping[str, Any], reference: Reference) -> FoundMedium:
    return FoundMedium(
        kind=facts["kind"],
        format=facts["format"] or "",
        width=facts["width"] or 0,
        height=facts["height"] or 0,
        duration=facts["duration"] or 0.0,
        fps=facts["fps"] or 0.0,
        reference=reference,
    )
