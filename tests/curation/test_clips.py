"""Clips: shots of edited videos as samples of their own, with the very frames of the source."""

import io
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest

from curation.media.excerpt import cut_clip, key_times
from curation.media.probe import probe_media
from curation.media.read import read_reference
from curation.media.video import scan_video
from curation.sample import BadSample, Media, Sample, SampleError
from curation.sources import Clips, WebDatasetSource
from pipelines.recipe import Recipe, branch
from pipelines.run import run
from tests.curation import hostile
from tests.curation.films import RATE, Film, encode, shot
from tests.curation.reading import read_all


def edited(*lengths: int, kind: str = "cut") -> Film:
    film = Film(shot(lengths[0], seed=1), [])
    for seed, length in enumerate(lengths[1:], 2):
        film.join(kind, shot(length, seed=seed))  # pyright: ignore[reportArgumentType]
    return film


def write_tar(path: Path, **clips: bytes) -> WebDatasetSource:
    with tarfile.open(path, "w") as file:
        for name, data in clips.items():
            for member, content in ((f"{name}.mp4", data), (f"{name}.txt", b"a caption of the whole")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return WebDatasetSource(str(path))


def frames(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as clip:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)])


def test_shots_become_samples_with_the_frames_of_the_source(tmp_path: Path) -> None:
    film = edited(60, 70, 20, 80)
    data = encode(film.frames, keys=[one.first for one in film.truth])
    source = Clips(source=write_tar(tmp_path / "v.tar", one=encode(shot(60, seed=9)), film=data))
    whole, *shots = read_all(source)
    assert isinstance(whole, Sample)
    assert whole.origin.name == "one"  # a video of one shot passes as it is
    assert read_reference(whole.media[0].reference) == whole.media[0].data  # pyright: ignore[reportArgumentType]
    decoded = frames(data)
    assert [s.origin.name for s in shots] == ["film/shot000", "film/shot001", "film/shot003"]  # 20 frames are too short
    for sample, (begin, end) in zip(shots, [(0, 60), (60, 130), (150, 230)], strict=True):
        assert isinstance(sample, Sample)
        (medium,) = sample.media
        assert medium.data is not None
        assert medium.reference is not None
        assert medium.reference.member.startswith("clip:copy:")
        assert read_reference(medium.reference) == medium.data
        copied = frames(medium.data)
        # Copied packets: the very same pixels, but for B-frames at the end that lean on the next shot.
        assert end - begin - 3 <= len(copied) <= end - begin
        assert np.array_equal(copied, decoded[begin : begin + len(copied)])
        assert probe_media(medium).duration == pytest.approx((end - begin) / RATE, abs=0.15)
        assert sample.answers() == "a caption of the whole"


def test_shot_without_a_key_frame_is_encoded_anew_and_the_same_every_time(tmp_path: Path) -> None:
    film = edited(70, 60)
    source = Clips(source=write_tar(tmp_path / "v.tar", film=encode(film.frames, sc_threshold="0", g="300")))
    first, second = read_all(source)
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    medium = second.media[0]
    assert medium.reference is not None
    assert medium.data is not None
    assert medium.reference.member.startswith("clip:encode:")
    again = frames(medium.data)
    assert abs(len(again) - 60) <= 1
    assert np.abs(again[5].astype(int) - film.frames[75]).mean() < 12
    assert [s.id for s in read_all(source)] == [first.id, second.id]
    assert read_reference(medium.reference) == medium.data


def test_frames_of_dissolves_belong_to_no_shot(tmp_path: Path) -> None:
    film = edited(75, 80, kind="dissolve")
    source = Clips(source=write_tar(tmp_path / "v.tar", film=encode(film.frames)))
    samples = read_all(source)
    assert len(samples) == 2
    (transition,) = film.truth
    for sample, stretch in zip(samples, ((0, transition.last), (transition.first, len(film.frames) - 1)), strict=True):
        assert isinstance(sample, Sample)
        scan = scan_video(sample.media[0].data or b"")
        assert len(scan.look.shots) == 1
        assert scan.frames == pytest.approx(stretch[1] - stretch[0] + 1, abs=6)


def test_broken_video_is_one_bad_sample(tmp_path: Path) -> None:
    source = Clips(source=write_tar(tmp_path / "v.tar", bad=b"<html>", good=encode(shot(60, seed=1))))
    bad, good = read_all(source)
    assert isinstance(bad, BadSample)
    assert "bad: video is html" in bad.message
    assert isinstance(good, Sample)


def test_clips_of_other_codecs_are_cut_into_their_containers() -> None:
    for options, form in (
        ({"container": "webm", "codec": "libvpx"}, "mkv"),
        ({"container": "matroska"}, "mp4"),
        ({"container": "avi"}, "mp4"),
    ):
        data = hostile.clip(frames=36, **options)
        begin = key_times(data)[1]
        cut = cut_clip(data, begin=round(begin * 1000), end=10_000, way="copy")
        assert probe_media(Media(kind="video", data=cut)).format == form
        assert np.array_equal(frames(cut)[-1], frames(data)[-1])
        assert len(frames(cut)) == 36 - round(begin * 12)


def test_stretch_without_frames_is_refused() -> None:
    with pytest.raises(SampleError, match="no frame to start from between 90 and 95 s"):
        cut_clip(hostile.clip(), begin=90_000, end=95_000, way="copy")
    with pytest.raises(SampleError, match=r"no frame to start from|cannot be cut"):
        cut_clip(hostile.clip(), begin=90_000, end=95_000, way="encode")


@pytest.mark.slow
def test_whole_run_over_clips_leaves_shards_with_each_shot(tmp_path: Path) -> None:
    film = edited(60, 70)
    source = Clips(source=write_tar(tmp_path / "v.tar", film=encode(film.frames), other=encode(edited(60, 30).frames)))
    from pipelines.plan import make_plan

    recipe = Recipe(stage="stage3", branches=(branch("videos", source),))
    run(make_plan(recipe, tmp_path / "out", data=str(tmp_path)), executor="local", workers=1, report=False)
    with tarfile.open(tmp_path / "out" / "shards" / "000000.tar") as tar:
        clips = [tar.extractfile(m).read() for m in tar if m.name.endswith(".mp4")]  # pyright: ignore[reportOptionalMemberAccess]
    expected = sorted(s.media[0].data or b"" for s in read_all(source) if isinstance(s, Sample))
    assert sorted(clips) == expected
    assert len(clips) == 3
