"""Hostile media: a run over the whole catalogue neither crashes nor hangs nor grows, and says of each file what became of it."""

import io
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import polars as pl
import pytest

from pipelines.ledger import scan_ledger, scan_quarantine
from tests.curation.hostile_media import KEPT, Specimen, catalogue

MAX_PROCESS_BYTES = 1 << 30
REPOSITORY = Path(__file__).parents[2]
RECIPE = """
from curation.filters import *
from curation.sources import WebDatasetSource
from pipelines.recipe import Recipe, branch

def recipe(data):
    measures = (
        AspectRatio(), ShortSide(low=16), Pixels(), BytesPerPixel(), Decodable(), Brightness(), Sharpness(), Blank(),
        Borders(), TextArea(), Frames(), StaticShare(high=1.0), Shots(), Motion(), KeptTokens(),
    )
    return Recipe(
        stage="stage3", branches=(branch("media", WebDatasetSource(f"{data}/hostile.tar"), *measures),), max_failures=1.0
    )
"""
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def write_tar(path: Path, specimens: list[Specimen]) -> None:
    with tarfile.open(path, "w") as file:
        for specimen in specimens:
            key = f"{specimen.name}-{specimen.suffix}"
            for name, data in ((f"{key}.{specimen.suffix}", specimen.data), (f"{key}.txt", b"a caption of something")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))


@pytest.mark.slow
def test_every_specimen_ends_with_its_reason(tmp_path: Path) -> None:
    specimens = list(catalogue())
    assert len(specimens) >= 60
    (tmp_path / "data").mkdir()
    write_tar(tmp_path / "data" / "hostile.tar", specimens)
    (tmp_path / "recipe.py").write_text(RECIPE)
    out = tmp_path / "out"
    arguments = [
        f"{tmp_path}/recipe.py:recipe",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    start = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "pipelines", "run", *arguments, "--quiet"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert int(process.stdout.splitlines()[-1]) < MAX_PROCESS_BYTES
    print(
        f"{len(specimens)} specimens, {time.monotonic() - start:.0f} s, {process.stdout.splitlines()[-1]} bytes at most"
    )
    ledger = scan_ledger(out).collect()
    quarantine = scan_quarantine(out)
    assert quarantine is not None
    said = dict(quarantine.select("id", "message").collect().iter_rows())
    ends = {row["origin"]: row for row in ledger.iter_rows(named=True)}
    assert len(ends) == ledger.height == len(specimens)
    wrong: list[str] = []
    for specimen in specimens:
        row = ends[f"{specimen.name}-{specimen.suffix}"]
        end = row["reason"] or row["decision"]
        if not re.search(specimen.ends, end) or (end.endswith(".error") and len(said[row["id"]]) < 12):
            wrong.append(f"{specimen.name}.{specimen.suffix}: {end}, wanted {specimen.ends}: {said.get(row['id'])}")
    assert not wrong, "\n".join(wrong)
    assert ledger.filter(pl.col("decision") == KEPT).height >= 10
