"""Alternates: what dropped samples say about a picture that another sample shows as well, carried by the one that survives.

A Select that compares media and not words (`carries` > 0) drops pictures together with their captions. The captions lie in a table
beside its decision, by the place of the survivor; where that is dropped by a later such Select, they move on with it. A shard takes
those that answer what the survivor is asked, and say something else than it says.

    select  part of the survivor, row, id of the dropped sample, question, caption
    settle  alternates of each chosen sample: no two equal, by id of the dropped sample, `carries` at most
"""

import polars as pl

from curation.sample import caption_of, turns_from_json
from curation.select.exact import normalize_for_comparison
from pipelines.kept import after_segment, kept_before
from pipelines.plan import BranchPlan
from pipelines.store import Store

SCHEMA = {"part": pl.String, "row": pl.Int32, "id": pl.String, "question": pl.String, "caption": pl.String}


def carried_captions(store: Store, branch: BranchPlan, index: int, dropped: pl.DataFrame) -> pl.DataFrame:
    """Captions by survivor after Select `index`, as SCHEMA: of what it drops (part, row, id, for_part, for_row), and earlier ones.

    Reads one part after another, so that no more than a part and the captions are in memory.
    """
    moves = dropped.filter(pl.col("for_part").fill_null("") != "")
    tables = [_moved(earlier_captions(store, branch, index), dropped)]
    for (part,), rows in moves.group_by("part", maintain_order=True):
        kept = kept_before(store, branch, index, str(part))
        segment = branch.segments[index]
        said = after_segment(store, segment, str(part), kept, decided=False).select("row", "turns")
        tables.append(_captions(rows.join(said, on="row", how="inner", maintain_order="left")))
    return pl.concat(tables).sort("part", "row", "id", "caption")


def earlier_captions(store: Store, branch: BranchPlan, index: int) -> pl.DataFrame:
    """The captions carried by the samples that enter Select `index`, as SCHEMA; part by part: `captions_of`."""
    carrying = [segment for segment in branch.segments[:index] if segment.select and segment.select.carries]
    return store.read_table(carrying[-1].select_id, "alternates") if carrying else pl.DataFrame(schema=SCHEMA)


def _moved(captions: pl.DataFrame, dropped: pl.DataFrame) -> pl.DataFrame:
    """Captions of survivors that are now dropped, put with those that stand for them; lost where nobody of the branch does."""
    to = dropped.select("part", "row", "for_part", "for_row", gone=pl.lit(value=True))
    joined = captions.join(to, on=["part", "row"], how="left", maintain_order="left")
    joined = joined.filter(pl.col("gone").is_null() | (pl.col("for_part").fill_null("") != ""))
    return joined.with_columns(part=pl.coalesce("for_part", "part"), row=pl.coalesce("for_row", "row")).select(*SCHEMA)


def _captions(rows: pl.DataFrame) -> pl.DataFrame:
    """The captions among dropped rows with their turns; what is no caption is left out."""
    found = []
    for row in rows.iter_rows(named=True):
        if (said := caption_of(turns_from_json(row["turns"]))) is not None:
            found.append((row["for_part"], row["for_row"], row["id"], *said))
    return pl.DataFrame(found, schema=SCHEMA, orient="row")


def alternates_of(store: Store, branch: BranchPlan, part_name: str, rows: pl.DataFrame) -> list[list[str]]:
    """The alternates of some samples of a part (row, turns), in order."""
    carrying = [segment for segment in branch.segments if segment.select and segment.select.carries]
    if not carrying or rows.is_empty():
        return [[] for _ in range(rows.height)]
    table = store.scan_table(carrying[-1].select_id, "alternates").filter(pl.col("part") == part_name).collect()
    offered: dict[int, list[tuple[str, str]]] = {}
    for row, question, caption in table.sort("row", "id", "caption").select("row", "question", "caption").iter_rows():
        offered.setdefault(row, []).append((question, caption))
    most = max(segment.select.carries for segment in carrying if segment.select)
    return [
        _differing(turns, offered[row], most) if row in offered else [] for row, turns in rows.select("row", "turns").iter_rows()
    ]  # fmt: skip


def _differing(turns: str, offered: list[tuple[str, str]], most: int) -> list[str]:
    """Captions that answer the same question as these turns, and say something else."""
    said = caption_of(turns_from_json(turns))
    if said is None:
        return []
    asked, seen, taken = normalize_for_comparison(said[0]), {normalize_for_comparison(said[1])}, []
    for question, caption in offered:
        compared = normalize_for_comparison(caption)
        if len(taken) < most and compared not in seen and normalize_for_comparison(question) == asked:
            seen.add(compared)
            taken.append(caption)
    return taken
