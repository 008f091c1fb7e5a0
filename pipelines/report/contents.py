"""Contents: what the kept samples say and show: texts, rewritten turns, video strips."""

import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from charts import Block, Chart, Section, Share, Table, histogram
from curation.filters.language import languages_of
from curation.sample import SampleError
from pipelines.apart import Apart, LostError
from pipelines.report.blocks import Card, Cards
from pipelines.report.gallery import Gallery, data_uri
from pipelines.report.material import Material
from pipelines.report.survey import Survey

TEXTS = 200  # samples per branch whose texts are looked at
PAIRS = 6
LANGUAGES = 40  # texts per branch whose language is told, at about a millisecond each
STRIPS, FRAMES = 6, 8
CUT = 30.0  # grey levels by which neighbouring frames differ, above which a strip is marked as cut there
_WORD = re.compile(r"\w+")


def chosen(material: Material, survey: Survey) -> tuple[list[str], list[str]]:
    """Ids of kept samples whose texts are looked at, and of those to compare with what their source gave."""
    kept = survey.sample.filter(decision="kept").group_by("branch", maintain_order=True)
    texts = kept.head(TEXTS)
    rewritten = [b for b in material.branches if any(".transforms." in o["operator"] for o in material.operators(b))]
    before = texts.filter(pl.col("branch").is_in(rewritten))["id"].to_list()
    return texts["id"].to_list(), before


def texts(material: Material, gallery: Gallery, ids: Sequence[str], apart: Apart) -> Section | None:
    """Length, repetition, language and openings of what the assistant says, per branch."""
    said: dict[str, list[str]] = {}
    for branch in material.branches:
        mine = [gallery.found[i].caption for i in ids if i in gallery.found and gallery.rows[i]["branch"] == branch]
        if mine:
            said[branch] = mine
    if not said:
        return None
    spoken = _languages(said, apart)
    rows = [(branch, *_described(mine, spoken.get(branch, ""))) for branch, mine in said.items()]
    columns = (
        "branch", "looked at", "median words", "longest", "said twice", "repeated 3-grams", "languages", "scripts", "commonest opening",
        "share",
    )  # fmt: skip
    look = (
        "The assistant's first turn. Repeated 3-grams: share of a text's word triples that occur in it before; above 20 % reads like a "
        "loop. One opening above 20 % is a template. Languages are told from the first "
        f"{LANGUAGES} texts of five words or more, short ones often wrongly."
    )
    return Section(title="Texts", blocks=[Table(look=look, columns=columns, rows=rows)])


def _described(texts: Sequence[str], languages: str) -> tuple[Any, ...]:
    words = [_WORD.findall(text.lower()) for text in texts]
    counts = [len(w) for w in words]
    openings = Counter(" ".join(w[:3]) for w in words if w)
    opening, times = openings.most_common(1)[0] if openings else ("", 0)
    twice = sum(n for n in Counter(texts).values() if n > 1) / len(texts)
    repeated = statistics.fmean(repetition(w) for w in words)
    return (
        len(texts), statistics.median(counts), max(counts), Share(twice), Share(repeated), languages, scripts(texts), opening,
        Share(times / len(texts)),
    )  # fmt: skip


def _languages(said: Mapping[str, Sequence[str]], apart: Apart) -> dict[str, str]:
    """Shares of languages per branch; {} where nothing is installed that tells them."""
    long = {branch: [t for t in mine if len(t.split()) >= 5][:LANGUAGES] for branch, mine in said.items()}
    try:
        named = apart.call(languages_of, list(long.values()))
    except LostError:
        return {}
    shares = {}
    for branch, codes in zip(long, named, strict=True):
        counted = Counter(codes).most_common(3)
        shares[branch] = ", ".join(f"{code} {100 * n / len(codes):.0f} %" for code, n in counted)
    return shares


def repetition(words: Sequence[str]) -> float:
    """Share of a text's word triples that occurred in it before, 0 to 1."""
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0


def scripts(texts: Iterable[str]) -> str:
    """Writing systems by share of letters: a first idea of the languages."""
    names = Counter(unicodedata.name(c, "?").split(" ")[0] for text in texts for c in text[:2_000] if c.isalpha())
    total = sum(names.values())
    return ", ".join(f"{name.capitalize()} {100 * n / total:.1f} %" for name, n in names.most_common(3))


