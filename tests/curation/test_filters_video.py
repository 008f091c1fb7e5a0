"""Video filters: numbers of films with known content, one decode for all of them, and odd clips handled by name."""

import os
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from curation.batch import Batch
from curation.filters.image import Decodable
from curation.filters.video import (
    Bitrate,
    BlackShare,
    Duration,
    FrameRate,
    Frames,
    Frozen,
    KeptTokens,
    Motion,
    Shots,
    SoundTracks,
    StaticShare,
    TextOverlay,
    VectorMotion,
    VideoTokens,
)
from curation.media.disposable import disposables
from curation.media.probe import probe_media
from curation.media.video import VideoScan, open_video, scan_video
from curation.operator import Filter
from curation.sample import Media, Origin, Sample, SampleError, caption_turns, make_sample
from curation.tokens import TokenCounter, load_tokenizer
from model.stages import STAGE_RULES
from tests.curation import hostile
from tests.curation.films import RATE, Film, encode, shot

DECODED = (
    Frames(), StaticShare(), Frozen(), BlackShare(), Motion(), Shots(), TextOverlay(), KeptTokens(), VideoTokens(),
    VideoTokens(count="all"), SoundTracks(), VectorMotion(), Decodable(every_frame=False),
)  # fmt: skip
HEADER = (Duration(), FrameRate(), Bitrate(), Frames(count="declared"))


def sample(*clips: bytes, number: int = 0, probed: bool = True) -> Sample:
    media = [Media(kind="video", data=data) for data in clips]
    media = [probe_media(medium) for medium in media] if probed else media
    origin = Origin(source="test", locator=f"file#{number}", name=str(number))
    return make_sample(origin, caption_turns("x", ["video"] * len(media)), media)


def one(operator: Filter, *clips: bytes) -> float:
    batch = Batch([sample(*clips)])
    values = operator.open()(batch)
    assert isinstance(values, pl.Series)
    assert not batch.errors
    return values.to_list()[0]


def still(frames: int, *, seed: int = 0, level: int | None = None) -> np.ndarray:
    picture = shot(1, seed=seed)[0] if level is None else np.full((72, 128, 3), level, np.uint8)
    return np.repeat(picture[None], frames, axis=0)


def test_header_measures_are_those_written() -> None:
    data = encode(shot(75, seed=1))
    values = [one(operator, data) for operator in HEADER]
    assert values == [3.0, 25.0, pytest.approx(len(data) * 8 / 1000 / 3), 75]


def test_static_and_frozen_clips_are_found() -> None:
    moving, stopped = shot(50, seed=1, speed=1.0), still(75)
    assert one(StaticShare(), encode(stopped)) == 1
    assert one(StaticShare(), encode(moving)) < 0.1
    # x264 codes a still as nothing changed but for the key frame's correction.
    half = encode(np.concatenate([moving, np.repeat(moving[-1:], 50, axis=0)]))
    assert one(StaticShare(), half) == pytest.approx(0.5, abs=0.08)
    assert one(Frozen(), half) == pytest.approx(2.0, abs=0.25)
    assert one(Motion(), encode(stopped)) < 1e-3
    ((begin, end),) = scan_video(half).look.frozen_stretches
    assert (begin, end) == (pytest.approx(2.0, abs=0.25), pytest.approx(99 / RATE, abs=0.1))
    assert scan_video(encode(moving)).look.frozen_stretches == ()


@pytest.mark.parametrize("speed", [0.4, 1.2, 2.4])
def test_motion_is_the_speed_of_a_pan(speed: float) -> None:
    frames = shot(25, seed=5, speed=speed)
    across = np.hypot(speed, speed / 2) * RATE / 128
    assert one(Motion(), encode(frames)) == pytest.approx(across, rel=0.35)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_vectors_of_the_codec_are_the_speed_of_a_pan(codec: str) -> None:
    slow, fast = (encode(shot(75, seed=5, width=640, height=360, speed=speed), codec=codec) for speed in (2.0, 6.0))
    for data, speed in ((slow, 2.0), (fast, 6.0)):
        across = np.hypot(int(speed), speed / 2) * RATE / 640
        assert one(VectorMotion(), data) == pytest.approx(across, rel=0.35)
    assert one(VectorMotion(), slow, fast) == one(VectorMotion(), slow)
    assert one(VectorMotion(), encode(still(50), codec=codec)) < 0.005


