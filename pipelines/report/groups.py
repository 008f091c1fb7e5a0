"""Groups: duplicates side by side, clusters as contact sheets, what a benchmark holds too. Driven by the ledger's columns."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from charts import Block, Section, Table
from pipelines.report.blocks import Cards
from pipelines.report.gallery import Gallery
from pipelines.report.material import Material
from pipelines.report.survey import Survey

LARGEST, RANDOM = 6, 6  # groups shown per node
MEMBERS = 6  # duplicates shown of one group
CLUSTERS, SHEET, OPEN = 12, 8, 6  # contact sheets, samples on each, and how many of them lie open


Groups = dict[tuple[str, str], list[str]]  # node and survivor -> some of its duplicates


def duplicates_of(material: Material, survey: Survey) -> Groups:
    """The groups that are shown: of every branch and node the largest and a few at random, pictures before texts."""
    chosen: list[tuple[str, str]] = []
    for branch in material.branches:
        for operator in material.operators(branch):
            groups = _twins(survey).filter(branch=branch, node=operator["name"])
            largest, some = groups.head(LARGEST), groups.sort("duplicate_of").head(RANDOM)
            chosen += pl.concat([largest, some]).select("node", "duplicate_of").unique(maintain_order=True).rows()
    if not chosen:
        return {}
    survivors = list(dict.fromkeys(survivor for _, survivor in chosen))
    rows = material.ledger.filter(pl.col("duplicate_of").is_in(survivors)).select("id", "node", "duplicate_of")
    members = (
        rows.collect(engine="streaming").sort("id").group_by("node", "duplicate_of").agg(pl.col("id").head(MEMBERS))
    )
    listed = {(node, survivor): ids for node, survivor, ids in members.sort("node", "duplicate_of").iter_rows()}
    return {key: listed[key] for key in dict.fromkeys(chosen) if key in listed}


def _twins(survey: Survey) -> pl.DataFrame:
    """Groups of samples of this dataset; items of a benchmark are none."""
    return survey.groups.filter(~pl.col("node").is_in(_contaminating(survey)))


def _contaminating(survey: Survey) -> list[str]:
    found = survey.reasons.filter(pl.col("reason").str.ends_with(".contaminated").fill_null(value=False))
    return found["node"].unique().to_list()


def crowds_of(material: Material) -> list[tuple[str, str, int, str, int]]:
    """What Selects met that too many samples share to compare them all: branch, node, how many such keys, a sample, how many share it."""
    nodes = [
        (branch, node) for branch in material.branches for node in material.run.get("branches", {}).get(branch, [])
    ]
    return [
        (branch, node["node"], node["crowds"]["keys"], sample, samples)
        for branch, node in nodes
        for sample, samples in node.get("crowds", {}).get("largest", [])
    ]


def _crowds(crowds: list[tuple[str, str, int, str, int]], gallery: Gallery) -> list[Block]:
    if not crowds:
        return []
    look = "Placeholders, test cards, boilerplate: what so many samples share says nothing about any two of them. Drop it by a filter."
    columns = ("branch", "node", "such keys in all", "best sample", "samples that share it")
    cards = [
        gallery.card(gallery.rows[sample], f"{node}: shared by {samples:,}")
        for _, node, _, sample, samples in crowds
        if sample in gallery.rows
    ]
    return [
        Table(title="Too common to compare all", look=look, columns=columns, rows=crowds),
        Cards(title="The best sample of each", cards=cards, folded=True),
    ]


def duplicates(
    survey: Survey, gallery: Gallery, groups: Groups, crowds: list[tuple[str, str, int, str, int]]
) -> Section | None:
    """How large groups are, and some of them side by side, with how alike they are; what was too common to compare all."""
    if not groups and not crowds:
        return None
    blocks: list[Block] = [_sizes(survey), *_crowds(crowds, gallery)]
    sizes = {(row["node"], row["duplicate_of"]): row["samples"] + 1 for row in survey.groups.iter_rows(named=True)}
    for (node, survivor), members in groups.items():
        if survivor not in gallery.rows:
            continue  # the survivor is no sample of this dataset
        cards = [gallery.card(gallery.rows[survivor], "survivor")]
        cards += [gallery.card(row, _alike(row)) for row in (gallery.rows.get(m) for m in members) if row is not None]
        title = f"{gallery.rows[survivor]['branch']}: {node}, group of {sizes[node, survivor]:,}"
        blocks.append(Cards(title=title, cards=cards, folded=not any(card.pictures for card in cards)))
    lead = (
        "Per node the largest groups and a few chosen at random. Look for samples in one group that you would call different. Similarity, "
        "1 for the same, is in the measure of the node: shingles that two texts share (Jaccard, as MinHash estimates it), detail of two "
        "pictures laid onto each other, cosine of embeddings."
    )
    return Section(title="Duplicates", lead=lead, blocks=blocks)


def _alike(row: Mapping[str, Any]) -> str:
    similarity = row.get("similarity")
    return "duplicate" if similarity is None else f"duplicate, similarity {similarity:.3f}"


def _sizes(survey: Survey) -> Table:
    table = (
        _twins(survey)
        .group_by("branch", "node", maintain_order=True)
        .agg(
            pl.len().alias("groups"),
            pl.col("samples").sum().alias("dropped"),
            (pl.col("samples").max() + 1).alias("largest"),
        )
    )
    look = "One huge group is often a placeholder picture or boilerplate; many pairs are re-posts."
    columns = ("branch", "node", "groups", "samples dropped", "largest group")
    return Table(title="Groups", look=look, columns=columns, rows=table.sort("branch", "node").rows())


def cluster_members(material: Material) -> dict[str, list[str]]:
    """Cluster -> some of its samples, for the largest clusters; {} when the ledger has no column `cluster`."""
    if "cluster" not in material.ledger.collect_schema():
        return {}
    kept = material.ledger.filter(pl.col("cluster").is_not_null()).group_by("branch", "cluster")
    few = kept.agg(pl.len().alias("samples"), pl.col("id").bottom_k(SHEET).sort()).collect(engine="streaming")
    table = few.sort("samples", "branch", "cluster", descending=[True, False, False]).head(CLUSTERS)
    return {f"{b}, cluster {c:.0f}: {n:,} samples": ids for b, c, n, ids in table.iter_rows()}


def clusters(gallery: Gallery, members: Mapping[str, list[str]]) -> Section | None:
    """A contact sheet per cluster."""
    if not members:
        return None
    sheets = [(title, gallery.cards(ids, limit=SHEET)) for title, ids in members.items()]
    blocks = [Cards(title=title, cards=cards, folded=i >= OPEN) for i, (title, cards) in enumerate(sheets)]
    lead = f"The {len(members)} largest clusters. Look for clusters that are one template or one site: the quota is what limits them."
    return Section(title="Clusters", lead=lead, blocks=blocks)


def contamination(survey: Survey, gallery: Gallery) -> Section | None:
    """Samples dropped because a benchmark holds them too, with the benchmark's item."""
    hits = survey.reasons.filter(pl.col("reason").str.ends_with(".contaminated").fill_null(value=False))
    if not hits.height:
        return None
    items = survey.groups.filter(pl.col("node").is_in(hits["node"].to_list()))
    rows = items.select("branch", "node", "duplicate_of", "samples").head(40).rows()
    ids = survey.examples.filter(pl.col("reason").is_in(hits["reason"].to_list()))["id"].to_list()
    notes = [
        gallery.card(row, f"hit {row['duplicate_of']}") for row in (gallery.rows.get(i) for i in ids) if row is not None
    ]
    table = Table(title="Benchmark items hit most", columns=("branch", "node", "benchmark item", "samples"), rows=rows)
    counts = Table(
        title="Samples dropped",
        columns=("branch", "reason", "samples"),
        rows=hits.select("branch", "reason", "samples").rows(),
    )
    blocks = [counts, table, Cards(title="Some of them", cards=notes)]
    return Section(
        title="Decontamination",
        lead="Samples that a benchmark holds too. Look for hits that are common phrases.",
        blocks=blocks,
    )