def rewritten(material: Material, gallery: Gallery, ids: Sequence[str]) -> Section | None:
    """Captions before and after, where a transform changed them."""
    blocks: list[Block] = []
    for branch in material.branches:
        mine = [i for i in ids if i in gallery.rows and gallery.rows[i]["branch"] == branch]
        pairs = [i for i in mine if i in gallery.read and i in gallery.found]
        changed = [i for i in pairs if gallery.read[i].turns != gallery.found[i].turns]
        if changed:
            names = ", ".join(o["name"] for o in material.operators(branch) if ".transforms." in o["operator"])
            fits = [o["name"] for o in material.operators(branch) if ".filters.alignment." in o["operator"]]
            cards = [
                gallery.card(gallery.rows[i], _measured(gallery.rows[i], fits), before=True) for i in changed[:PAIRS]
            ]
            title = f"{branch}: {names} changed {len(changed):,} of {len(pairs):,} samples looked at"
            blocks.append(Cards(title=title, look="Struck through: as the source gave it.", cards=cards))
    lead = (
        "Look for facts that the new text lost or made up. Where a filter measured how well words and picture fit, that stands below; "
        "all other scores unfold."
    )
    return Section(title="Before and after", lead=lead, blocks=blocks) if blocks else None


def _measured(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return " · ".join(f"{name} {row[name]:.3f}" for name in names if isinstance(row.get(name), float))


def videos(survey: Survey, gallery: Gallery, ids: Sequence[str]) -> Section | None:
    """Strips of videos with cuts and motion, and how many visual tokens pruning leaves."""
    strips: list[Card] = []
    clips = [i for i in ids if i in gallery.found and any(m.kind == "video" for m in gallery.found[i].media)]
    for sample in clips:
        if len(strips) == STRIPS:
            break
        if (strip := _strip(gallery, sample)) is not None:
            strips.append(strip)
    if not strips:
        return None
    look = "Frames evenly in time. Look for cuts inside a clip (two scenes, one caption) and for clips in which nothing moves."
    blocks: list[Block] = [Cards(title="Strips", look=look, cards=strips, strips=True)]
    visual = survey.sample.filter(pl.col("id").is_in(clips) & (pl.col("visual_tokens") > 0))
    shares = visual.select(1 - pl.col("visual_tokens_kept") / pl.col("visual_tokens")).to_series().to_list()
    if any(shares):
        edges = [i / 20 for i in range(21)]
        counts = [sum(edges[i] <= s < edges[i + 1] for s in shares) for i in range(20)]
        svg = histogram(
            edges,
            {"clips": counts},
            x="share of visual tokens pruned (DiffFP)",
            y=f"clips, of {len(shares):,} looked at",
        )
        blocks.append(Chart(title="Pruned share", look="A hill near 1 means clips that stand still.", svg=svg))
    return Section(title="Videos", blocks=blocks)


def _strip(gallery: Gallery, sample: str) -> Card | None:
    found, row = gallery.found[sample], gallery.rows[sample]
    number = next(i for i, m in enumerate(found.media) if m.kind == "video")
    try:
        made = gallery.thumbnail(found, number, FRAMES)
    except SampleError:
        return None
    if not made.pictures:
        return None
    cuts = [made.times[i + 1] for i, change in enumerate(made.changes) if change > CUT]
    motion = statistics.fmean(made.changes) if made.changes else 0.0
    pruned = 1 - row["visual_tokens_kept"] / row["visual_tokens"] if row["visual_tokens"] else 0.0
    said = [
        f"{found.media[number].duration:.1f} s",
        f"change between frames {motion:.1f} of 255",
        f"{100 * pruned:.0f} % pruned",
    ]
    said += [f"large change before {', '.join(f'{t:.1f} s' for t in cuts)}"] if cuts else []
    card = gallery.card(row, frames=FRAMES)
    labels = [f"{t:.1f} s{' ✂' if t in cuts else ''}" for t in made.times]
    pictures = [(data_uri(p), label) for p, label in zip(made.pictures, labels, strict=True)]
    return Card(
        id=card.id, origin=card.origin, note=" · ".join(said), caption=card.caption, pictures=pictures, facts=card.facts
    )