def test_codecs_without_vectors_have_no_number() -> None:
    clip = hostile.clip(frames=24, container="webm", codec="libvpx")
    assert list(VectorMotion().measure(Batch([sample(clip)]))) == [None]


def test_black_frames_are_counted_and_dark_scenes_are_not() -> None:
    scene = shot(60, seed=2)
    data = encode(np.concatenate([still(20, level=0), scene]))
    assert one(BlackShare(), data) == pytest.approx(0.25, abs=0.03)
    assert scan_video(data).look.black_stretches == ((0.0, pytest.approx(19 / RATE, abs=0.09)),)
    assert one(BlackShare(), encode((scene * 0.45).astype(np.uint8))) == 0


def test_shots_of_several_videos_are_those_of_the_one_with_the_most() -> None:
    film = Film(shot(40, seed=1), [])
    film.join("cut", shot(40, seed=2))
    film.join("dissolve", shot(50, seed=3))
    assert one(Shots(), encode(film.frames), encode(shot(40, seed=4))) == 3


def test_subtitles_are_text_overlay() -> None:
    frames = shot(60, seed=6, width=480, height=270)
    lettered = frames.copy()
    for frame in lettered:
        cv2.rectangle(frame, (0, 225), (480, 262), (0, 0, 0), -1)
        cv2.putText(
            frame, "these words are said here now", (10, 252), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2
        )
    assert one(TextOverlay(), encode(frames)) < 0.005
    assert 0.03 < one(TextOverlay(), encode(lettered)) < 0.15


def test_sound_is_counted() -> None:
    assert one(SoundTracks(), encode(shot(10, seed=1))) == 0
    with pytest.raises(SampleError, match="no video stream"):
        scan_video(hostile.clip(audio_only=True))


def exact_tokens(data: bytes) -> tuple[int, int]:
    counter = TokenCounter(tokenizer=load_tokenizer(""), rules=STAGE_RULES["stage3"])
    counts = counter.count(Batch([sample(data)]), 0)
    return counts["visual_tokens"], counts["visual_tokens_kept"]


@pytest.mark.parametrize("kind", ["pan", "still", "half"])
def test_predicted_tokens_are_near_those_of_training(kind: str) -> None:
    frames = shot(150, seed=7, width=320, height=180)
    if kind == "still":
        frames = np.repeat(frames[:1], 150, axis=0)
    elif kind == "half":
        frames[:, :, 160:] = frames[:1, :, 160:]
    data = encode(frames)
    tokens, kept = exact_tokens(data)
    assert one(VideoTokens(count="all"), data) == pytest.approx(tokens, rel=0.02)
    assert one(KeptTokens(), data) == pytest.approx(kept / tokens, abs=0.1)


def test_all_measures_of_a_pass_share_one_decode() -> None:
    counters: Counter[str] = Counter()
    batch = Batch([sample(encode(shot(30, seed=n)), number=n) for n in range(2)], counters=counters)
    for operator in (*HEADER, *DECODED):
        operator.open()(batch)
    assert counters["media_decoded"] == 2
    assert not batch.errors


def test_samples_without_videos_have_no_number() -> None:
    picture = Media(kind="image", data=hostile.jpeg())
    batch = Batch([make_sample(Origin(source="s", locator="l", name="n"), caption_turns("x"), [picture])])
    for operator in (*HEADER, *DECODED[:-1]):
        assert list(operator.open()(batch)) == [None], operator.name


def test_variable_rates_are_measured_by_time_and_not_by_count() -> None:
    frames = shot(40, seed=1)
    times = [40 * n for n in range(20)] + [800 + 400 * n for n in range(20)]
    data = encode(frames, times=times)
    scan = scan_video(data)
    assert (scan.frames, scan.first, scan.last) == (40, 0, pytest.approx(8.4))
    assert one(Frames(), data) == 40
    assert len(scan.look.shots) == 1
    assert scan.look.shots[0] == (0, pytest.approx(8.4))


