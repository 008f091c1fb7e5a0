"""The report: its numbers equal an independent query of the ledger, and nothing of a corpus becomes markup."""

import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_checks import ledger

from charts import Bounds
from pipelines.plan import Plan
from pipelines.report import overview, write_report
from pipelines.report.contents import repetition
from pipelines.report.material import Material
from pipelines.report.sketch import Sketch
from pipelines.report.supply import best_fit
from pipelines.report.survey import NEAR, survey
from pipelines.run import run

PlanOf = Callable[..., Plan]


@pytest.fixture(scope="module")
def out(demo_dataset: Path) -> Path:
    """The demo."""
    return demo_dataset


@pytest.fixture(scope="module")
def seen(out: Path) -> dict:
    """The numbers of the page, as report.json holds them."""
    return json.loads((out / "report.json").read_text())["seen"]


def test_the_funnel_equals_a_query_of_the_ledger(out: Path, seen: dict) -> None:
    rows = ledger(out).to_dicts()
    for branch in {row["branch"] for row in rows}:
        mine = [row for row in rows if row["branch"] == branch]
        ended = Counter(row["node"] for row in mine if row["decision"] != "kept")
        came = len(mine)
        for line in seen["Funnel"][branch]:
            assert line["samples came"] == came
            came -= ended.pop(line["node"], 0)
            assert line["kept"] == came
        assert not ended
        assert came == sum(row["decision"] == "kept" for row in mine)


def test_reasons_in_the_funnel_are_those_of_the_ledger(out: Path, seen: dict) -> None:
    wanted = Counter((row["branch"], row["reason"]) for row in ledger(out).to_dicts() if row["reason"])
    said = Counter()
    for branch, lines in seen["Funnel"].items():
        for line in lines:
            for reason, count in re.findall(r"(\S+) ([\d,]+)", line["lost because"]):
                said[branch, reason] += int(count.replace(",", ""))
    assert said == wanted


def test_the_card_and_the_mixture_equal_the_ledger(out: Path, seen: dict) -> None:
    rows = ledger(out)
    card = seen["Run"]
    assert card["samples read"] == rows.height
    for decision, name in (("kept", "in the shards"), ("dropped", "dropped"), ("quarantined", "quarantined")):
        assert card[name] == rows.filter(decision=decision).height
    kept = rows.filter(decision="kept")
    for line in seen["Mixture"]["Branches"]:
        mine = kept.filter(branch=line["branch"])
        assert line["samples"] == mine.height
        assert line["text tokens"] == mine["text_tokens"].sum()
        assert line["after pruning"] == mine["visual_tokens_kept"].sum()
        assert line["of samples"] == pytest.approx(mine.height / kept.height, abs=1e-6)
        tokens = [(t["text_tokens"] + t["visual_tokens_kept"]).sum() for t in (mine, kept)]
        assert line["of tokens"] == pytest.approx(tokens[0] / tokens[1], abs=1e-6)
    for title, said, column in (("Licences", "licence", "licence"), ("Origins", "source", "source")):
        counted = dict(kept.with_columns(pl.col(column).fill_null("")).group_by(column).len().iter_rows())
        table = seen["Licences and origins"][title]
        assert {line[said]: line["samples in the shards"] for line in table} == {
            name or "not stated": count for name, count in counted.items()
        }


@pytest.mark.slow
def test_the_balance_of_shards_equals_the_ledger(chosen: Path) -> None:
    """Bytes are those of the files; samples and tokens are summed over the ledger's rows by shard."""
    seen = json.loads((chosen / "report.json").read_text())["seen"]
    kept = ledger(chosen).filter(decision="kept")
    length = pl.col("text_tokens") + pl.col("visual_tokens_kept")
    by_shard = (
        kept.group_by("shard").agg(pl.len().alias("samples"), length.sum().alias("language tokens")).sort("shard")
    )
    files = [chosen / "shards" / name for name in by_shard["shard"]]
    assert len(files) > 2
    wanted = {name: by_shard[name].to_list() for name in ("samples", "language tokens")}
    wanted["megabytes"] = [path.stat().st_size / 1e6 for path in files]
    for line in seen["Shards"]["Balance"]:
        values = wanted.pop(line["per shard"])
        assert (line["smallest"], line["largest"]) == pytest.approx((min(values), max(values)))
        assert line["mean"] == pytest.approx(sum(values) / len(values))
    assert not wanted
    assert [line["samples"] for line in seen["Shards"]["Shards"]] == by_shard["samples"].to_list()


