"""Page: report.html from a finished dataset, and its numbers in report.json."""

from pathlib import Path

from charts import Section, render
from charts.page import sections_facts
from curation.uris import atomic
from pipelines.report import contents, groups, overview, scores, supply
from pipelines.report.blocks import Cards
from pipelines.report.gallery import Gallery
from pipelines.report.material import Material
from pipelines.report.overlap import overlap
from pipelines.report.survey import Survey, survey
from pipelines.store import write_json
from pipelines.thumbnails import Thumbnailer


def write_report(directory: Path, *, price: float | None = None) -> Path:
    """Write OUT/report.html, and its numbers into OUT/report.json under `seen`; returns the page's path.

    price: of one worker hour; None takes the one that report.json holds, if any.

    Raises:
        FileNotFoundError: the directory holds no finished dataset.
    """
    material = Material.open(directory, price=price)
    with Thumbnailer() as thumbnailer:
        sections = report_sections(material, survey(material), Gallery(material, thumbnailer))
    path = directory / "report.html"
    page = render(
        "report.html",
        packages=("pipelines.report",),
        script="report.js",
        title=f"{material.manifest.stage} dataset",
        lead="What was read, what was dropped and why, what other bounds would have done, and what the trainer gets.",
        sections=sections,
    )
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    write_json(directory / "report.json", {**material.run, "seen": sections_facts(sections)})
    return path


def report_sections(material: Material, counted: Survey, gallery: Gallery) -> list[Section]:
    """All sections that this dataset has something to say in, in order."""
    texts, before = contents.chosen(material, counted)
    twins = groups.duplicates_of(material, counted)
    members = groups.cluster_members(material)
    others = [sample for listed in members.values() for sample in listed]
    pairs = [sample for (_, survivor), group in twins.items() for sample in (survivor, *group)]
    crowds = groups.crowds_of(material)
    ids = [*scores.wanted(counted), *texts, *pairs, *others, *(sample for _, _, _, sample, _ in crowds)]
    gallery.load([*ids, *counted.examples["id"].to_list()], before=before)
    sections = [
        overview.card(material, counted),
        overview.graph(material, counted),
        overview.funnel(material, counted),
        scores.scores(material, counted, gallery),
        scores.constant(material, counted),
        scores.relations(material, counted),
        overlap(material, counted, gallery, gallery.thumbnailer),
        groups.duplicates(counted, gallery, twins, crowds),
        groups.clusters(gallery, members),
        groups.contamination(counted, gallery),
        contents.rewritten(material, gallery, before),
        contents.texts(material, gallery, texts, gallery.thumbnailer),
        contents.videos(counted, gallery, texts),
        supply.mixture(material),
        supply.shards(material),
        supply.training(material, counted),
        _lost(counted, gallery),
        overview.quarantine(material),
        supply.provenance(material),
        overview.recipe(material),
    ]
    return [section for section in sections if section is not None]


def _lost(counted: Survey, gallery: Gallery) -> Section | None:
    """Some samples of every reason."""
    blocks = []
    for (branch, reason), rows in counted.examples.group_by("branch", "reason", maintain_order=True):
        if rows["decision"][0] == "dropped" and (cards := gallery.cards(rows["id"].to_list())):
            blocks.append(
                Cards(
                    title=f"{branch}: {reason}, {counted.count(branch=str(branch), reason=str(reason)):,} samples",
                    cards=cards,
                    folded=True,
                )
            )
    lead = "A few samples for every reason, chosen at random. Look for good ones."
    return Section(title="Dropped samples", lead=lead, blocks=blocks) if blocks else None
