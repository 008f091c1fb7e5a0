"""Select: the tasks by which a branch's Select decides over all its samples.

    select                   one worker sees all signatures at once: plain Selects, and branches of few parts

    learn    once            what a TaskedSelect's runs must know
    keys     run             some parts' samples, and a row for each of their keys, sorted by key, that carries what comparing needs
    pairs    key range       samples that met under a key and are alike
    select   once            survivors, from the pairs and the samples they name

The second way is taken by a PartitionedSelect over more parts than `Plan.select_parts`. None of its tasks holds more than a run, a key
range, or the samples that have a duplicate. Both ways give the same answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from curation.operator import Select, digest
from curation.select.base import BasedSelect
from curation.select.crowds import NOBODY, crowd_facts, crowds_of
from curation.select.partitioned import PartitionedSelect
from curation.select.tasks import TaskedSelect
from pipelines import select_tasks
from pipelines.alternates import carried_captions
from pipelines.kept import after_segment, kept_before
from pipelines.plan import BranchPlan, SegmentPlan
from pipelines.store import Store

if TYPE_CHECKING:
    from curation.select.linking import Nodes

# Rows of a row group of sorted keys: the least that a key range reads of a run.
KEY_ROWS = 16_384
# Runs of a Select, at most: beyond, runs grow with the branch.
MAX_RUNS = 1024

NODE_SCHEMA = {"id": pl.String, "part": pl.String, "row": pl.Int32, "score": pl.Float64, "sketch": pl.Binary}
# Who is dropped, for whom, and where both stand; for_part is null or empty where that is no sample of the branch.
DROPPED = {
    "part": pl.String, "row": pl.Int32, "id": pl.String, "duplicate_of": pl.String, "similarity": pl.Float64,
    "for_part": pl.String, "for_row": pl.Int32,
}  # fmt: skip
KEY_SCHEMA = {"key": pl.UInt64, "node": pl.UInt32, "id": pl.Binary, "score": pl.Float64, "sketch": pl.Binary}


def runs_of(select: Select | None, part_names: Sequence[str], select_parts: int) -> list[tuple[str, tuple[str, ...]]]:
    """Name and parts of each run of a Select; none where it decides at once. Runs of a base have no parts."""
    if not isinstance(select, PartitionedSelect | TaskedSelect) or len(part_names) <= select_parts:
        return []
    size = max(select_parts, ceil(len(part_names) / MAX_RUNS))
    cuts = [tuple(part_names[first : first + size]) for first in range(0, len(part_names), size)]
    files = select.base_files() if isinstance(select, BasedSelect) else []
    base = [(f"base-{number:06d}", ()) for number in range(len(files))]
    return [(f"{number:06d}-{digest(cut)}", cut) for number, cut in enumerate(cuts)] + base


def decide_at_once(
    store: Store, branch: BranchPlan, index: int, part_names: Sequence[str]
) -> tuple[int, pl.DataFrame, pl.DataFrame]:
    """All signatures in this worker; returns how many samples it saw, as DROPPED those that go, and the crowds it met."""
    segment = branch.segments[index]
    assert segment.select is not None
    table = _input(store, branch, index, part_names)
    if segment.relation_id:
        related = _relation(store, segment, table).drop("id", strict=False)
        table = table.join(related, on=["part", "row"], how="left", maintain_order="left")
    chosen, crowds = table.select("id", duplicate_of=pl.lit(None, pl.String)), None
    if table.height:
        chosen, crowds = segment.select.choose_and_tell(table.drop("part", "row"))
    places = table.select("part", "row", "id")
    survivors = places.rename({"part": "for_part", "row": "for_row", "id": "duplicate_of"})
    dropped = places.join(chosen, on="id", how="inner").join(survivors, on="duplicate_of", how="left")
    return table.height, dropped, NOBODY if crowds is None else crowds


def _relation(store: Store, segment: SegmentPlan, table: pl.DataFrame) -> pl.DataFrame:
    """Part, row, and what the Select relates, of every sample; computed unless it is committed."""
    select = segment.select
    assert select is not None
    if store.done(segment.relation_id, "related") is None:
        related = table.select("part", "row", *(pl.lit(None, pl.Float64).alias(name) for name in select.SCORES))
        if table.height:
            found = select.relate(table.drop("part", "row"))
            related = table.select("part", "row", "id").join(found, on="id", how="inner")
        path = store.write_table(segment.relation_id, "related", related.sort("part", "row"))
        store.commit(segment.relation_id, "related", [path], {"rows": related.height})
    return store.read_table(segment.relation_id, "related")


def gather_keys(store: Store, branch: BranchPlan, index: int, run: str, part_names: Sequence[str]) -> dict[str, Any]:
    """One run of a branch, or of its Select's base."""
    segment, select = branch.segments[index], branch.segments[index].select
    base = not part_names
    if base:
        assert isinstance(select, BasedSelect)
        table = select.base_table(select.base_files()[int(run.removeprefix("base-"))])
        table = table.with_columns(part=pl.lit(""), row=pl.lit(0, pl.Int32))
    else:
        table = _input(store, branch, index, part_names)
    if isinstance(select, TaskedSelect):
        missing = [pl.lit(None, kind).alias(n) for n, kind in select.COLUMNS.items() if n not in table.columns]
        return select_tasks.gather(store, segment, select, run, table.with_columns(missing), base=base)
    assert isinstance(select, PartitionedSelect)
    return write_run(store, segment.select_id, select, run, table, rows=0 if base else table.height)


