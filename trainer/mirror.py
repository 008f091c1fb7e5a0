"""Mirror: a local directory that stands for a dataset elsewhere; only small files are copied.

Two kinds: a dataset in an object store (`s3://bucket/out`: its manifest and indexes are fetched, members are read by
range), and a folder of WebDataset tars without an index (their index is made on first use and kept). Mirrors lie under
$VL3_CACHE (default ~/.cache/vl3), named by what they stand for, and are made again when that changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from curation.shards import Manifest, ShardEntry, index_path, read_manifest, write_index, write_manifest
from curation.uris import is_remote, patiently, store_of
from model import Processor
from model.geometry import VisualRules
from trainer.encode import encode_stored
from trainer.errors import ContractError, UsageError
from trainer.shard_file import stored_sample

INDEX_VERSION = 2  # raise it when indexes or manifests of mirrors change
COUNTED = ("text_tokens", "visual_tokens", "visual_tokens_kept")
MAX_MEMBER = 4 << 30  # bytes; a header that declares more is no sample


def local_dataset(place: str | Path, *, rules: VisualRules, processor: Processor | None = None) -> Path:
    """A directory that `open_shards` reads: the place itself if it is one, else its mirror.

    Args:
        rules, processor: what to count plain tars with; without a processor they are refused.

    Raises:
        UsageError: there is nothing to train on. ContractError: a tar is damaged.
    """
    text = str(place)
    if is_remote(text):
        return _remote(text.rstrip("/"))
    directory = Path(text)
    if (directory / "manifest.json").is_file() or not directory.is_dir():
        return directory  # what is wrong with it is said by whoever opens it
    tars = sorted(directory.glob("*.tar"))
    if not tars:
        return directory
    if processor is None:
        raise UsageError(f"{directory}: plain tars are counted with the model's tokenizer. Give --model or --init")
    return _plain(tars, rules, replace(processor, rules=rules))


def cache_directory() -> Path:
    """Where mirrors lie."""
    return Path(os.environ.get("VL3_CACHE") or Path.home() / ".cache" / "vl3")


@contextmanager
def _made(target: Path) -> Iterator[Path]:
    """A directory that becomes `target` as a whole; whoever comes second throws its own away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".mirror-") as temporary:
        directory = Path(temporary) / "made"
        (directory / "shards").mkdir(parents=True)
        yield directory
        try:
            directory.rename(target)
        except OSError:
            if not (target / "manifest.json").is_file():
                raise


def _remote(url: str) -> Path:
    store = store_of(url)
    try:
        manifest = patiently(lambda: store.cat_file(f"{url}/manifest.json"))
    except FileNotFoundError:
        raise UsageError(
            f"{url}: no manifest.json, so no finished dataset. Give the directory curation wrote"
        ) from None
    target = cache_directory() / hashlib.sha256(url.encode() + manifest).hexdigest()[:32]
    if (target / "manifest.json").is_file():
        return target
    with _made(target) as directory:
        (directory / "manifest.json").write_bytes(manifest)
        for entry in read_manifest(directory).shards:
            shard = directory / "shards" / entry.name
            remote = f"{url}/shards/{index_path(shard).name}"
            index_path(shard).write_bytes(patiently(lambda remote=remote: store.cat_file(remote)))
            shard.with_name(entry.name + ".url").write_text(f"{url}/shards/{entry.name}\n", encoding="utf-8")
    return target


def _plain(tars: Sequence[Path], rules: VisualRules, processor: Processor) -> Path:
    counted = {"rules": asdict(rules), "tokenizer": processor.tokenizer.digest()}
    facts = [(str(tar.resolve()), tar.stat().st_size, tar.stat().st_mtime_ns) for tar in tars]
    target = cache_directory() / hashlib.sha256(json.dumps([INDEX_VERSION, facts, counted]).encode()).hexdigest()[:32]
    if (target / "manifest.json").is_file():
        return target
    print(f"{tars[0].parent}: {len(tars)} tars without an index; making one in {target}", file=sys.stderr)
    with _made(target) as directory:
        branches: dict[str, Counter[str]] = defaultdict(Counter)
        entries = [
            _index_tar(tar, directory / "shards" / f"{n:06d}.tar", processor, counted, branches)
            for n, tar in enumerate(tars)
        ]
        fields: dict[str, Any] = {key: {} for key in ("mixture", "licences", "origins", "recipe")}
        fields["branches"] = {name: dict(branches[name]) for name in sorted(branches)}
        write_manifest(
            directory,
            Manifest(stage="plain", recipe_digest="", seed=0, counted_with=counted, shards=tuple(entries), **fields),
        )
    return target