def test_scores_equal_the_ledger(out: Path, seen: dict) -> None:
    rows = ledger(out)
    material = Material.open(out)
    checked = 0
    for title, facts in seen["Scores"].items():
        branch, score = title.split(" / ")
        values = rows.filter(branch=branch).drop_nulls(score)
        assert facts["measured"] == values.height
        assert facts["in the shards"] == values.filter(decision="kept").height
        for share, value in facts["quantiles"].items():
            wanted = np.quantile(values[score].to_numpy(), float(share.split()[0]) / 100, method="inverted_cdf")
            assert value == pytest.approx(wanted, rel=1e-12), (title, share)
        bounds = material.bounds(branch, score)
        assert bounds is not None
        assert (facts["low"], facts["high"]) == (bounds.low, bounds.high)
        checked += 1
    for line in seen["One value"]:
        values = rows.filter(branch=line["branch"])[line["score"]].drop_nulls()
        assert (values.min(), values.max(), values.len()) == (line["value"], line["value"], line["samples measured"])
        checked += 1
    # Every score of every branch stands in one of the two.
    measured = rows.group_by("branch").agg(pl.col(material.scores).count()).drop("branch").to_numpy()
    assert checked == (measured > 0).sum() >= 10


def test_duplicates_and_quarantine_equal_the_ledger(out: Path, seen: dict) -> None:
    twins = [row for row in ledger(out).to_dicts() if row["duplicate_of"]]
    said = {(line["branch"], line["node"]): line for line in seen["Duplicates"]["Groups"]}
    for branch, node in {(row["branch"], row["node"]) for row in twins}:
        sizes = Counter(row["duplicate_of"] for row in twins if (row["branch"], row["node"]) == (branch, node))
        line = said.pop((branch, node))
        assert (line["groups"], line["samples dropped"], line["largest group"]) == (
            len(sizes),
            sum(sizes.values()),
            max(sizes.values()) + 1,
        )
    assert not said
    failed = pl.concat([pl.read_parquet(path) for path in (out / "quarantine").glob("*.parquet")])
    wanted = Counter(failed.select("branch", "node", "error").rows())
    assert {(r["branch"], r["node"], r["error"]): r["samples"] for r in seen["Quarantine"]} == dict(wanted)


def test_samples_around_a_bound_are_the_nearest_ones(out: Path) -> None:
    rows, counted, material = ledger(out), survey(Material.open(out), batch_rows=50), Material.open(out)
    looked = 0
    for (branch, score, side), ids in counted.near.items():
        bounds = material.bounds(branch, score)
        assert bounds is not None
        bound = bounds.low if side.startswith("low") else bounds.high
        assert bound is not None
        mine = rows.filter(branch=branch).drop_nulls(score).drop_nans(score)
        inside = pl.col(score) >= bound if side.startswith("low") else pl.col(score) <= bound
        pool = mine.filter(inside if side.endswith("kept") else ~inside & (pl.col("node") == score))
        distance = (pool[score] - bound).abs().sort(descending=side.endswith("far"))
        found = (pool.filter(pl.col("id").is_in(ids))[score] - bound).abs().sort(descending=side.endswith("far"))
        assert found.to_list() == distance.head(NEAR).to_list()
        looked += 1
    assert looked > 10


def test_a_survey_does_not_depend_on_its_batches(out: Path) -> None:
    one, many = (survey(Material.open(out), batch_rows=rows) for rows in (1_000_000, 30))
    assert one.reasons.equals(many.reasons)
    assert one.sample.equals(many.sample)
    assert one.groups.equals(many.groups)
    for key, sketch in one.sketches.items():
        bounds = Material.open(out).bounds(*key) or Bounds()
        assert sketch.within(bounds) == many.sketches[key].within(bounds)


