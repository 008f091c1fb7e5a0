"""The contact sheet: right samples, right size, hostile captions and lost shards cost a caption, not the sheet."""

import os
import shutil
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont
from run_checks import ledger

from curation.sample import Reference
from pipelines.apart import LostError
from pipelines.cli import main
from pipelines.preview import GAP, TEXT, TILE, choose, wrap, write_preview
from pipelines.samples import SampleFinder
from pipelines.thumbnails import Thumbnailer


@pytest.fixture(scope="module")
def out(demo_dataset: Path) -> Path:
    """The demo."""
    return demo_dataset


def test_the_sheet_shows_samples_of_every_branch(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", str(out), "--n", "15"]) == 0
    assert "15 samples" in capsys.readouterr().out
    with Image.open(out / "preview.png") as sheet:
        assert sheet.size == (6 * (TILE + GAP) + GAP, 3 * (TILE + TEXT + GAP) + GAP)
        assert np.asarray(sheet.convert("L")).std() > 20
    rows = ledger(out).filter(decision="kept")
    chosen = choose(out, 15)
    assert chosen["branch"].value_counts()["count"].to_list() == [3] * 5
    for (branch,), mine in chosen.group_by("branch"):
        assert sorted(mine["id"]) == sorted(rows.filter(branch=branch)["id"])[:3]


def test_a_sample_is_found_again_with_its_bytes(out: Path) -> None:
    rows = ledger(out).filter(branch="image_text")
    found = SampleFinder(directory=out).find(rows.filter(rows["decision"] != "quarantined").iter_rows(named=True))
    assert {sample.place for sample in found.values()} == {"shard", "source"}
    kept = rows.filter(decision="kept").to_dicts()
    read = SampleFinder(directory=out).as_read(kept)
    assert len(read) == len(kept)
    from curation.media.read import read_reference

    for row in kept[:10]:
        ours, theirs = found[row["id"]].media[0], read[row["id"]].media[0]
        assert ours.reference.uri != theirs.reference.uri
        assert read_reference(ours.reference) == read_reference(theirs.reference)


def test_a_sheet_is_made_without_shards(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "copy", ignore=shutil.ignore_patterns("*.tar"))
    assert write_preview(tmp_path / "copy", tmp_path / "sheet.png", samples=5) == 5
    shutil.rmtree(tmp_path / "copy" / "work")
    assert main(["preview", str(tmp_path / "copy")]) == 2


@pytest.mark.parametrize(
    "text", ["", "one", "word " * 400, "x" * 5_000, "\x00\x1b[31m\u202e right", "漢字かな交じり文" * 50, "a\nb\nc"]
)
def test_captions_are_wrapped_within_their_tile(text: str) -> None:
    font = ImageFont.load_default(12)
    lines = wrap(text, font, 200, 4)
    assert len(lines) <= 4
    assert all(font.getlength(line) <= 200 + font.getlength("...") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_decoder_that_hangs_or_fails_costs_one_picture(tmp_path: Path) -> None:
    picture = tmp_path / "good.png"
    Image.new("RGB", (40, 20), "red").save(picture)
    (tmp_path / "bad.png").write_bytes(picture.read_bytes()[:50])
    with Thumbnailer(seconds=20) as thumbnailer:
        assert "png" in thumbnailer.make(Reference(uri=str(tmp_path / "bad.png")), "image").error
        assert "no such file" in thumbnailer.make(Reference(uri=str(tmp_path / "none.png")), "image").error
        made = thumbnailer.make(Reference(uri=str(picture)), "image")
        with Image.open(BytesIO(made.pictures[0])) as small:
            assert small.size == (40, 20)
        child = thumbnailer._child
        assert child is not None
        os.kill(child.pid, 9)
        assert "died" in thumbnailer.make(Reference(uri=str(picture)), "image").error
        assert thumbnailer.make(Reference(uri=str(picture)), "image").pictures
        thumbnailer.seconds = 0.2
        with pytest.raises(LostError, match="took longer"):
            thumbnailer.call(time.sleep, 30.0)
        thumbnailer.seconds = 20.0
        assert thumbnailer.make(Reference(uri=str(picture)), "image").pictures
