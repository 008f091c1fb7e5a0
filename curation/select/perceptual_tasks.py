"""Perceptual tasks: what PerceptualDedup does, over tables of runs and ranges of keys.

Shapes: a key range is a share of one Hamming table: of its keys those that a mixed hash assigns to it.
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curation.select.base import num_of_base, of_base
from curation.select.crowds import crowds_of
from curation.select.films import StillEntries, meet_films, still_entries
from curation.select.hamming import Blocks, plan_blocks
from curation.select.looks import Looks
from curation.select.media_pairs import MEDIA_PAIRS, all_media, decide, media_pairs
from curation.select.pictures import Entries, all_hashes, entries_of, meet, nearest_ways, num_hashes
from curation.select.tasks import Tables, named, names_of, with_places

if TYPE_CHECKING:
    from curation.select.perceptual import PerceptualDedup

# Views or clips that meet: names of their samples, which of the samples' views or clips, what was altered, bits. `share` assigns pairs
# to tasks, all that is found of one pair to the same.
CANDIDATES = {
    "share": pl.UInt64, "film": pl.Boolean, "left": pl.Int64, "left_at": pl.Int32, "right": pl.Int64, "right_at": pl.Int32,
    "window": pl.Int32, "mirrored": pl.Int32, "bits": pl.Int32,
}  # fmt: skip
_WORST = float("-inf")


def gather(select: "PerceptualDedup", table: pl.DataFrame) -> tuple[dict[str, pl.DataFrame], int]:
    """Tables of a run whose samples have a `score`: `nodes`; `views` with a row per view and its hashes; `stills` with one per different
    still of a clip.
    """
    columns = ["id", "part", "row", "media", "views", "stills", "graphics", "score", "size"]
    size = pl.col("size").cast(pl.Float64).fill_nan(_WORST).fill_null(_WORST)
    nodes = table.with_columns(size, pl.col("media").fill_null(0)).select(columns)
    looks = Looks(nodes, busy=select.busy, plain=select.plain)
    hashes = all_hashes(looks.hashes, looks.views.thumbnails, select.likeness())
    views = _of(nodes, looks.rows).with_columns(
        at=pl.Series(_ordinals(looks.rows), dtype=pl.Int32), medium=pl.Series(looks.media, dtype=pl.Int32),
        hashes=pl.Series(hashes, dtype=pl.Array(pl.UInt64, hashes.shape[1])),
    )  # fmt: skip
    entries = still_entries(looks.clips, mirrored=False)
    stills = _of(nodes, looks.clip_rows[entries.clips]).with_columns(
        at=pl.Series(_ordinals(looks.clip_rows)[entries.clips], dtype=pl.Int32),
        medium=pl.Series(looks.clip_media[entries.clips], dtype=pl.Int32), hash=pl.Series(entries.values),
    )  # fmt: skip
    return {"nodes": nodes, "views": views, "stills": stills}, num_entries(select, len(views), len(stills))


def num_entries(select: "PerceptualDedup", views: int, stills: int) -> int:
    """Hashes to look for, of so many views and stills. How they are cut depends on it, and on no task."""
    return (2 if select.mirrored else 1) * (views * num_hashes(select.likeness()) + stills)


def meet_range(select: "PerceptualDedup", tables: Tables, number: int, of: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates of one range: of a share of the keys of one Hamming table."""
    views, stills = _height(tables, "views"), _height(tables, "stills")
    blocks = plan_blocks(num_entries(select, views, stills), select.bits)
    shares = of // blocks.tables
    table, share = divmod(number, shares)
    mask = np.uint64(list(blocks.masks())[table])
    found, hubs = _meet_views(select, tables, blocks, table, (mask, share, shares))
    films, common = _meet_stills(select, tables, blocks, table, (mask, share, shares))
    return pl.concat([found, films]), pl.concat([hubs, common])


