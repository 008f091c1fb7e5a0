"""Media scores: every number that image and video filters gave is found again in the ledger and by `explain`."""

import io
import re
import tarfile
from pathlib import Path

import pytest
from run_checks import build

from curation.batch import Batch
from curation.filters import (
    AspectRatio,
    Bitrate,
    BlackShare,
    Blank,
    Borders,
    Brightness,
    BytesPerPixel,
    Contrast,
    Decodable,
    Duration,
    Entropy,
    FrameRate,
    Frames,
    Frozen,
    Grayscale,
    ImageFrames,
    KeptTokens,
    Motion,
    Orientation,
    Pixels,
    Saturation,
    Sharpness,
    ShortSide,
    Shots,
    SoundTracks,
    StaticShare,
    TextArea,
    TextOverlay,
    VideoTokens,
)
from curation.media.probe import probe_media
from curation.operator import Filter, PartLimits
from curation.sample import Media, Origin, caption_turns, make_sample
from curation.sources import WebDatasetSource
from pipelines.cli import main
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch
from tests.curation import hostile
from tests.curation.films import encode, shot

IMAGE: tuple[Filter, ...] = (
    AspectRatio(), ShortSide(), Pixels(), BytesPerPixel(), ImageFrames(), Orientation(), Decodable(), Brightness(), Contrast(),
    Entropy(), Sharpness(), Saturation(), Grayscale(), Blank(), Borders(), TextArea(), Brightness(of="highest"),
)  # fmt: skip
VIDEO: tuple[Filter, ...] = (
    Duration(), FrameRate(), Bitrate(), Frames(), StaticShare(), Frozen(), BlackShare(), Motion(low=0.0), Shots(high=9),
    TextOverlay(), KeptTokens(), VideoTokens(), VideoTokens(count="all"), SoundTracks(),
)  # fmt: skip


def tar(path: Path, suffix: str, **media: bytes) -> WebDatasetSource:
    with tarfile.open(path, "w") as file:
        for name, data in media.items():
            for member, content in ((f"{name}.{suffix}", data), (f"{name}.txt", b"a caption")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return WebDatasetSource(str(path))


def expected(data: bytes, kind: str, operators: tuple[Filter, ...]) -> dict[str, float]:
    medium = probe_media(Media(kind=kind, data=data))  # pyright: ignore[reportArgumentType]
    batch = Batch([make_sample(Origin(source="s", locator="l", name="n"), caption_turns("x", [medium.kind]), [medium])])
    return {operator.name: float(next(iter(operator.open()(batch)))) for operator in operators}


@pytest.mark.parametrize("kind", ["image", "video"])
def test_explain_tells_every_score_and_the_reason(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "image":
        media, operators, suffix, ended = (
            {"good": hostile.jpeg(400, 300), "bad": hostile.jpeg(400, 60)},
            IMAGE,
            "jpg",
            "AspectRatio.above",
        )
    else:
        still = shot(1, seed=1).repeat(40, axis=0)
        media, operators, suffix, ended = (
            {"good": encode(shot(40, seed=1)), "bad": encode(still)},
            VIDEO,
            "mp4",
            "StaticShare.above",
        )
    recipe = Recipe(stage="stage3", branches=(branch("media", tar(tmp_path / "m.tar", suffix, **media), *operators),))
    build(make_plan(recipe, tmp_path / "out", data=str(tmp_path), limits=PartLimits()))
    assert main(["explain", str(tmp_path / "out"), "good"]) == 0
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    for name, value in expected(media["good"], kind, operators).items():
        assert f"{name} = {value:.6g}" in said, name
    assert main(["explain", str(tmp_path / "out"), "bad"]) == 0
    assert ended in re.sub(r"\s+", " ", capsys.readouterr().out)
