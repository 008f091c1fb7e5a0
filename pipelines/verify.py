"""Verify: everything a trainer relies on, checked from the files alone."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.batch import Batch
from curation.sample import Media, Origin, Sample, SampleError, Turn, check_structure
from curation.shards import Manifest, ShardEntry, index_path, open_dataset
from curation.shards.reader import ShardReader, StoredSample
from curation.uris import open_uri
from pipelines.store import sha256_file


def verify_dataset(directory: Path, *, decode: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (samples checked so far, fault); the fault is "" for progress.

    Checks the manifest's checksums, that keys are unique over the dataset, that the tar's members are exactly the index's, that tags
    match media, totals, and (unless told not to) that every medium decodes.
    """
    manifest, shards = open_dataset(directory)
    keys: set[str] = set()
    checked = 0
    for entry, path in zip(manifest.shards, shards, strict=True):
        faults = list(_shard_faults(entry, path))
        if not faults:
            with ShardReader(path) as reader:
                for row, sample in enumerate(reader):
                    checked += 1
                    faults += _sample_faults(path, sample, reader.index.slice(row, 1).to_pylist()[0], decode=decode)
                    if sample.key in keys:
                        faults.append(f"{path}: key {sample.key} stands twice in the dataset")
                    keys.add(sample.key)
        yield from ((checked, fault) for fault in faults)
    yield from ((checked, fault) for fault in _total_faults(directory, manifest, checked))
    yield checked, ""


def _shard_faults(entry: ShardEntry, path: Path) -> Iterator[str]:
    for file, digest in ((path, entry.sha256), (index_path(path), entry.index_sha256)):
        if not file.is_file():
            yield f"{file}: missing"
        elif sha256_file(file) != digest:
            yield f"{file}: its sha256 is not the manifest's: copy or build this shard again"
    if not path.is_file() or not index_path(path).is_file():
        return
    with open_uri(str(path)) as file, tarfile.open(fileobj=file, mode="r:") as tar, ShardReader(path) as reader:
        inside = [(m.name, m.offset_data, m.size) for m in tar.getmembers()]
        indexed = [(m["name"], m["offset"], m["size"]) for row in reader.index["members"].to_pylist() for m in row]
        if inside != indexed:
            yield f"{path}: {len(inside)} members in the tar, {len(indexed)} in the index, and they differ"
        if len(reader) != entry.samples:
            yield f"{path}: {len(reader)} samples, the manifest says {entry.samples}"


def _sample_faults(path: Path, sample: StoredSample, row: dict[str, Any], *, decode: bool) -> list[str]:
    """Faults of one sample."""
    where = f"{path}: key {sample.key}"
    fields = sample.fields
    turns = tuple(Turn(role=t["role"], text=t["text"], time=t.get("time")) for t in fields["turns"])
    media = tuple(
        Media(kind=m["kind"], format=m["format"], data=d, size=len(d))
        for m, d in zip(fields["media"], sample.media, strict=True)
    )
    faults = []
    if fields["id"] != sample.key:
        faults.append(f"{where}: its json says id {fields['id']}")
    if len(row["media"]) != len(media):
        faults.append(f"{where}: {len(media)} media in the json, {len(row['media'])} in the index")
    try:
        check_structure(turns, media)
        if decode:
            _decode(sample.key, turns, media)
    except SampleError as error:
        faults.append(f"{where}: {error}")
    return faults


def _decode(key: str, turns: tuple[Turn, ...], media: tuple[Media, ...]) -> None:
    batch = Batch([Sample(id=key, turns=turns, media=media, origin=Origin(source="", locator="", name=key))])
    for index, medium in enumerate(media):
        if medium.kind == "image":
            batch.pixels(0, index)
        else:
            batch.scan(0, index, thorough=True)


def _total_faults(directory: Path, manifest: Manifest, checked: int) -> Iterator[str]:
    promised = sum(counts["samples"] for counts in manifest.branches.values())
    if promised != checked:
        yield f"{directory}: the manifest promises {promised:,} samples, {checked:,} are there"
