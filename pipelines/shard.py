"""Shard: one tar and its index, from what the settled parts bring to it. Encoded bytes reach it unchanged."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from blake3 import blake3

from curation.media.read import read_reference
from curation.operator import ContractError
from curation.sample import Reference, SampleError
from curation.shards import Member, ShardWriter, index_path, write_index
from curation.uris import atomic
from pipelines.copies import forget
from pipelines.guard import Guard
from pipelines.plan import Plan
from pipelines.store import Store, scan_frames, sha256_file

PIECE = 16 << 20
EXTENSIONS = {"jpeg": "jpg", "tiff": "tif", "matroska": "mkv", "mpegts": "ts"}


def write_shard(
    plan: Plan, plan_id: str, store: Store, number: int, parts: Sequence[str], guard: Guard
) -> dict[str, Any]:
    """Write shard `number` from the parts (branch-part) that bring samples to it, sorted by key, and commit."""
    brought = scan_frames([store.table_path(plan_id, f"bring-{part}") for part in parts])
    samples = brought.filter(pl.col("shard") == number).collect().sort("id")
    path = store.root / "shards" / f"{number:06d}.tar"
    rows = []
    with ShardWriter(path) as shard:
        for place, sample in enumerate(samples.iter_rows(named=True)):
            guard.at("shard", place, 1)
            guard.beat(sum(medium["size"] for medium in sample["media"] or ()))
            rows.append(_add(shard, sample, store))
    index = index_path(path)
    with atomic(index) as temporary:
        write_index(temporary, rows, plan.counted_with())
    entry = {
        "name": path.name, "sha256": shard.sha256, "index_sha256": sha256_file(index), "samples": shard.samples, "bytes": shard.bytes,
        "text_tokens": samples["text_tokens"].sum(), "visual_tokens": samples["visual_tokens_kept"].sum(),
    }  # fmt: skip
    digests = {path: shard.sha256, index: entry["index_sha256"]}
    return store.commit(plan_id, f"shard-{number:06d}", [path, index], entry, known=digests)


def _add(shard: ShardWriter, sample: dict[str, Any], store: Store) -> dict[str, Any]:
    """Append one sample; returns its index row."""
    key, media, grids = sample["id"], sample["media"] or [], sample["grids"] or []
    suffixes = [f".{i}.{EXTENSIONS.get(medium['format'], medium['format'])}" for i, medium in enumerate(media)]
    fields = json_member(sample, [key + suffix for suffix in suffixes])
    members = [Member(suffix=s, size=m["size"], pieces=_pieces(m)) for s, m in zip(suffixes, media, strict=True)]
    members.append(Member(suffix=".json", size=len(fields), pieces=[fields]))
    try:
        written = shard.add(key, sorted(members, key=lambda member: member.suffix))
    except SampleError as error:
        forget(store, [medium["uri"] for medium in media])
        raise ContractError(f"{shard.path.name}: {key} was kept but its media cannot be read now: {error}") from error
    counts = ("text_tokens", "loss_tokens", "patches", "visual_tokens", "visual_tokens_kept")
    return {
        "key": key,
        "branch": sample["branch"],
        "members": [{"name": name, "offset": offset, "size": size} for name, offset, size in written],
        "media": [_index_medium(m, g, key + s) for m, g, s in zip(media, grids, suffixes, strict=True)],
        **{name: sample[name] for name in counts},
    }


def json_member(sample: dict[str, Any], members: Sequence[str]) -> bytes:
    """The sample's json: canonical, so that equal samples give equal bytes."""
    facts = ("kind", "format", "width", "height", "duration", "fps", "frames", "digest")
    media = [
        {name: medium[name] for name in facts} | {"member": m}
        for medium, m in zip(sample["media"] or [], members, strict=True)
    ]
    origin = {"source": sample["source"], "name": sample["name"], "licence": sample["licence"], "url": sample["url"]}
    fields = {"id": sample["id"], "branch": sample["branch"], "media": media, "origin": origin}
    if sample["alternates"]:
        fields["alternates"] = sample["alternates"]
    before = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # Turns are canonical JSON already, and their name sorts last.
    return f'{before[:-1]},"turns":{sample["turns"]}}}'.encode()


def _index_medium(medium: dict[str, Any], grid: dict[str, int], member: str) -> dict[str, Any]:
    facts = {name: medium[name] for name in ("kind", "format", "width", "height", "duration", "fps")}
    cut = {"grid_frames": grid["frames"], "grid_rows": grid["rows"], "grid_columns": grid["columns"]}
    return facts | cut | {"merge": grid["merge"], "kept": grid["kept"], "member": member}


def _pieces(medium: dict[str, Any]) -> Iterator[bytes]:
    """The medium's bytes, piece by piece, so that a long clip never lies in memory whole.

    Raises:
        SampleError: they are not the bytes that were measured: the source changed while the run went on.
    """
    whole = Reference(uri=medium["uri"], member=medium["member"], offset=medium["offset"], size=medium["size"])
    if medium["size"] <= PIECE or not whole.addressable:  # a cell or a rendered page comes whole
        pieces = iter([read_reference(whole)])
    else:
        starts = range(0, whole.size, PIECE)
        ranges = (replace(whole, offset=whole.offset + at, size=min(PIECE, whole.size - at)) for at in starts)
        pieces = (read_reference(part) for part in ranges)
    digest = blake3()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != medium["digest"]:
        raise SampleError(f"{medium['uri']} {medium['member']}: its bytes changed since they were measured: run again")