@given(
    values=st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6)), min_size=1, max_size=60),
    extra=st.lists(st.floats(-1e7, 1e7), max_size=20),
    low=st.one_of(st.none(), st.floats(-6, 6)),
    high=st.one_of(st.none(), st.floats(-6, 6)),
)
@settings(max_examples=150, deadline=None)
def test_a_sketch_counts_exactly_at_every_edge(
    values: list[float], extra: list[float], low: float | None, high: float | None
) -> None:
    """Also for values that were not there when the edges were chosen."""
    bounds = Bounds(low=low, high=high)
    sketch = Sketch.over(np.array(values), bounds)
    every = np.array([*values, *extra])
    kept = np.arange(len(every)) % 3 == 0
    sketch.add(every, kept, ~kept)
    assert sketch.measured == len(every)
    for edge in sketch.edges:
        assert sketch.below(edge) == (every < edge).sum()
        assert sketch.below(edge, 1) == (every[kept] < edge).sum()
        assert sketch.equal(edge) == (every == edge).sum()
    inside = np.ones(len(every), dtype=bool)
    inside &= every >= low if low is not None else True
    inside &= every <= high if high is not None else True
    assert sketch.within(bounds) == (inside.sum() if None in (low, high) or low <= high else 0)  # pyright: ignore[reportOperatorIssue]
    assert sum(sum(counts) for counts in sketch.histogram().values()) == len(every)


