"""The report in a real browser: nothing complains, nothing is fetched, sliders count, hostile captions stay text."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import Browser
from run_checks import ledger

from curation.filters import ShortSide, Words
from curation.operator import PartLimits
from curation.sources import ParquetSource
from pipelines.cli import main
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch
from pipelines.run import run

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> a red ball {{ 7 * 7 }} ]]> </script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def demo(demo_dataset: Path) -> Path:
    """The demo."""
    return demo_dataset


def check(browser: Browser, page: Path) -> None:
    """A desktop and a phone, light and dark: no complaint, no request, nothing wider than the window."""
    for width, dark in ((1280, False), (390, True)):
        browser.open(page.as_uri(), width=width, dark=dark)
        assert browser.complaints() == []
        assert browser.requests() == []
        assert browser.run("document.documentElement.scrollWidth") == width
        assert browser.run("[...document.images].filter(i => i.complete && !i.naturalWidth).length") == 0


def move(browser: Browser, score: str, side: str, position: int) -> dict[str, str]:
    """Set a slider and read what the block says."""
    root = f"document.getElementById({json.dumps('score-' + score)})"
    browser.run(
        f"(() => {{ const i = {root}.querySelector('input.{side}'); i.value = {position}; i.dispatchEvent(new Event('input')); }})()"
    )
    names = ("low-value", "high-value", "passes", "change", "stays")
    return {name: browser.run(f"{root}.querySelector('.{name}').textContent") for name in names}


def figure(text: str) -> float:
    """The first number of a text."""
    return float(text.split(" of ")[0].replace(",", ""))


def test_the_report_of_the_demo_renders(browser: Browser, demo: Path) -> None:
    check(browser, demo / "report.html")
    assert browser.run("document.querySelectorAll('svg.marks').length") >= 15
    assert browser.run("document.images.length") > 20


def test_sliders_count_as_a_query_of_the_ledger_does(browser: Browser, demo: Path) -> None:
    browser.open((demo / "report.html").as_uri())
    rows = ledger(demo).filter(branch="image_text").drop_nulls("Words")
    edges = browser.run("JSON.parse(document.querySelector('#score-image-text-Words .sketch').textContent).edges")
    seen = set()
    for position in range(-1, len(edges), 3):
        said = move(browser, "image-text-Words", "low", position)
        high = float(said["high-value"].replace(",", ""))
        inside = (pl.col("Words") <= high) & (pl.col("Words") >= (edges[position] if position >= 0 else -1))
        assert figure(said["passes"]) == rows.filter(inside).height
        assert figure(said["stays"]) == rows.filter(inside, decision="kept").height
        seen.add(said["passes"])
    assert len(seen) > 3
    above = move(browser, "image-text-Words", "low", -1)
    assert above["low-value"] == "no bound"
    browser.run("document.querySelector('#score-image-text-Words .reset').click()")
    assert browser.run("document.querySelector('#score-image-text-Words .change').textContent") == "+0 samples"


def test_hostile_captions_stay_text(browser: Browser, tmp_path: Path) -> None:
    captions = [HOSTILE, f"two balls {HOSTILE}", "<b>bold</b> & <svg onload=alert(3)>", "three"]
    table = pa.table({"id": [f"{HOSTILE} {i}" for i in range(4)], "text": captions, "license": [HOSTILE] * 4})
    pq.write_table(table, tmp_path / "text.parquet")
    source = ParquetSource(f"{tmp_path}/text.parquet", image="", id="id", licence="license")
    out = tmp_path / "out"
    run(make_plan(Recipe(stage="stage1", branches=(branch("text", source, Words(low=2)),)), out), workers=0, quiet=True)
    check(browser, out / "report.html")
    assert browser.run("document.querySelectorAll('script:not([type])').length") == 1
    made = browser.run("document.querySelectorAll('main b, main svg:not(.marks), main img').length")
    assert made == browser.run("document.querySelectorAll('.link b, figcaption b').length")
    assert HOSTILE in browser.run("[...document.querySelectorAll('.caption')].map(e => e.textContent).join('|')")
    assert HOSTILE in browser.run("[...document.querySelectorAll('summary')].map(e => e.textContent).join('|')")
    assert not any(e.get("method") == "Page.javascriptDialogOpening" for e in browser.events)


def test_a_page_that_fetches_or_complains_is_noticed(browser: Browser, tmp_path: Path) -> None:
    """The checks above can fail: this page does everything that a report must not."""
    page = tmp_path / "bad.html"
    page.write_text("<img src='other.png'><script>console.log(1); undefined_name()</script>")
    browser.open(page.as_uri())
    assert len(browser.complaints()) >= 2
    assert [url.rpartition("/")[2] for url in browser.requests()] == ["other.png"]


@pytest.mark.corpus
@pytest.mark.slow
def test_the_report_of_the_real_corpus_renders(browser: Browser, tmp_path: Path) -> None:
    data = os.environ.get("VL3_CORPUS", "")
    if not data:
        pytest.skip("set VL3_CORPUS to the real corpus")
    images = branch(
        "image_text", ParquetSource(f"{data}/image_text-*.parquet", id="id"), Words(low=3), ShortSide(low=64)
    )
    texts = branch("text", ParquetSource(f"{data}/text-*.parquet", image="", id="id"), Words(low=20))
    plan = make_plan(
        Recipe(stage="stage2", branches=(images, texts)), tmp_path / "out", limits=PartLimits(rows=400), limit=400
    )
    run(plan, workers=0, quiet=True)
    check(browser, tmp_path / "out" / "report.html")
    assert browser.run("document.images.length") > 20


@pytest.mark.slow
def test_the_command_writes_the_report_again(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = re.sub(r"\s+", " ", (demo / "report.html").read_text())
    (demo / "report.html").unlink()
    assert main(["report", str(demo)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert re.sub(r"\s+", " ", (demo / "report.html").read_text()) == before