def _meet_views(
    select: "PerceptualDedup", tables: Tables, blocks: Blocks, table: int, share: tuple[np.uint64, int, int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows, pieces, begin = [], [], 0
    for run in range(tables.runs):
        views = tables.table("views", run).with_columns(names_of(run, pl.col("node")))
        hashes = views["hashes"].to_numpy().reshape(len(views), num_hashes(select.likeness()))
        entries = entries_of(hashes, select.likeness())
        entries = entries.take(_mine(entries.values, *share))
        used, places = np.unique(entries.rows, return_inverse=True)
        rows.append(views[used].drop("hashes"))
        pieces.append((entries, begin + places))
        begin += len(used)
    views = pl.concat(rows)
    order, ranks = _ranked(views)
    every = Entries(
        values=np.concatenate([e.values for e, _ in pieces]), rows=ranks[np.concatenate([p for _, p in pieces])],
        windows=np.concatenate([e.windows for e, _ in pieces]), mirrored=np.concatenate([e.mirrored for e, _ in pieces]),
    )  # fmt: skip
    # As all entries would lie if there were one task: by kind, then best first.
    every = every.take(np.lexsort((every.rows, every.windows, every.mirrored)))
    met = meet(every, bits=select.bits, blocks=blocks, tables=[table])
    views = views[order]
    return _table(views, met.candidates, film=False), crowds_of(views["id"], met.crowds)


def _meet_stills(
    select: "PerceptualDedup", tables: Tables, blocks: Blocks, table: int, share: tuple[np.uint64, int, int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows, values, flipped = [], [], []
    for run in range(tables.runs):
        stills = tables.table("stills", run).with_columns(names_of(run, pl.col("node")))
        own = np.arange(len(stills))
        every = StillEntries(values=stills["hash"].to_numpy(), clips=own, flipped=np.zeros(len(own), bool))
        every = every.with_mirrored() if select.mirrored else every
        mine = _mine(every.values, *share)
        rows.append(stills[every.clips[mine]].drop("hash"))
        values.append(every.values[mine])
        flipped.append(every.flipped[mine])
    stills = pl.concat(rows)
    clips = stills.unique(["node", "at"], keep="any")
    clips = clips[_ranked(clips)[0]]
    of = stills.join(
        clips.select("node", "at").with_row_index("clip"), on=["node", "at"], how="left", maintain_order="left"
    )
    entries = StillEntries(
        values=np.concatenate(values), clips=of["clip"].to_numpy().astype(np.int64), flipped=np.concatenate(flipped)
    )
    found, common = meet_films(entries, bits=select.bits, blocks=blocks, tables=[table])
    candidates = np.stack(
        [found[:, 0], found[:, 1], np.full(len(found), -1), found[:, 2], np.zeros(len(found), np.int64)], axis=1
    )
    return _table(clips, candidates, film=True), crowds_of(clips["id"], common)


def pair_range(select: "PerceptualDedup", tables: Tables, number: int, of: int) -> pl.DataFrame:
    """Verified pairs of media (left, right: names of samples), of one share of the candidates."""
    low, high = number * 2**64 // of, (number + 1) * 2**64 // of - 1
    wanted = pl.col("share").is_between(pl.lit(low, pl.UInt64), pl.lit(high, pl.UInt64))
    candidates = pl.concat([scan.filter(wanted) for scan in tables.ranges()]).collect()
    nodes = np.unique(np.concatenate([candidates["left"].to_numpy(), candidates["right"].to_numpy()]))
    samples = select.ranked(named(tables, nodes))
    looks = Looks(samples, busy=select.busy, plain=select.plain)
    pictures, films = candidates.filter(~pl.col("film")), candidates.filter("film")
    columns = _placed(samples, looks.rows, pictures)
    found = looks.same_pictures(nearest_ways(columns), select.likeness())
    clips = np.unique(_placed(samples, looks.clip_rows, films)[:, [0, 1, 3]], axis=0)
    clips[:, :2].sort(axis=1)
    found = pl.concat([found, looks.same_films(np.unique(clips, axis=0), select.look())])
    names = samples["node"]
    return found.with_columns(left=names.gather(found["left"]), right=names.gather(found["right"]))


def decide_samples(select: "PerceptualDedup", tables: Tables) -> pl.DataFrame:
    """Who is dropped, from all pairs; holds the samples that have one."""
    pairs = pl.concat([scan.select(*MEDIA_PAIRS) for scan in tables.ranges()]).collect()
    nodes = np.unique(np.concatenate([pairs["left"].to_numpy(), pairs["right"].to_numpy()]))
    samples = select.ranked(named(tables, nodes, ["id", "part", "row", "media", "score", "size"]))
    rank_of = np.argsort(samples["node"].to_numpy())
    left, right = (rank_of[np.searchsorted(nodes, pairs[side].to_numpy())] for side in ("left", "right"))
    medium = pairs["medium"].to_numpy()
    placed = media_pairs(left, medium, right, medium, pairs["similarity"].to_numpy())
    same = all_media(placed, samples["media"]).filter(pl.col("right") >= num_of_base(samples))
    return with_places(decide(samples["id"], same), samples)


def _of(nodes: pl.DataFrame, rows: np.ndarray) -> pl.DataFrame:
    """What ranks the samples of some views or clips, and where they stand."""
    return nodes[rows].select("id", "score", "size", "media").with_columns(node=pl.Series(rows, dtype=pl.UInt32))


def _ordinals(rows: np.ndarray) -> np.ndarray:
    """The number of each among those of the same sample; rows are sorted."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


def _height(tables: Tables, name: str) -> int:
    return sum(int(tables.scan(name, run).select(pl.len()).collect().item()) for run in range(tables.runs))


def _ranked(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Order of views or clips best first, and the rank of each."""
    keyed = rows.with_row_index("place").sort("score", "size", "id", "at", descending=[True, True, False, False])
    order = keyed["place"].to_numpy().astype(np.int64)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return order, ranks


def _mine(values: np.ndarray, mask: np.uint64, share: int, shares: int) -> np.ndarray:
    """Which hashes have a key of this share."""
    return np.flatnonzero(_mixed(values & mask) % np.uint64(shares) == share)


def _mixed(values: np.ndarray) -> np.ndarray:
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _table(rows: pl.DataFrame, candidates: np.ndarray, *, film: bool) -> pl.DataFrame:
    """Candidates that name `rows`, as CANDIDATES; those that can be no pair of media of two samples are left out."""
    sides = {side: rows[candidates[:, place]] for place, side in enumerate(("left", "right"))}
    left, right = sides["left"], sides["right"]
    low = np.minimum(left["node"].to_numpy(), right["node"].to_numpy()).astype(np.uint64)
    high = np.maximum(left["node"].to_numpy(), right["node"].to_numpy()).astype(np.uint64)
    found = pl.DataFrame({
        "share": _mixed(_mixed(low) ^ high), "film": np.full(len(candidates), film), "left": left["node"], "left_at": left["at"],
        "right": right["node"], "right_at": right["at"], "window": candidates[:, 2], "mirrored": candidates[:, 3],
        "bits": candidates[:, 4],
    }, schema=CANDIDATES, strict=False)  # fmt: skip
    useful = (left["node"] != right["node"]) & (left["medium"] == right["medium"]) & (left["media"] == right["media"])
    new = ~(of_base(left["score"]) & of_base(right["score"]))
    return found.filter(useful & new).sort("share")


def _placed(samples: pl.DataFrame, rows: np.ndarray, candidates: pl.DataFrame) -> np.ndarray:
    """Candidates [C, 5] that name views or clips by their places among those of `samples`; rows: of which sample each is."""
    order = np.argsort(samples["node"].to_numpy())
    nodes = samples["node"].to_numpy()[order]
    places = []
    for side in ("left", "right"):
        sample = order[np.searchsorted(nodes, candidates[side].to_numpy())]
        places.append(np.searchsorted(rows, sample) + candidates[f"{side}_at"].to_numpy())
    altered = [candidates[name].to_numpy() for name in ("window", "mirrored", "bits")]
    return np.stack([*places, *altered], axis=1).astype(np.int64)