def learn(store: Store, branch: BranchPlan, index: int, part_names: Sequence[str]) -> dict[str, Any]:
    """What all runs of a branch must know, from all its parts and those of a base, one after the other."""
    segment, select = branch.segments[index], branch.segments[index].select
    assert isinstance(select, TaskedSelect)

    def parts() -> Iterator[pl.DataFrame]:
        tables = (_input(store, branch, index, [name]) for name in part_names)
        base = map(select.base_table, select.base_files()) if isinstance(select, BasedSelect) else ()
        return (table for table in chain(tables, base) if table.height)

    return select_tasks.learn(store, segment, select, parts)


def write_run(
    store: Store, node: str, select: PartitionedSelect, run: str, table: pl.DataFrame, *, rows: int
) -> dict[str, Any]:
    """Commit the samples of a table and their rows by key. rows: how many samples of the branch the run stands for."""
    if table.height:
        base = run.startswith("base-")
        scores = np.zeros(table.height) if base else select.scores(table)
        table = table.with_columns(score=pl.Series(scores)).drop_nulls(select.COLUMNS)
    nodes, keyed = pl.DataFrame(schema=NODE_SCHEMA), pl.DataFrame(schema=KEY_SCHEMA)
    if table.height:
        sketches = _cells("sketch", select.sketches(table))
        nodes = table.select("id", "part", "row", "score").with_columns(sketches)
        keys = select.keys(table)
        order = np.argsort(keys, axis=None, kind="stable")
        places = order // keys.shape[1]
        carried = nodes.select(pl.col("id").str.decode("hex"), "score", "sketch")[places]
        keyed = carried.select(
            pl.Series("key", keys.ravel()[order]), pl.Series("node", places.astype(np.uint32)), pl.all()
        )
    paths = [
        store.write_table(node, f"nodes-{run}", nodes),
        # Keys and sketches are as good as random: nothing to compress.
        store.write_table(node, f"keys-{run}", keyed, row_group_size=KEY_ROWS, compress=False),
    ]
    return store.commit(node, f"keys-{run}", paths, {"rows": rows, "keys": keyed.height})


def pairs_name(runs: Sequence[str], number: int, of: int) -> str:
    """Name of a key range's commit: pairs name samples by their place in these very runs."""
    return f"pairs-{digest(list(runs))}-{number}-{of}"


def pair_range(
    store: Store, node: str, select: PartitionedSelect, runs: Sequence[str], number: int, of: int
) -> dict[str, Any]:
    """Pairs of samples that are alike and share a key in the `number`-th of `of` ranges.

    Samples are named by run * 2^32 + their place in it.
    """
    from curation.select.linking import PAIR_SCHEMA, link, shared_keys

    low, high = number * 2**64 // of, (number + 1) * 2**64 // of - 1
    wanted = pl.col("key").is_between(pl.lit(low, pl.UInt64), pl.lit(high, pl.UInt64))
    scans = [store.scan_table(node, f"keys-{run}").filter(wanted) for run in runs]
    keys = [scan.select("key").collect()["key"].to_numpy() for scan in scans]
    every = np.concatenate(keys)
    shared = np.zeros(len(every), dtype=bool)
    shared[shared_keys(every)] = True
    rows, begin = [], 0
    for place, (scan, part) in enumerate(zip(scans, keys, strict=True)):
        mine = shared[begin : begin + len(part)]
        begin += len(part)
        if mine.any():
            rows.append(_shared_rows(scan, mine, place, fixed=runs[place].startswith("base-")))
    pairs = pl.DataFrame(schema=PAIR_SCHEMA)
    crowds = NOBODY
    if rows:
        table = pl.concat(rows)
        first = table.unique("node", keep="any").sort("node")
        members = first["node"].search_sorted(table["node"]).to_numpy().astype(np.int64)
        nodes = _nodes(first)
        found = link(table["key"].to_numpy(), members, nodes, nodes.ranks(), low=select.alike)
        names = first["node"].to_numpy()
        crowds = crowds_of(first["id"].bin.encode("hex"), found.crowds)
        pairs = replace(found, better=names[found.better], worse=names[found.worse]).table()
    name = pairs_name(runs, number, of)
    path = store.write_table(node, name, pairs)
    return store.commit(node, name, [path], {"pairs": pairs.height, "crowds": {select.name: crowd_facts(crowds)}})


