"""Shots: transitions in films with known ones, of drawn scenes and of real clips."""

import io
import os
import tarfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.media.shots import Transition, find_transitions, shots_between
from curation.media.video import scan_video
from tests.curation.films import RATE, Film, encode, matched, shot, transitions_of

# Clips of the corpus that are one shot each: twelve of the frames used of each were looked at side by side.
ONE_SHOT = (0, 2, 3, 4, 5, 6, 9, 19, 20, 21, 22, 23, 24, 28, 30, 33, 36, 39, 44, 52, 53)


def small(frames: np.ndarray) -> np.ndarray:
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.stack([cv2.resize(frame, (32, 18), interpolation=cv2.INTER_AREA) for frame in grey])


@pytest.mark.parametrize("kind", ["cut", "dissolve", "fade"])
def test_each_kind_is_found_where_it_is(kind: str) -> None:
    film = Film(shot(40, seed=1), [])
    for seed in range(2, 9):
        film.join(kind, shot(40, seed=seed))  # pyright: ignore[reportArgumentType]
    found = find_transitions(small(film.frames))
    assert len(found) == 7
    assert matched(found, film.truth) == 7
    assert {one.kind for one in found} == {kind}


def test_pans_flashes_and_still_pictures_are_no_transitions() -> None:
    for speed in (0.0, 0.3, 0.8, 1.6):
        assert find_transitions(small(shot(75, seed=3, speed=speed))) == []
    flashing = shot(80, seed=4)
    flashing[[20, 41, 42]] = 255
    assert find_transitions(small(flashing)) == []


def test_fading_in_and_out_at_the_ends_is_no_transition() -> None:
    black = np.zeros((10, 72, 128, 3), np.uint8)
    scene, share = shot(40, seed=1), np.minimum(1, np.arange(40) / 15)[:, None, None, None]
    faded = (scene * share * share[::-1]).astype(np.uint8)
    assert find_transitions(small(np.concatenate([black, faded, black]))) == []
    assert find_transitions(small(black)) == []
    assert find_transitions(small(black[:1])) == []


def test_cut_through_black_is_one_transition() -> None:
    black = np.zeros((5, 72, 128, 3), np.uint8)
    film = np.concatenate([shot(40, seed=1), black, shot(40, seed=2)])
    assert find_transitions(small(film)) == [Transition("fade", 39, 45)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_shots_and_transitions_never_overlap(frames: int, seed: int) -> None:
    thumbs = np.random.default_rng(seed).integers(0, 256, (frames, 18, 32), dtype=np.uint8)
    thumbs[:: max(1, seed % 5)] //= 8
    found = find_transitions(thumbs)
    shots = shots_between(found, frames)
    taken = [frame for first, last in shots for frame in range(first, last + 1)]
    assert len(taken) == len(set(taken))
    assert taken == sorted(taken)
    assert all(0 <= one.last < one.first < frames for one in found)


def test_encoded_cuts_are_found_within_a_frame_though_every_second_frame_is_skipped() -> None:
    film = Film(shot(30, seed=1), [])
    for seed in range(2, 12):
        film.join("cut", shot(23 + seed, seed=seed))
    for options in ({}, {"bf": "3", "b-pyramid": "none"}, {"bf": "0"}, {"sc_threshold": "0"}):
        data = encode(film.frames, **options)
        for thorough in (False, True):
            scan = scan_video(data, thorough=thorough)
            assert scan.frames == len(film.frames)
            assert (scan.skipped > len(film.frames) / 5) == (options.get("bf") != "0")
            assert matched(transitions_of(scan.look.shots), film.truth) == 10, options
            assert len(scan.look.shots) == 11


def real_shots(corpus: str) -> list[np.ndarray]:
    """Up to 70 frames of each clip, 160 x 90, from a second in."""
    shots: list[np.ndarray] = []
    for path in sorted(Path(corpus).glob("videos-*.tar")):
        with tarfile.open(path) as file:
            for member in file:
                name = Path(member.name)
                if name.suffix not in (".mp4", ".mkv", ".avi") or int(name.stem[4:]) not in ONE_SHOT:
                    continue
                with av.open(io.BytesIO(file.extractfile(member).read())) as clip:  # pyright: ignore[reportOptionalMemberAccess]
                    frames = [
                        frame.reformat(160, 90, "rgb24").to_ndarray()
                        for number, frame in zip(range(85), clip.decode(video=0), strict=False)
                        if number >= 15
                    ]
                shots.append(np.stack(frames))
    return shots


@pytest.mark.corpus
@pytest.mark.slow
def test_transitions_between_real_clips_are_found() -> None:
    corpus = os.environ.get("VL3_CORPUS")
    if not corpus:
        pytest.skip("VL3_CORPUS is not set")
    shots = real_shots(corpus)
    rng = np.random.default_rng(7)
    for kind, wanted in (("cut", 0.95), ("dissolve", 0.8), ("fade", 0.8)):
        order = rng.permutation(len(shots))
        film = Film(shots[order[0]], [])
        for index in order[1:]:
            film.join(kind, shots[index], length=int(rng.integers(8, 20)))  # pyright: ignore[reportArgumentType]
        scan = scan_video(encode(film.frames))
        found = transitions_of(scan.look.shots)
        hits = matched(found, film.truth)
        print(f"{kind}: recall {hits / len(film.truth):.3f}, precision {hits / len(found):.3f} of {len(film.truth)}")
        assert hits / len(film.truth) >= wanted
        assert hits / len(found) >= wanted
        assert len(film.frames) / RATE == pytest.approx(scan.duration, abs=0.1)
