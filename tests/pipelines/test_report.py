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
from pipelines.report import write_report
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


def test_scores_equal_the_ledger(out: Path, seen: dict) -> None:
    rows = ledger(out)
    material = Material.open(out)
    checked = 0
    for title, facts in seen["Scores"].items():
        branch, score = title.split(" / ")
        values = rows.filter(branch=branch).drop_nulls(score)
        assert facts["measured"] == values.height
        assert facts["in the shards"] == values.filter(decision="kept").height
        median = np.quantile(values[score].to_numpy(), 0.5, method="inverted_cdf")
        assert facts["quantiles"]["50 %"] == median
        bounds = material.bounds(branch, score)
        assert bounds is not None
        assert (facts["low"], facts["high"]) == (bounds.low, bounds.high)
        checked += 1
    assert checked >= 10


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


def test_columns_that_later_operators_write_bring_their_sections(out: Path, tmp_path: Path) -> None:
    """Clusters, similarities and benchmark hits appear as soon as the ledger carries them."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    for path in sorted((copy / "ledger").glob("*.parquet")):
        table = pl.read_parquet(path)
        hit = pl.col("reason") == "Words.below"
        table = table.with_columns(
            pl.when(pl.col("decision") == "kept").then(pl.col("text_tokens") % 3).alias("cluster"),
            pl.when(pl.col("duplicate_of").is_not_null()).then(0.125).alias("similarity"),
            pl.when(hit).then(pl.lit("Decontaminate.contaminated")).otherwise("reason").alias("reason"),
            pl.when(hit).then(pl.lit("Decontaminate")).otherwise("node").alias("node"),
            pl.when(hit).then(pl.lit("benchmark/7")).otherwise("duplicate_of").alias("duplicate_of"),
        )
        table.write_parquet(path)
    write_report(copy)
    seen = json.loads((copy / "report.json").read_text())["seen"]
    page = (copy / "report.html").read_text()
    assert "similarity 0.125" in page
    assert 'id="clusters"' in page
    assert {line["benchmark item"] for line in seen["Decontamination"]["Benchmark items hit most"]} == {"benchmark/7"}
    assert not any(title.endswith(("/ cluster", "/ similarity")) for title in seen["Scores"])


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
