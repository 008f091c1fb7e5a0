"""Dataset: what every sample of some shard directories costs, as columns, counted for one stage's pixel rules.

Shapes: N samples, M media of a shard.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.shards import ShardEntry, counted_with, index_path, open_dataset
from model.geometry import Grid, Medium, VisualRules, plan_grids
from trainer.errors import ContractError, UsageError

COUNTS = ("text_tokens", "loss_tokens", "patches", "visual_tokens", "visual_tokens_kept")
# Under these rules a video's frames, and so its text ("Time 3.0s:"), stay what they were; the others need the pixels.
RECOUNTABLE = ("min_tokens", "max_tokens", "image_merge", "video_merge", "prune", "threshold", "min_prune_tokens")


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Samples of one or more shard directories.

    length: language tokens with the visual tokens that are kept. frame_squares: sum over frames of patches squared,
    the cost of attention in the vision encoder. exact: false where the length is an upper bound, since how much of a
    video is pruned is known only from its pixels. digest names the indexes and the rules that the counts are for.
    """

    directories: tuple[Path, ...]
    shards: tuple[Path, ...]
    branches: tuple[str, ...]
    rules: VisualRules
    digest: str
    shard: np.ndarray  # N
    row: np.ndarray  # N, row in its shard's index
    branch: np.ndarray  # N, number in `branches`
    length: np.ndarray  # N
    loss_tokens: np.ndarray  # N
    patches: np.ndarray  # N
    visual_tokens: np.ndarray  # N, before pruning
    frame_squares: np.ndarray  # N
    exact: np.ndarray  # N bool
    max_tokens: np.ndarray | None = None  # N, a sample's own value in place of the rules'; 0: the rules'
    max_frames: np.ndarray | None = None  # N, the same

    def __len__(self) -> int:
        return len(self.shard)


def open_shards(directories: Sequence[Path], rules: VisualRules, *, tokenizer: str | None = None) -> Dataset:
    """Every sample of finished datasets; see `open_catalogue`, which training reads stretch by stretch."""
    return open_catalogue(directories, rules, tokenizer=tokenizer).read()


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """The shards of one or more datasets as their manifests name them; indexes are read when they are asked for, so that
    what is in memory does not grow with the number of samples. digest names the indexes and the rules to count for.
    """

    directories: tuple[Path, ...]
    shards: tuple[Path, ...]
    sha256: tuple[str, ...]  # of the index of each shard; "" is not checked
    samples: np.ndarray  # of each shard, int64
    totals: Mapping[str, Mapping[str, int]]  # branch -> samples, tokens (kept ones), as the manifests count them
    rules: VisualRules
    tokenizer: str | None
    digest: str

    @property
    def branches(self) -> tuple[str, ...]:
        """Their names; a branch's number is its place."""
        return tuple(self.totals)

    def read(self, shards: Sequence[int] | None = None) -> Dataset:
        """The samples of some shards, or of all. Counts made for other pixel rules are made again from the sizes.

        Raises:
            ContractError: an index is not the one of its manifest, or was counted so that it cannot be counted again.
        """
        tables = [self._read(number) for number in (range(len(self.shards)) if shards is None else shards)]
        return Dataset(
            directories=self.directories,
            shards=self.shards,
            branches=self.branches,
            rules=self.rules,
            digest=self.digest,
            **{name: np.concatenate([table[name] for table in tables]) for name in tables[0]},
        )

    def _read(self, number: int) -> dict[str, np.ndarray]:
        path = self.shards[number]
        table = _checked_index(path, self.sha256[number])
        _check_tokenizer(path, counted_with(table), self.tokenizer)
        columns = _columns(table, self.rules, path)
        columns["branch"] = _number(columns.pop("branch"), self.branches, path)
        columns["shard"] = np.full(table.num_rows, number, np.int32)
        return columns


def open_catalogue(directories: Sequence[Path], rules: VisualRules, *, tokenizer: str | None = None) -> Catalogue:
    """Read the manifests of finished datasets.

    Args:
        tokenizer: digest of the tokenizer to train with; None takes the counts on trust.

    Raises:
        UsageError: a directory holds no finished dataset, or there are no samples. ContractError: an index is missing.
    """
    found: list[tuple[Path, ShardEntry]] = []
    totals: dict[str, Counter[str]] = {}  # in the order of the datasets
    for directory in directories:
        try:
            manifest, paths = open_dataset(directory)
        except (FileNotFoundError, ValueError) as error:
            raise UsageError(str(error)) from error
        found += zip(paths, manifest.shards, strict=True)
        for name, counts in sorted(item for item in manifest.branches.items() if item[1].get("samples", 1)):
            tokens = counts.get("text_tokens", 0) + counts.get("visual_tokens_kept", 0)
            totals.setdefault(name, Counter()).update(samples=counts.get("samples", 0), tokens=tokens)
    if lost := next((index_path(path) for path, _ in found if not index_path(path).is_file()), None):
        raise ContractError(
            f"{lost}: not there, but the manifest names its shard. Copy the dataset again, or curate again"
        )
    samples = np.array([entry.samples for _, entry in found], np.int64)
    if not samples.sum():
        raise UsageError(
            f"{', '.join(map(str, directories))}: the shards hold no samples. Curate again with looser bounds"
        )
    sha256 = tuple(entry.index_sha256 for _, entry in found)
    return Catalogue(
        directories=tuple(directories),
        shards=tuple(path for path, _ in found),
        sha256=sha256,
        samples=samples,
        totals=totals,
        rules=rules,
        tokenizer=tokenizer,
        digest=hashlib.sha256("\n".join([rules.digest(), *sha256]).encode()).hexdigest()[:32],
    )