class Tags(HTMLParser):
    """Counts elements, and collects attributes that could run or fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.risky: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] += 1
        for name, value in attrs:
            if name.startswith("on") or (
                name in ("src", "href") and not (value or "").startswith(("data:image/jpeg", "#"))
            ):
                self.risky.append((name, value))


def test_the_page_is_alone_and_inert(out: Path) -> None:
    tags = Tags()
    page = (out / "report.html").read_text()
    tags.feed(page)
    assert not tags.risky
    assert not {"link", "iframe", "object", "embed", "base", "video", "form"} & set(tags.names)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe-eval" not in policy[1]
    assert re.findall(r"script-src ([^;]+)", policy[1])[0].startswith("'sha256-")
    assert tags.names["img"] > 20


def test_sections_without_anything_to_say_are_absent(out: Path, seen: dict) -> None:
    assert {"Clusters", "Decontamination"} & set(seen) == set()
    page = (out / "report.html").read_text()
    assert 'id="clusters"' not in page
    assert 'id="duplicates"' in page


@pytest.fixture(scope="module")
def chosen(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of Select, a benchmark, and captions written anew."""
    from faulty_server import FaultyServer

    from curation.filters import Words
    from curation.neural import DETAILED, Endpoint
    from curation.select import ClusterBalance, Decontaminate, MinHashDedup, PerceptualDedup, SemanticDedup, SharedWords
    from curation.select.colour_embedding import ColourEmbedding
    from curation.select.visual_probes import SameLook
    from curation.sources import JsonlSource, ParquetSource
    from curation.transforms import Recaption
    from pipelines.plan import make_plan
    from pipelines.recipe import Recipe, ShardLimits, branch

    work = tmp_path_factory.mktemp("chosen")
    pictures = pl.concat([pl.read_parquet(path) for path in sorted(corpora.glob("image_text-*.parquet"))]).filter(
        pl.col("image").bin.size() > 900
    )
    pictures = pictures.unique("image", maintain_order=True).head(14)
    again = pictures.head(3).with_columns(
        pl.col("id") + "_again", image=pl.col("image").map_elements(encoded_again, pl.Binary)
    )
    pl.concat([pictures, again]).write_parquet(work / "pictures.parquet")
    pictures.slice(12).with_columns(pl.lit("asked").alias("text")).write_parquet(work / "benchmark.parquet")
    random = np.random.default_rng(0)
    words = [[f"w{n}" for n in random.integers(0, 5000, 60)] for _ in range(8)]
    words += [[*words[0][:58], "other", "end"], [*words[1][:55], "as", "it", "was"]]
    lines = [{"id": f"t{i}", "text": " ".join(w)} for i, w in enumerate(words)]
    (work / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (work / "asked.jsonl").write_text(json.dumps({"id": "q7", "text": " ".join(words[5][10:40])}) + "\n")
    server = FaultyServer()
    prices = Endpoint(url=server.url, model="parrot", input_price=100.0, output_price=200.0)
    looks = branch(
        "looks", ParquetSource(f"{work}/pictures.parquet", id="id"), Words(low=1), PerceptualDedup(),
        Decontaminate(benchmark=ParquetSource(f"{work}/benchmark.parquet", id="id"), probes=(SameLook(),)),
        ClusterBalance(embed=ColourEmbedding(), clusters=2, quota=5), SemanticDedup(embed=ColourEmbedding(), cosine=1.0, floor=0.1),
        Recaption(captioner=prices, prompt=DETAILED),
    )  # fmt: skip
    texts = branch(
        "texts", JsonlSource(f"{work}/texts.jsonl", id="id"), MinHashDedup(jaccard=0.7),
        Decontaminate(benchmark=JsonlSource(f"{work}/asked.jsonl", id="id"), probes=(SharedWords(),)),
    )  # fmt: skip
    try:
        recipe = Recipe(stage="stage2", branches=(looks, texts), shards=ShardLimits(samples=5))
        run(make_plan(recipe, work / "out"), workers=0, quiet=True)
    finally:
        server.kill()
    return work / "out"


def encoded_again(encoded: bytes) -> bytes:
    """The same picture as another JPEG."""
    from io import BytesIO

    from PIL import Image

    with Image.open(BytesIO(encoded)) as picture:
        pixels = picture.convert("RGB")
    file = BytesIO()
    pixels.save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.slow
def test_groups_show_how_alike_they_are_clusters_their_samples_and_hits_their_item(chosen: Path) -> None:
    rows = ledger(chosen)
    page = (chosen / "report.html").read_text()
    seen = json.loads((chosen / "report.json").read_text())["seen"]
    said = [float(x) for x in re.findall(r"duplicate, similarity ([01]\.\d+)", page)]
    known = rows.filter(pl.col("reason").str.ends_with(".duplicate")).select("reason", "similarity")
    assert sorted(said) == pytest.approx(sorted(known["similarity"]), abs=6e-4)
    looks = known.filter(reason="PerceptualDedup.duplicate")["similarity"].to_list()
    assert len(looks) == 3
    assert all(0.88 <= x <= 1 for x in looks)
    # Of 60 words 5 in a row make 56 shingles; those of the first 58 and 55 words are shared. 128 values estimate that to about 0.04.
    texts = sorted(known.filter(reason="MinHashDedup.duplicate")["similarity"])
    assert texts == pytest.approx([51 / (56 + 54 - 51), 54 / (56 + 56 - 54)], abs=0.1)
    sizes = dict(rows.drop_nulls("cluster").group_by(pl.col("cluster").cast(pl.Int64)).len().iter_rows())
    shown = {int(c): int(n) for c, n in re.findall(r"looks, cluster (\d+): (\d+) samples", page)}
    assert shown == sizes
    assert sum(sizes.values()) == 12
    items = {line["benchmark item"]: line["samples"] for line in seen["Decontamination"]["Benchmark items hit most"]}
    wanted = rows.filter(pl.col("reason") == "Decontaminate.contaminated").group_by("duplicate_of").len()
    assert items == dict(wanted.iter_rows())
    assert len(items) == 3
    assert not any(title.endswith("/ cluster") for title in seen["Scores"])


@pytest.mark.slow
def test_explain_names_the_item_of_a_benchmark_and_the_numbers_of_selects(
    chosen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.cli import main

    rows = ledger(chosen).filter(branch="texts", reason="Decontaminate.contaminated")
    assert main(["explain", str(chosen), rows["id"][0]]) == 0
    assert "duplicate of asked.jsonl/q7 (of a benchmark or a base, not of this dataset)" in " ".join(
        capsys.readouterr().out.split()
    )
    row = ledger(chosen).filter(branch="looks", decision="kept").drop_nulls("semantic_similarity").row(0, named=True)
    assert main(["explain", str(chosen), row["id"]]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"ClusterBalance, cluster {row['cluster']:.6g}: kept" in said
    assert f"SemanticDedup, semantic_similarity {row['semantic_similarity']:.6g}: kept" in said


@pytest.mark.slow
def test_new_captions_stand_below_the_old_ones_and_have_their_price(chosen: Path) -> None:
    rows = ledger(chosen).filter(decision="kept", branch="looks")
    page = (chosen / "report.html").read_text()
    section = page[page.index('id="before-and-after"') : page.index('id="texts"')]
    assert section.count('class="before"') == 6
    assert section.count("A picture of") == 6
    # Ten tokens in and five out for each caption, by the prices of a million.
    card = json.loads((chosen / "report.json").read_text())["seen"]["Run"]
    assert card["cost, in the prices' currency"] == pytest.approx(rows.height * (10 * 100 + 5 * 200) / 1e6)
    material = Material.open(chosen, price=3600.0)
    (facts,) = overview.card(material, survey(material)).blocks
    hours = facts.facts()["worker hours"]
    assert hours == pytest.approx(material.run["seconds"] / 3600)
    assert facts.facts()["cost, in the prices' currency"] == pytest.approx(rows.height * 0.002 + 3600 * hours)


def test_the_report_says_so_when_dropped_samples_are_gone(out: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(out, copy, ignore=shutil.ignore_patterns("work", "*.tar"))
    page = write_report(copy).read_text()
    assert "not found again" in page
    assert page.count("<img") == 0


def test_what_only_one_filter_drops_equals_measuring_everything(tmp_path: Path) -> None:
    from curation.filters import CharacterRatio, Words
    from curation.sources import JsonlSource
    from pipelines.plan import make_plan
    from pipelines.recipe import Recipe, branch

    texts = [" ".join(["word"] * n + more) for n in range(8) for more in ([], ["1234567890"], ["!?!?!?!?!?!?!?"])]
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(texts))
    )
    filters = (
        Words(low=4),
        CharacterRatio(characters="alphabetic", low=0.6),
        CharacterRatio(characters="digit", high=0.3),
    )
    recipe = Recipe(stage="stage1", branches=(branch("text", JsonlSource(f"{tmp_path}/t.jsonl", id="id"), *filters),))
    run(make_plan(recipe, tmp_path / "out"), workers=0, quiet=True)
    texts = [t for t in texts if t]
    short = [t for t in texts if len(t.split()) < 4]
    letters = [t for t in short if sum(c.isalpha() for c in t) / len(t) < 0.6]
    digits = [t for t in short if sum(c.isdigit() for c in t) / len(t) > 0.3]
    seen = json.loads((tmp_path / "out" / "report.json").read_text())["seen"]["Overlap of filters"]
    row = next(row for row in seen["text"] if row["filter"] == "Words")
    assert row["dropped"] == row["looked at"] == ledger(tmp_path / "out").filter(reason="Words.below").height
    empty = row["looked at"] - len(short)
    assert row["also CharacterRatio[alphabetic]"] == pytest.approx(
        len(letters) / row["looked at"], abs=empty / row["looked at"]
    )
    assert row["also CharacterRatio[digit]"] == pytest.approx(
        len(digits) / row["looked at"], abs=empty / row["looked at"]
    )
    assert len(digits) != len(letters)


def test_only_our_own_cheap_filters_are_made_from_a_manifest() -> None:
    from curation.filters import AspectRatio
    from pipelines.remeasure import cheap_filter

    assert cheap_filter(AspectRatio(high=3.0).settings()) == AspectRatio(high=3.0)
    for operator in (
        "os.system",
        "curation.operator.Filter",
        "curation.filters.image.np",
        "curation.select.exact.ExactDedup",
        "",
        ".",
    ):
        assert cheap_filter({"operator": operator, "name": "x", "command": "echo"}) is None
    assert cheap_filter(AspectRatio().settings() | {"low": {"a": 1}}) is None


def test_packs_needed_lie_between_the_bounds_of_bin_packing() -> None:
    random = np.random.default_rng(0)
    length, patches = random.integers(1, 1000, 500), random.integers(0, 4000, 500)
    packs = best_fit(length, patches, 1000, 4000)
    least = max(-(-length.sum() // 1000), -(-patches.sum() // 4000))
    assert least <= packs <= 2.2 * least
    assert best_fit(np.array([600, 400, 500, 500]), np.zeros(4), 1000, 1) == 2


def test_repetition_is_the_share_of_repeated_triples() -> None:
    assert repetition(list("abcde")) == 0.0
    assert repetition(list("abcabcabc")) == pytest.approx(4 / 7)
