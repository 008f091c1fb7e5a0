"""vl3-curate measure: the numbers of a run, for a few files; and explain finds every score and reason of the text operators."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from run_checks import build

from curation.filters import (
    C4,
    FINEWEB,
    GOPHER,
    AltTextFillers,
    CompressionRatio,
    EmptyAnswers,
    FileNames,
    StockPhrases,
    StrayPlaceholders,
    TemplateOpenings,
    TurnsOutOfOrder,
    WordRepetition,
)
from curation.operator import Filter
from curation.sources import JsonlSource
from curation.transforms import KeepC4Lines, MaskPersonalData
from pipelines.cli import main
from pipelines.explain import explain_sample
from pipelines.ledger import scan_ledger
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch
from tests.curation import hostile

PROSE = "The cat sat on the mat with a book and looked at what the people have to be. "
GOOD = """The ferry to the island leaves from the old pier at eight, and most of the people on board have a book with them.
In winter the crossing takes an hour longer. Nobody seems to be bothered by that, because the coffee is good and the seats are warm.
Two brothers own the boat; one steers, while the other sells tickets and tells stories that change a little every time.
"Was it always so slow?" asked a visitor last spring. Of course it was, they said, and that is why we like it!"""
TEXTS = {
    "good": GOOD,
    "short": "A few words only.",
    "menu": "\n".join(["- Home", "- About", "- Contact"] * 40),
    "copies": PROSE * 12,
    "code": "\n".join(f"The function {n} is written with braces like {{ and that is the end of it." for n in range(20)),
    "empty": "",
    "mail": "Write to jane@example.org. " + PROSE,
    "name": "IMG_0231.jpg",
}
OTHERS = (
    AltTextFillers(), FileNames(), StockPhrases(), TemplateOpenings(), WordRepetition(), CompressionRatio(), EmptyAnswers(),
    StrayPlaceholders(), TurnsOutOfOrder(),
)  # fmt: skip


def built(folder: Path, *operators: Filter | MaskPersonalData | KeepC4Lines) -> Path:
    lines = [json.dumps({"id": name, "text": text}) for name, text in TEXTS.items()]
    (folder / "text.jsonl").write_text("\n".join(lines))
    recipe = Recipe(
        stage="stage1", branches=(branch("text", JsonlSource(str(folder / "text.jsonl"), id="id"), *operators),)
    )
    build(make_plan(recipe, folder / "out"))
    return folder / "out"


def explained(out: Path, sample: str) -> str:
    console = Console(width=400, color_system=None)
    with console.capture() as captured:
        for tree in explain_sample(out, sample):
            console.print(tree)
    return captured.get()


@pytest.mark.slow
@pytest.mark.parametrize("bounded", [True, False])
def test_explain_finds_every_score_and_reason(tmp_path: Path, bounded: bool) -> None:
    filters = [*GOPHER, *FINEWEB, *C4, *OTHERS]
    if not bounded:  # without bounds nothing is dropped but for NaN, and everything is measured
        filters = [
            type(f)(**{k: v for k, v in vars(f).items() if k not in ("low", "high")}, low=None, high=None)
            for f in filters
        ]
    out = built(tmp_path, *filters, MaskPersonalData(), KeepC4Lines())
    rows = scan_ledger(out).collect()
    assert rows.height == len(TEXTS)
    for row in rows.iter_rows(named=True):
        said = explained(out, row["origin"])
        scores = {f.name: row[f.name] for f in filters if row[f.name] is not None}
        assert scores
        assert all(f"{name} = {value:.6g}" in said for name, value in scores.items())
        assert row["reason"] is None or row["reason"] in said
    reasons = dict(zip(rows["origin"], rows["reason"], strict=True))
    if bounded:
        assert reasons["good"] is None
        assert reasons["short"] == "SpokenWords.below"
        assert reasons["menu"] in ("BulletLines.above", "StopWords.below")
        assert str(reasons["copies"]).startswith(("TopNgram", "DuplicateNgrams"))
        assert reasons["code"] is not None
    else:
        assert reasons["empty"].endswith(".nan")
        assert reasons["copies"] is None


def test_measure_prints_all_numbers_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.txt").write_text(TEXTS["good"])
    (tmp_path / "dog.png").write_bytes(hostile.jpeg())  # content decides
    (tmp_path / "dog.txt").write_text("A dog on a lawn.")
    (tmp_path / "clip.mp4").write_bytes(hostile.clip(frames=24))
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS.values()))
    talk = {
        "image": ["dog.png"],
        "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}],
    }
    (tmp_path / "talks.jsonl").write_text(json.dumps(talk))
    names = ["page.txt", "dog.png", "clip.mp4", "lines.jsonl", "talks.jsonl"]
    assert main(["measure", "--json", "--lines", "2", *(str(tmp_path / name) for name in names)]) == 0
    found = json.loads(capsys.readouterr().out)
    numbers = found["measures"]
    assert found["errors"] == {}
    assert set(numbers["Words"]) == {
        "page.txt",
        "dog.png",
        "clip.mp4",
        "lines.jsonl#1",
        "lines.jsonl#2",
        "talks.jsonl#1",
    }
    assert numbers["Words"]["dog.png"] == 5
    assert numbers["Words"]["clip.mp4"] is None  # it has no caption
    assert numbers["Frames"] == dict.fromkeys(numbers["Words"]) | {"clip.mp4": 24}
    assert found["stretches"]["clip.mp4"]["shots"][-1][1] == pytest.approx(23 / 12)
    assert numbers["ShortSide"]["talks.jsonl#1"] == numbers["ShortSide"]["dog.png"] > 0
    assert numbers["SpokenWords"]["page.txt"] == numbers["SpokenWords"]["lines.jsonl#1"]
    rules = {rule.name for rule in (*GOPHER, *C4, *FINEWEB)}
    assert rules <= set(numbers)


def test_measure_says_what_is_wrong_with_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.jpg").write_bytes(hostile.jpeg()[:30])
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "fine.txt").write_text("A [red] house.")
    files = [str(tmp_path / name) for name in ("cut.jpg", "latin.txt", "fine.txt")]
    assert main(["measure", *files]) == 1
    said = capsys.readouterr().out
    assert "cut.jpg: SampleError" in said
    assert "latin.txt: UnicodeDecodeError" in said
    assert "SpokenWords" in said
    assert "below" in said
    assert main(["measure", str(tmp_path / "none.txt")]) == 2
    assert "no such file" in capsys.readouterr().err