def _checked_index(path: Path, sha256: str) -> pa.Table:
    """What planning needs of the index of a shard, if it is the one that the manifest names."""
    index = index_path(path)
    data = index.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise ContractError(
            f"{index}: sha256 is {found[:16]}, the manifest says {sha256[:16]}. Copy the dataset again, or curate again"
        )
    return pq.read_table(pa.BufferReader(data), columns=["branch", "media", *COUNTS])


def _check_tokenizer(path: Path, counted: dict[str, Any], tokenizer: str | None) -> None:
    """Refuse text counts of another tokenizer: packs would overflow, or stay half empty."""
    found = counted.get("tokenizer")
    if tokenizer is not None and found is not None and found != tokenizer:
        raise ContractError(
            f"{path}: text was counted with tokenizer {found}, this model's is {tokenizer}. "
            "Set the recipe's tokenizer to the model's directory and run vl3-curate again (media are not read again)"
        )


def _columns(table: pa.Table, rules: VisualRules, path: Path) -> dict[str, np.ndarray]:
    """Counts of one shard under `rules`."""
    counts = {name: table[name].to_numpy().astype(np.int64) for name in COUNTS}
    squares, exact = _frame_squares(table), np.ones(table.num_rows, bool)
    changed = _changed_rules(counted_with(table), rules, path)
    if changed:
        _recount(table, rules, changed, counts, squares, exact, path)
    return {
        "row": np.arange(table.num_rows, dtype=np.int32),
        "branch": table["branch"].to_numpy(zero_copy_only=False),
        "length": counts["text_tokens"] + counts["visual_tokens_kept"],
        "loss_tokens": counts["loss_tokens"],
        "patches": counts["patches"],
        "visual_tokens": counts["visual_tokens"],
        "frame_squares": squares,
        "exact": exact,
    }


def _changed_rules(counted: dict[str, Any], rules: VisualRules, path: Path) -> set[str]:
    """Fields of the rules that differ from what an index was counted with."""
    found, wanted = counted.get("rules"), asdict(rules)
    if not isinstance(found, dict) or set(found) != set(wanted):
        raise ContractError(
            f"{path}: its index does not say which pixel rules it was counted with. Curate again with this version"
        )
    return {name for name in wanted if found[name] != wanted[name]}


def _frame_squares(table: pa.Table) -> np.ndarray:
    """Sum over a sample's frames of patches squared (N int64)."""
    media = table["media"].combine_chunks()
    owner = np.repeat(np.arange(table.num_rows), media.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    flat = media.flatten()
    frames, rows, columns = (
        flat.field(f"grid_{side}").to_numpy(zero_copy_only=False).astype(np.float64)
        for side in ("frames", "rows", "columns")
    )
    return np.bincount(owner, frames * (rows * columns) ** 2, minlength=table.num_rows).astype(np.int64)


def _recount(
    table: pa.Table,
    rules: VisualRules,
    changed: set[str],
    counts: dict[str, np.ndarray],
    squares: np.ndarray,
    exact: np.ndarray,
    path: Path,
) -> None:
    """Count visual tokens again from the sizes of the media, in place. Exact for images, an upper bound for videos
    that are pruned.
    """
    for number, media in enumerate(table["media"].to_pylist()):
        if not media:
            continue
        videos = [medium for medium in media if medium["kind"] == "video"]
        fixed = sorted(changed - set(RECOUNTABLE))
        if fixed and (videos or "patch" in fixed):
            raise ContractError(
                f"{path}: row {number} was counted with another {', '.join(fixed)}, which needs the pixels to count "
                "again. Curate this dataset for the stage that you train "
                f"({json.dumps({name: getattr(rules, name) for name in fixed})})"
            )
        grids = plan_grids([Medium(m["kind"], m["height"], m["width"], m["grid_frames"] or 1) for m in media], rules)
        tokens = [grid.tokens(rules.merge(m["kind"])) for m, grid in zip(media, grids, strict=True)]
        counts["patches"][number] = sum(grid.patches for grid in grids)
        counts["visual_tokens"][number] = counts["visual_tokens_kept"][number] = sum(tokens)
        squares[number] = sum(_squares(grid) for grid in grids)
        exact[number] = not (videos and rules.prune)


def _squares(grid: Grid) -> int:
    return grid.frames * (grid.rows * grid.columns) ** 2


def _number(values: np.ndarray, names: Sequence[str], path: Path) -> np.ndarray:
    """Branch names as their numbers in `names`."""
    found, inverse = np.unique(values.astype(str), return_inverse=True)
    if unknown := sorted(set(found.tolist()) - set(names)):
        raise ContractError(
            f"{path}: its index names branch {', '.join(unknown)}, which its manifest does not. Copy the dataset again"
        )
    return np.array([names.index(name) for name in found.tolist()], np.int16)[inverse]
