"""Whole runs with neural operators: planted wrong captions go, new captions come, and nothing dear is done twice."""

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from run_checks import build, digests, ledger

from curation.filters import Aesthetic, CaptionGain, Decodable, ImageTextSimilarity, Refusal, Words
from curation.neural import DETAILED, EncoderSpec, Endpoint, HeadSpec
from curation.sources import ParquetSource
from curation.transforms import NormalizeTurns, Recaption
from pipelines.plan import Plan
from pipelines.recipe import Recipe, branch
from tests.pipelines.faulty_server import FaultyServer

PlanOf = Callable[..., Plan]
ENCODER = EncoderSpec.shipped()


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    server = FaultyServer(lambda number: "broken" if number % 7 == 0 else "")
    yield server
    server.kill()


def recipe(data: str, server: FaultyServer, *, low: float = 0.5) -> Recipe:
    captioner = Endpoint(url=server.url, model="parrot", window=8)
    images = branch(
        "image_text",
        ParquetSource(f"{data}/image_text-*.parquet", texts="texts", id="id", licence="license", url="source_url"),
        Words(low=3),
        NormalizeTurns(),
        Decodable(),
        ImageTextSimilarity(encoder=ENCODER, low=low),
        Aesthetic(encoder=ENCODER, head=HeadSpec.shipped("aesthetic"), low=4.5),
        Recaption(captioner=captioner, prompt=DETAILED),
        Refusal(),
        CaptionGain(encoder=ENCODER),
    )
    return Recipe(stage="stage2", branches=(images,), max_failures=0.5)


@pytest.mark.slow
def test_wrong_captions_are_dropped_and_right_ones_stay(
    plan_of: PlanOf, corpora: Path, tmp_path: Path, server: FaultyServer
) -> None:
    build(plan_of(tmp_path / "out", recipe(str(corpora), server)), report=True)
    rows = ledger(tmp_path / "out")
    truth = [json.loads(line) for line in (corpora / "truth.jsonl").read_text().splitlines()]
    defects = {fact["name"]: fact["defect"] for fact in truth}
    rows = rows.with_columns(defect=pl.col("origin").replace_strict(defects, default=""))
    wrong = rows.filter(pl.col("defect").is_in(["swapped_caption", "gibberish_caption", "blank_image"]))
    assert wrong.height
    assert set(wrong["reason"]) <= {"ImageTextSimilarity.below", "Aesthetic.below", "Words.below"}
    sound = rows.filter(pl.col("defect") == "")
    assert (sound["decision"] == "kept").mean() > 0.95  # pyright: ignore[reportOperatorIssue]
    with tarfile.open(tmp_path / "out" / "shards" / "000000.tar") as tar:
        texts = [json.loads(tar.extractfile(m).read())["turns"] for m in tar if m.name.endswith(".json")]  # type: ignore[union-attr]
    assert len(texts) == (rows["decision"] == "kept").sum()
    for turns in texts:
        (answer,) = [turn for turn in turns if turn["role"] == "assistant"]
        assert answer["text"].startswith("A picture of")
        assert answer["was"]
    page = (tmp_path / "out" / "report.html").read_text()
    shown = re.findall(
        r"CaptionGain (-?\d\.\d{3}) ·", page[page.index('id="before-and-after"') : page.index('id="texts"')]
    )
    assert len(shown) == 6
    assert {float(gain) for gain in shown} <= {round(gain, 3) for gain in rows["CaptionGain"].drop_nulls()}


@pytest.mark.slow
def test_scores_do_not_depend_on_parts_and_nothing_is_paid_twice(
    plan_of: PlanOf, corpora: Path, tmp_path: Path, server: FaultyServer
) -> None:
    wanted = recipe(str(corpora), server)
    first = build(plan_of(tmp_path / "a", wanted, rows=40))
    assert first.counters["embedded"] > 0
    paid = sum(server.paid.values())
    assert paid == len(server.paid) == first.counters["captions_asked"]
    build(plan_of(tmp_path / "b", wanted, rows=7))
    assert digests(tmp_path / "a")["shards/000000.tar"] == digests(tmp_path / "b")["shards/000000.tar"]
    columns = ["id", "ImageTextSimilarity", "Aesthetic", "CaptionGain"]
    tables = [ledger(tmp_path / name).select(columns).sort("id") for name in ("a", "b")]
    assert tables[0].equals(tables[1])
    # Other bounds, same folder: all is known, whatever had to be decided anew.
    paid = sum(server.paid.values())
    again = build(plan_of(tmp_path / "a", recipe(str(corpora), server, low=0.9), rows=40))
    assert again.counters.get("embedded", 0) == 0
    assert sum(server.paid.values()) == paid
    # Killed before any score was stored: the journals still know the vectors and the captions.
    for path in (*(tmp_path / "a" / "work").rglob("*.measures.parquet"), *(tmp_path / "a" / "work").rglob("*.json")):
        path.unlink()
    third = build(plan_of(tmp_path / "a", wanted, rows=40))
    assert digests(tmp_path / "a")["shards/000000.tar"] == digests(tmp_path / "b")["shards/000000.tar"]
    assert third.counters.get("embedded", 0) == 0
    assert third.counters.get("captions_asked", 0) == 0
    assert sum(server.paid.values()) == paid