def _index_tar(
    tar: Path, shard: Path, processor: Processor, counted: dict[str, Any], branches: Mapping[str, Counter[str]]
) -> ShardEntry:
    """Index one tar by encoding each of its samples once; those that cannot be are left out, and counted on stderr.
    Samples and tokens are added to `branches`.
    """
    rows, failed, first = [], 0, ""
    for name, members in _samples(tar):
        try:
            rows.append(_row(name, members, processor))
        except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
            failed, first = failed + 1, first or f"{name}: {error}"
    if failed:
        print(f"{tar}: left out {failed:,} of {failed + len(rows):,} samples; first {first}", file=sys.stderr)
    for row in rows:
        branches[row["branch"]].update(samples=1, **{name: row[name] for name in COUNTED})
    write_index(index_path(shard), rows, counted)
    shard.with_name(shard.name + ".url").write_text(f"{tar.resolve()}\n", encoding="utf-8")
    return ShardEntry(
        name=shard.name,
        sha256="",
        index_sha256=hashlib.sha256(index_path(shard).read_bytes()).hexdigest(),
        samples=len(rows),
        bytes=tar.stat().st_size,
        text_tokens=sum(row["text_tokens"] for row in rows),
        visual_tokens=sum(row["visual_tokens_kept"] for row in rows),
    )


def _samples(tar: Path) -> Iterator[tuple[str, list[tuple[str, int, bytes]]]]:
    """(name, [(member, offset, bytes)]) of neighbouring members that share their name up to the first dot."""
    try:
        with tarfile.open(tar, "r:") as file:
            name, members = "", []
            for member in file:
                if not member.isreg() or member.size > MAX_MEMBER:
                    continue
                folder, _, base = member.name.rpartition("/")
                found = f"{folder}/{base.partition('.')[0]}"
                if found != name and members:
                    yield name, members
                    members = []
                data = file.extractfile(member)
                assert data is not None  # a regular file
                name = found
                members.append((member.name, member.offset_data, data.read()))
            if members:
                yield name, members
    except tarfile.TarError as error:
        raise ContractError(f"{tar}: is no readable tar ({error}). Copy or write it again") from error


def _row(name: str, members: list[tuple[str, int, bytes]], processor: Processor) -> dict[str, Any]:
    """The index row of a sample; its key is the digest of its bytes, as curation's are."""
    digest = hashlib.sha256(name.encode())
    for member, _, data in members:
        digest.update(member.encode() + b"\0" + hashlib.sha256(data).digest())
    key = digest.hexdigest()[:32]
    # A json member is found by the key's name; all others keep theirs.
    named = [(f"{key}.json" if n.endswith(".json") else n, offset, data) for n, offset, data in members]
    stored = stored_sample(key, {n: data for n, _, data in named})
    encoded = encode_stored(processor, stored)
    media = [
        {"height": size[0], "width": size[1], "duration": None, "fps": None, **medium}
        | {"grid_frames": int(grid[0]), "grid_rows": int(grid[1]), "grid_columns": int(grid[2]), "merge": int(merge)}
        | {"kept": None}
        for medium, grid, merge, size in zip(
            stored.fields["media"], encoded.grids, encoded.merges, encoded.sizes, strict=True
        )
    ]
    kinds = {medium["kind"] for medium in media}
    return {
        "key": key,
        "branch": "video_text" if "video" in kinds else "image_text" if kinds else "text",
        "members": [{"name": n, "offset": offset, "size": len(data)} for n, offset, data in named],
        "media": media,
        "text_tokens": len(encoded.tokens) - int(encoded.keep.sum()),
        "loss_tokens": int((encoded.labels >= 0).sum()),
        "patches": len(encoded.patches),
        "visual_tokens": len(encoded.keep),
        "visual_tokens_kept": int(encoded.keep.sum()),
    }
