"""Decontaminate: against sets of strings, and items planted in longer texts."""

import json
import random
from pathlib import Path

import polars as pl
import pytest

from curation.batch import Batch
from curation.operator import RecipeError
from curation.sample import Origin, Sample, document_turns, make_sample
from curation.select.decontaminate import Decontaminate, NearText, SharedWords
from curation.sources import JsonlSource

generator = random.Random(2)
VOCABULARY = [f"word{number}" for number in range(3000)]
# Lengths below, at and above a run of 13 words; the first two are too short to be looked for.
LENGTHS = (3, 7, 8, 12, 13, 14, 40, 200)
ITEMS = [" ".join(generator.choices(VOCABULARY, k=length)) for length in LENGTHS]


@pytest.fixture
def benchmark(tmp_path: Path) -> JsonlSource:
    path = tmp_path / "quiz.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{n}", "text": text}) + "\n" for n, text in enumerate(ITEMS)))
    return JsonlSource(str(path), id="id")


def batch_of(texts: list[str]) -> Batch:
    return Batch([sample(text, number) for number, text in enumerate(texts)])


def sample(text: str, number: int) -> Sample:
    return make_sample(Origin(source="test", locator=f"file#{number}", name=str(number)), document_turns(text))


def hits(select: Decontaminate, texts: list[str]) -> list[str | None]:
    items = select.signature(batch_of(texts))["item"].to_list()
    return [item and item.rpartition("/")[2] for item in items]


def filler(words: int) -> str:
    return " ".join(generator.choices(VOCABULARY, k=words))


def test_items_in_longer_texts_are_found_and_named(benchmark: JsonlSource) -> None:
    select = Decontaminate(benchmark=benchmark, probes=(SharedWords(),))
    texts = [f"{filler(100)}. {item.upper()}! {filler(50)}" for item in ITEMS]
    assert hits(select, texts) == [None, None, "q2", "q3", "q4", "q5", "q6", "q7"]
    assert hits(select, [filler(300) for _ in range(50)]) == [None] * 50
    assert hits(select, ["", "..."]) == [None, None]


@pytest.mark.parametrize("low", [0.2, 0.5, 0.9])
def test_containment_equals_that_of_sets_of_strings(benchmark: JsonlSource, low: float) -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}

    texts = []
    for _ in range(100):
        item = generator.choice(ITEMS[4:]).split()
        begin, end = sorted(generator.sample(range(len(item) + 1), 2))
        texts.append(f"{filler(20)} {' '.join(item[begin:end])} {filler(20)}")
    found = Decontaminate(benchmark=benchmark, probes=(SharedWords(low=low),)).signature(batch_of(texts))
    for text, item, overlap in zip(texts, found["item"], found["overlap"], strict=True):
        shares = {f"q{n}": len(runs(text) & runs(ITEMS[n])) / len(runs(ITEMS[n])) for n in range(4, 8)}
        best = max(shares.values())
        assert (item is not None) == (best >= low)
        if item is not None:
            assert overlap == shares[item.rpartition("/")[2]] == best


def test_edited_copies_are_found_by_minhash(benchmark: JsonlSource) -> None:
    words = ITEMS[7].split()
    for place in range(10, 200, 12):  # no run of 13 words is left
        words[place] = "edited"
    both = Decontaminate(benchmark=benchmark, probes=(SharedWords(low=0.01), NearText()))
    near = NearText(like=both.probes[1].like.__class__(size=1, jaccard=0.6))  # pyright: ignore[reportAttributeAccessIssue]
    assert hits(both, [" ".join(words)]) == [None]
    assert hits(Decontaminate(benchmark=benchmark, probes=(near,)), [" ".join(words), filler(200), ""]) == [
        "q7",
        None,
        None,
    ]
    # The first probe that hits decides.
    assert hits(both, [ITEMS[6]]) == ["q6"]
    assert both.signature(batch_of([ITEMS[6]]))["overlap"].to_list() == [1.0]


def test_what_is_hit_is_dropped_and_names_the_item(benchmark: JsonlSource) -> None:
    select = Decontaminate(benchmark=benchmark, probes=(SharedWords(), NearText()))
    table = select.signature(batch_of([filler(30), ITEMS[7], ITEMS[5]])).with_columns(id=pl.Series(["c", "b", "a"]))
    title = benchmark.origin_source
    assert select.choose(table).rows() == [("a", f"{title}/q5", 1.0), ("b", f"{title}/q7", 1.0)]
    assert select.choose(table[::-1]).equals(select.choose(table))
    assert select.VERDICT == "contaminated"


def test_another_benchmark_is_another_node(benchmark: JsonlSource, tmp_path: Path) -> None:
    select = Decontaminate(benchmark=benchmark, probes=(SharedWords(),))
    before = select.settings()
    assert json.loads(json.dumps(before)) == before
    path = tmp_path / "quiz.jsonl"
    path.write_text(path.read_text().replace("q7", "r7"))
    assert select.settings() != before


def test_a_benchmark_without_items_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    select = Decontaminate(benchmark=JsonlSource(str(tmp_path / "empty.jsonl")), probes=(SharedWords(),))
    with pytest.raises(RecipeError, match=r"no item can be read from .*empty\.jsonl"):
        select.signature(batch_of(["text"]))
