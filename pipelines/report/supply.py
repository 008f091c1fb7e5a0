"""Supply: what the trainer gets: the mixture asked and realised, the balance of shards, lengths, packs and steps, licences, origins."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from charts import Band, Block, Chart, Section, Share, Table, bars, histogram, ranges
from pipelines.report.material import Material
from pipelines.report.scores import lengths
from pipelines.report.survey import LENGTH, Survey

PACKS = (4_096, 8_192, 16_384, 32_768)  # language tokens; vision patches per language token as in the trainer's stages
PATCHES_PER_TOKEN = 6
STEP_PACKS = 16
TRIED = 3_000  # samples packed to estimate fill
SHARD_ROWS = 40
MANY = 60  # rows of a licence table


def mixture(material: Material) -> Section:
    """Shares asked for and realised, in samples and in tokens."""
    manifest = material.manifest
    shares: Mapping[str, Mapping[str, float]] = manifest.mixture
    rows = []
    for name in material.branches:
        counts = manifest.branches.get(name, {})
        asked = shares["asked"].get(name)
        share = [Share(shares[unit].get(name, 0.0)) for unit in ("samples", "tokens")]
        numbers = [counts.get(key, 0) for key in ("samples", "text_tokens", "visual_tokens", "visual_tokens_kept")]
        pruned = Share(1 - numbers[3] / numbers[2]) if numbers[2] else None
        rows.append((name, None if asked is None else Share(asked), *share, *numbers, pruned))
    columns = (
        "branch",
        "asked",
        "of samples",
        "of tokens",
        "samples",
        "text tokens",
        "visual tokens",
        "after pruning",
        "pruned",
    )
    series = {"asked": {n: float(s) for n, s in shares["asked"].items()}} if shares["asked"] else {}
    series |= {
        f"of {unit}": {n: float(shares[unit].get(n, 0.0)) for n in material.branches} for unit in ("samples", "tokens")
    }
    unit = shares["unit"]
    lead = f"Asked for in {unit}." if unit else "No mixture was asked for: everything kept goes in."
    look = "Compare what was asked with what came out; shares of tokens are what the loss sees."
    chart = Chart(title="Shares of the branches", look=look, svg=bars(series, x="share", percent=True))
    return Section(title="Mixture", lead=lead, blocks=[Table(title="Branches", columns=columns, rows=rows), chart])


def shards(material: Material) -> Section:
    """How even the shards are."""
    entries = material.manifest.shards
    blocks: list[Block] = []
    columns = {
        "megabytes": [s.bytes / 1e6 for s in entries],
        "samples": [s.samples for s in entries],
        "language tokens": [s.text_tokens + s.visual_tokens for s in entries],
    }
    rows = [
        (n, min(v), sum(v) / len(v), max(v), max(v) / (sum(v) / len(v)) if sum(v) else None)
        for n, v in columns.items()
        if v
    ]
    look = "Largest over mean above 1.5 means that some loader workers wait for others; the last shard is often small."
    blocks.append(
        Table(
            title="Balance",
            look=look,
            columns=("per shard", "smallest", "mean", "largest", "largest over mean"),
            rows=rows,
        )
    )
    if len(entries) > 2:
        for name, values in columns.items():
            edges = np.histogram_bin_edges(values, bins=min(30, len(entries)))
            counts = {"shards": np.histogram(values, edges)[0].tolist()}
            svg = histogram(edges.tolist(), counts, x=f"{name} per shard", y="shards")
            blocks.append(Chart(title=f"{name} per shard", look="One narrow hill is good.", svg=svg))
    listed = [
        (s.name, s.samples, s.bytes / 1e6, s.text_tokens, s.visual_tokens, s.sha256[:16]) for s in entries[:SHARD_ROWS]
    ]
    title = "Shards" if len(entries) <= SHARD_ROWS else f"The first {SHARD_ROWS} of {len(entries):,} shards"
    head = ("shard", "samples", "megabytes", "text tokens", "visual tokens", "sha256 begins")
    blocks.append(Table(title=title, columns=head, rows=listed))
    return Section(title="Shards", blocks=blocks)


def training(material: Material, survey: Survey) -> Section:
    """Sequence lengths, expected packs, their fill and steps per epoch."""
    bands = []
    for branch in material.branches:
        sketch = survey.sketches.get((branch, LENGTH))
        if sketch is not None and sketch.measured:
            a, b, c, d, e = (sketch.quantile(q) for q in (0.01, 0.25, 0.5, 0.75, 0.99))
            bands.append(Band(name=branch, quantiles=(a, b, c, d, e)))
    blocks: list[Block] = []
    if bands:
        look = "Line: 1 to 99 %; bar: middle half; tick: median. Branches far apart make packs uneven unless they are mixed."
        blocks.append(
            Chart(title="Sequence length", look=look, svg=ranges(bands, x="language tokens per sample", log=True))
        )
    blocks += lengths(material, survey)
    if (table := packing(material, survey)) is not None:
        blocks.append(table)
    return Section(title="For the trainer", lead="What an epoch over these shards will look like.", blocks=blocks)


def packing(material: Material, survey: Survey) -> Table | None:
    """Expected fill of packs, number of packs and steps of an epoch, for several pack sizes; estimated on a sample."""
    samples = {name: counts.get("samples", 0) for name, counts in material.manifest.branches.items()}
    total = sum(samples.values())
    kept = survey.sample.filter((pl.col("decision") == "kept") & pl.col("text_tokens").is_not_null())
    tried = pl.concat(
        [kept.filter(pl.col("branch") == name).head(round(TRIED * n / total) or 1) for name, n in samples.items() if n]
        or [kept.head(0)]
    )
    if not tried.height:
        return None
    length = tried.select(pl.col("text_tokens") + pl.col("visual_tokens_kept")).to_series().to_numpy()
    patches = tried["patches"].to_numpy()
    rows = []
    for size in PACKS:
        fits = (length <= size) & (patches <= PATCHES_PER_TOKEN * size)
        packs = best_fit(length[fits], patches[fits], size, PATCHES_PER_TOKEN * size)
        if packs:
            fill = float(length[fits].sum()) / (packs * size)
            epoch = max(1, round(packs * total / tried.height))
            rows.append((size, Share(fill), epoch, -(-epoch // STEP_PACKS), Share(1 - float(fits.mean()))))
    columns = ("pack, tokens", "fill", "packs per epoch", f"steps of {STEP_PACKS} packs", "samples too long")
    look = (
        f"Estimated by best fit over {tried.height:,} samples in the mixture's shares, with {PATCHES_PER_TOKEN} patches per token of the "
        "pack; vl3-train plan counts exactly. A fill below 90 % wastes compute on every step."
    )
    return Table(title="Packs", look=look, columns=columns, rows=rows)


def best_fit(length: np.ndarray, patches: np.ndarray, tokens: int, most_patches: int) -> int:
    """Packs that best fit, longest first, needs for these samples under two limits."""
    free = np.empty((0, 2))
    order = np.argsort(-length, kind="stable")
    for need in np.stack([length, patches], axis=1)[order].astype(float):
        fits = (free >= need).all(axis=1)
        if fits.any():
            places = np.flatnonzero(fits)
            free[places[np.argmin(free[places, 0])]] -= need
        else:
            free = np.vstack([free, np.array([tokens, most_patches]) - need])
    return len(free)


def provenance(material: Material) -> Section:
    """Licences and origins of the samples in the shards."""
    blocks: list[Block] = []
    for title, column, counts in (
        ("Licences", "licence", material.manifest.licences),
        ("Origins", "source", material.manifest.origins),
    ):
        total = sum(counts.values())
        listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MANY]
        rows = [(name or "not stated", count, Share(count / total)) for name, count in listed]
        left = len(counts) - len(listed)
        look = f"The {MANY} most frequent; {left:,} more in manifest.json." if left else ""
        blocks.append(Table(title=title, look=look, columns=(column, "samples in the shards", "share"), rows=rows))
    return Section(
        title="Licences and origins",
        lead="As the sources state them; nothing here was checked by a lawyer.",
        blocks=blocks,
    )
