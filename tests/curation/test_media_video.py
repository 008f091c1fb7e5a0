"""Clips: what they declare, what decodes, and hostile containers refused by name."""

import struct
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.batch import Batch
from curation.media.probe import probe_media
from curation.media.video import scan_video
from curation.sample import Media, Origin, Reference, Sample, SampleError
from tests.curation import hostile

CLIP = hostile.clip(frames=60)
CONTAINERS = {
    "mp4": {},
    "mov": {"container": "mov"},
    "mkv": {"container": "matroska"},
    "webm": {"container": "webm", "codec": "libvpx"},
    "avi": {"container": "avi"},
    "flv": {"container": "flv", "codec": "flv1"},
}


def probe(data: bytes) -> Media:
    return probe_media(Media(kind="video", data=data))


@pytest.mark.parametrize("name", CONTAINERS)
def test_probe_and_scan_agree_with_what_was_written(name: str) -> None:
    data = hostile.clip(frames=24, **CONTAINERS[name])
    medium, scan = probe(data), scan_video(data)
    assert (medium.format, medium.width, medium.height, medium.frames, medium.fps) == (name, 64, 48, 24, 12.0)
    assert (scan.frames, scan.declared, scan.damaged, scan.errors, scan.complete) == (24, 24, 0, 0, True)
    assert (scan.width, scan.height) == (64, 48)
    # Matroska and FLV count time in milliseconds.
    np.testing.assert_allclose(
        [scan.first, scan.last, scan.duration, scan.fps, medium.duration], [0, 23 / 12, 2, 12, 2], atol=0.02
    )


def test_a_long_clip_is_probed_and_scanned_where_it_lies_and_never_in_memory(tmp_path: Path) -> None:
    room = 40 << 20
    with (tmp_path / "clips.tar").open("wb") as tar:
        tar.seek(1536)
        tar.write(CLIP + struct.pack(">I4s", room, b"free"))
        tar.truncate(1536 + len(CLIP) + room)
    reference = Reference(uri=str(tmp_path / "clips.tar"), member="a.mp4", offset=1536, size=len(CLIP) + room)
    short, seen = probe(CLIP), scan_video(CLIP)
    tracemalloc.start()
    try:
        long = probe_media(Media(kind="video", reference=reference, digest="d"))
        batch = Batch([Sample(id="long", turns=(), media=(long,), origin=Origin(source="s", locator="l", name="n"))])
        scan = batch.scan(0, 0)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert long == replace(short, data=None, reference=reference, size=reference.size, digest="d")
    assert scan == seen


def test_variable_rate_gives_the_mean_of_what_is_seen() -> None:
    times = [0, 1000, 2000, 3000, 9000, 15_000, 21_000]  # in 1/12,000 s
    scan = scan_video(hostile.clip(frames=7, times=times))
    assert scan.frames == 7
    assert (scan.first, scan.last) == (0.0, 1.75)
    assert scan.fps == pytest.approx(6 / 1.75)


@pytest.mark.parametrize("name", ["mkv", "webm", "flv"])
def test_cut_clip_is_described_and_not_complete(name: str) -> None:
    data = hostile.clip(frames=60, **CONTAINERS[name])
    scan = scan_video(data[: len(data) * 6 // 10])
    assert 20 < scan.frames < 50
    assert scan.declared == 60
    assert not scan.complete


def test_clip_with_a_hole_counts_only_what_decodes() -> None:
    data = hostile.clip(frames=60, codec="libx264", width=128, height=128)
    at = data.index(b"mdat") + 4
    size = int.from_bytes(data[at - 8 : at - 4], "big") - 8
    broken = bytearray(data)
    broken[at + size // 2 : at + size] = bytes(size - size // 2)
    scan = scan_video(bytes(broken))
    assert 0 < scan.frames < 57
    assert scan.errors > 0
    assert scan.error
    assert not scan.complete


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (hostile.without_box(CLIP, b"moov"), "mp4 does not open"),
        (CLIP[: len(CLIP) // 2], "mp4 does not open"),
        (hostile.broken_frames(CLIP), "mp4 (decodes to no frame|declares 0 x 0)"),
        (hostile.without_box(CLIP, b"mdat"), "mp4 (decodes to no frame|declares 0 x 0)"),
        (hostile.clip(frames=0), "mp4 (decodes to no frame|has no video stream|does not open)|empty"),
        (hostile.clip(audio_only=True), "mp4 has no video stream"),
        (hostile.jpeg(), "video is jpeg, wanted mp4"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "video is playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "video is unknown content"),
        (b"", "video is empty"),
    ],
    ids=["no index", "half", "zeroed", "no frames", "zero frames", "audio", "jpeg", "playlist", "concat", "empty"],
)
def test_hostile_clip_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        scan_video(data)


def test_declared_two_hours_and_more_are_refused() -> None:
    data = hostile.clip(frames=3, times=[0, 12_000, 12_000 * 8_000])
    for read in (probe, scan_video):
        with pytest.raises(SampleError, match=r"mp4 declares 8,0\d\d s, limit 7,200 s"):
            read(data)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(CLIP) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_never_escape_as_other_errors(changes: list[tuple[int, int]]) -> None:
    changed = bytearray(CLIP)
    for at, value in changes:
        changed[at] = value
    for read in (probe, scan_video):
        with suppress(SampleError):
            read(bytes(changed))


def test_nothing_is_printed_for_broken_clips(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SampleError):
        scan_video(hostile.broken_frames(CLIP))
    scan_video(hostile.clip(frames=60, container="avi")[:8_000])
    assert capfd.readouterr() == ("", "")