def test_cut_and_empty_clips_are_named() -> None:
    whole = hostile.clip(frames=60, container="matroska")
    samples = [
        sample(whole, number=0),
        sample(whole[: len(whole) // 2], number=1),
        sample(hostile.without_box(hostile.clip(), b"mdat"), number=2, probed=False),
        sample(hostile.clip(frames=0), number=3, probed=False),
    ]
    batch = Batch(samples)
    assert StaticShare().measure(batch).to_list()[2:] == [None, None]
    assert sorted(batch.errors) == [2, 3]
    decodable = Batch(samples[:2])
    assert Decodable().measure(decodable).to_list() == [1, None]
    assert "of 60 declared frames decode" in str(decodable.errors[1])


def test_skipped_frames_count_and_damage_among_decoded_ones_shows() -> None:
    data = encode(shot(120, seed=3))
    thrifty, thorough = scan_video(data), scan_video(data, thorough=True)
    assert thrifty.skipped > 30
    assert thorough.look == thrifty.look  # what is seen does not depend on who else asked for a full decode
    for field in ("frames", "skipped", "first", "last", "duration", "fps", "declared", "errors", "complete"):
        assert getattr(thrifty, field) == getattr(thorough, field), field
    at = data.index(b"mdat") + 4
    damaged = bytearray(data)
    damaged[at + 3000 : at + 6000] = bytes(3000)
    assert not scan_video(bytes(damaged)).complete


def spare_packet(data: bytes) -> tuple[int, int]:
    """Where a packet lies that no frame leans on, and how long it is."""
    with open_video(data) as (container, stream, _):
        spare = disposables(stream)
        victim = next(p for p in container.demux(stream) if p.size > 120 and spare(p))
        assert victim.pos is not None
        return victim.pos, victim.size


def told(scan: VideoScan) -> tuple[int, int, int]:
    return scan.frames, scan.damaged, scan.errors


def test_damage_in_a_frame_that_no_other_leans_on() -> None:
    # Grain, so that no frame is a few bytes.
    grain = np.random.default_rng(0).integers(0, 40, size=(60, 72, 128, 3), dtype=np.uint8)
    whole = encode(np.clip(shot(60, seed=3) // 2 + grain, 0, 255).astype(np.uint8))
    at, size = spare_packet(whole)
    hole = whole[: at + 40] + bytes(size - 40) + whole[at + size :]
    # A packet that is not whole is decoded, and seen by either way.
    assert told(scan_video(hole)) == told(scan_video(hole, thorough=True)) != (60, 0, 0)
    noticed = 0
    for seed in range(8):  # a decoder takes most changed bits for another picture
        noise = np.random.default_rng(seed).integers(4, 256, size=size - 40, dtype=np.uint8).tobytes()
        changed = whole[: at + 40] + noise + whole[at + size :]
        assert told(scan_video(changed)) == (60, 0, 0)
        noticed += told(scan_video(changed, thorough=True)) != (60, 0, 0)
    assert noticed >= 1


@pytest.mark.corpus
@pytest.mark.slow
def test_real_clips_have_the_frames_that_a_full_decode_gives() -> None:
    corpus = os.environ.get("VL3_CORPUS")
    if not corpus:
        pytest.skip("VL3_CORPUS is not set")
    errors: list[float] = []
    with tarfile.open(Path(corpus) / "videos-00000.tar") as file:
        for member in file:
            if Path(member.name).suffix not in (".mp4", ".mkv", ".avi") or member.size > 800_000:
                continue
            data = file.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
            thrifty, thorough = scan_video(data), scan_video(data, thorough=True)
            assert thrifty.frames == thorough.frames, member.name
            assert thrifty.look == thorough.look
            tokens, kept = exact_tokens(data)
            assert thrifty.look.tokens == pytest.approx(tokens, rel=0.05), member.name
            errors.append(abs(thrifty.look.kept / thrifty.look.tokens - kept / tokens))
    assert len(errors) > 5
    assert np.mean(errors) < 0.05