def decide_by_pairs(
    store: Store, node: str, select: PartitionedSelect, runs: Sequence[str], of: int
) -> tuple[int, pl.DataFrame]:
    """Survivors from all pairs, returned as by `decide_at_once`; holds the samples that occur in one."""
    from curation.select.linking import Pairs, similarities, survivors

    tables = [store.read_table(node, pairs_name(runs, number, of)) for number in range(of)]
    pairs = pl.concat(tables).unique(["better", "worse"])
    named = np.unique(np.concatenate([pairs["better"].to_numpy(), pairs["worse"].to_numpy()])).astype(np.int64)
    rows, total = [], 0
    for place, run in enumerate(runs):
        total += store.facts(node, f"keys-{run}")["rows"]
        begin, end = np.searchsorted(named, [place << 32, (place + 1) << 32])
        if end > begin:
            chosen = store.read_table(node, f"nodes-{run}")[named[begin:end] & 0xFFFFFFFF]
            rows.append(chosen.with_columns(fixed=pl.lit(run.startswith("base-"))))
    dropped = pl.DataFrame(schema=DROPPED)
    if rows:
        table = pl.concat(rows)
        nodes = _nodes(table)
        dense = Pairs(
            better=np.searchsorted(named, pairs["better"].to_numpy()),
            worse=np.searchsorted(named, pairs["worse"].to_numpy()),
            similarity=pairs["similarity"].to_numpy(),
        )
        stands = survivors(dense, nodes, nodes.ranks(), low=select.alike)
        gone = np.flatnonzero(stands != np.arange(len(nodes)))
        theirs = table[stands[gone]].select(duplicate_of="id", for_part="part", for_row="row")
        dropped = table[gone].select("part", "row", "id").hstack(theirs)
        dropped = dropped.with_columns(similarity=similarities(nodes.sketches, gone, stands[gone]))
    return total, dropped


def _shared_rows(scan: pl.LazyFrame, shared: np.ndarray, place: int, *, fixed: bool) -> pl.DataFrame:
    """The rows of a run whose keys are shared, with their samples' names."""
    rows = scan.collect().filter(pl.Series(shared))
    named = (pl.lit(place << 32, pl.Int64) + pl.col("node").cast(pl.Int64)).alias("node")
    return rows.with_columns(named, fixed=pl.lit(fixed))


def _nodes(table: pl.DataFrame) -> "Nodes":
    from curation.select.linking import Nodes

    cells = table["sketch"].to_arrow().cast(pa.large_binary())
    _, offsets, data = cells.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[cells.offset :][: len(cells) + 1]
    sketches = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]].reshape(len(table), -1)
    return Nodes(ids=table["id"], scores=table["score"].to_numpy(), fixed=table["fixed"].to_numpy(), sketches=sketches)


def _input(store: Store, branch: BranchPlan, index: int, part_names: Sequence[str]) -> pl.DataFrame:
    """What a Select sees of some parts, and where each sample stands."""
    tables = [select_input(store, branch, index, name).with_columns(part=pl.lit(name)) for name in part_names]
    # A part of which nothing is left has no signatures, not even their columns.
    tables = [table for table in tables if table.height] or tables[:1]
    return pl.concat(tables, how="vertical_relaxed")


def select_input(store: Store, branch: BranchPlan, index: int, part_name: str) -> pl.DataFrame:
    """What a Select sees of one part: row, id, signature columns, and every score so far."""
    kept = kept_before(store, branch, index, part_name)
    segment = branch.segments[index]
    table = store.read_table(segment.id, part_name).filter(pl.col("node").is_null())
    signature = table.select("row", "^sig\\..*$").rename(lambda name: name.removeprefix("sig."))
    scores = after_segment(store, segment, part_name, kept, decided=False)
    hidden = ("source", "locator", "name", "licence", "url", "turns", "media", "error", "message", "retryable", "grids")
    return scores.drop(*hidden, strict=False).join(signature, on="row", how="inner", maintain_order="left")


def _cells(name: str, rows: np.ndarray) -> pl.Series:
    """Rows of bytes as binary cells."""
    cells = pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(rows)])
    return pl.Series(name, cells, dtype=pl.Binary)


def commit_dropped(
    store: Store, branch: BranchPlan, index: int, seen: int, dropped: pl.DataFrame, crowds: pl.DataFrame = NOBODY
) -> dict[str, Any]:
    """Commit who is dropped for whom, and which captions survivors carry; the facts are the node's counts, and its crowds."""
    segment = branch.segments[index]
    assert segment.select is not None
    missing = [pl.lit(None, kind).alias(name) for name, kind in DROPPED.items() if name not in dropped.columns]
    dropped = dropped.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in DROPPED.items())
    dropped = dropped.sort("part", "row")
    paths = [store.write_table(segment.select_id, "dropped", dropped)]
    if segment.select.carries:
        carried = carried_captions(store, branch, index, dropped)
        paths.append(store.write_table(segment.select_id, "alternates", carried))
    counts = {"seen": seen, "kept": seen - dropped.height, "dropped": {segment.select.VERDICT: dropped.height}}
    nodes = {segment.select.name: counts | {"quarantined": 0}}
    told = {segment.select.name: crowd_facts(crowds)}
    return store.commit(segment.select_id, "dropped", paths, {"nodes": nodes, "crowds": told})
