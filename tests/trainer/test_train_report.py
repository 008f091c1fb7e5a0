"""The training report: its numbers equal those of the metrics, however long, broken or hostile they are."""

import json
import re
import statistics
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.report import POINTS, thinned, write_report


def write_run(out: Path, steps: int, *, loss: float = 8.0, branch: str = "text") -> list[dict]:
    """A run's metrics: every seventh step has no loss of that branch, step 5 had no finite loss."""
    out.mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        by_branch = {branch: loss / step} if step % 7 else {}
        lines.append({
            "step": step, "loss": None if step == 5 else loss / step, "tokens": 1000 + step, "samples": 3, "lr": 1e-3, "grad_norm": 1.0,
            "tokens_per_second": 50.0 * step, "mfu": 0.25, "data_wait": 0.5, "skipped": int(step >= 5), "loss_by_branch": by_branch,
            "failures": 2, "seconds": 2.0,
        })  # fmt: skip
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def cells(page: str, first: str) -> list[str]:
    """The cells of the table row that begins with this text."""
    row = next(
        row
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
        if re.search(rf"<td[^>]*>{re.escape(first)}</td>", row)
    )
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_the_summary_equals_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_run(tmp_path / "a", 40), write_run(tmp_path / "b", 20, loss=4.0)
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--to", str(tmp_path / "page.html")]) == 0
    assert "page.html" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    for name, lines in (("a", first), ("b", second)):
        said = cells(page, name)
        losses = [line["loss"] for line in lines if line["loss"] is not None]
        end = statistics.fmean(losses[-max(1, round(0.05 * len(losses))) :])
        assert said[1:4] == [f"{len(lines)}", f"{3 * len(lines)}", f"{sum(line['tokens'] for line in lines):,}"]
        assert float(said[5]) == pytest.approx(end, rel=1e-3)
        assert float(said[6].replace(",", "")) == statistics.median(line["tokens_per_second"] for line in lines)
        assert said[7:10] == ["25.00 %", "25.00 %", "1"]
    assert page.count("<svg") >= 8
    assert "Loss by branch, a" in page
    assert "Loss by branch, b" in page


def test_a_page_goes_beside_the_metrics_and_cut_lines_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "run", 10)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "loss": 0.')
    path = write_report([tmp_path / "run" / "metrics.jsonl"])
    assert path == tmp_path / "run" / "report.html"
    assert cells(path.read_text(), "run")[1] == "10"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    write_run(tmp_path / "run", 12, branch=evil)
    failure = {"key": evil, "shard": evil, "error": evil, "message": evil}
    (tmp_path / "run" / "quarantine.jsonl").write_text(json.dumps(failure) + "\n" + json.dumps(failure) + "\nbroken\n")
    page = write_report([tmp_path / "run"]).read_text()
    assert "<script" not in page
    assert cells(page, "&lt;script&gt;alert(1)&lt;/script&gt;")[2] == "2"


def test_long_runs_are_thinned_to_means(tmp_path: Path) -> None:
    points = [(float(i), float(i % 13)) for i in range(10_007)]
    few = thinned(points)
    assert len(few) <= POINTS
    width = -(-len(points) // POINTS)
    assert few[3] == (
        statistics.fmean(x for x, _ in points[3 * width : 4 * width]),
        statistics.fmean(y for _, y in points[3 * width : 4 * width]),
    )
    assert thinned(points[:50]) == points[:50]


def test_a_run_without_metrics_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no metrics there" in capsys.readouterr().err
