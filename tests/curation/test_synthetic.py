import io
import json
import random
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from reading import split

from curation.media.decode import decode_image
from curation.media.video import scan_video
from curation.sample import BadSample, Sample, SampleError
from curation.sources import (
    ConversationSource,
    JsonlSource,
    ParquetMedia,
    ParquetSource,
    TarMedia,
    WebDatasetSource,
)
from curation.sources.synthetic import write_synthetic
from curation.sources.synthetic.clips import FPS, draw_frames, encode_mp4, make_clip
from curation.sources.synthetic.defects import DEFECTS
from curation.sources.synthetic.scenes import COLOURS, captions, draw_scene, make_scene, questions

# What a source notices by itself; the rest is for the pass and its filters.
NOTICED = {"not_utf8", "broken_json", "missing_media", "two_tags_one_picture"}
Read = dict[str, tuple[list[Sample], list[BadSample]]]


def read(folder: Path) -> Read:
    media = (
        ParquetMedia(paths=f"{folder}/image_text-*.parquet"),
        ParquetMedia(paths=f"{folder}/documents-*.parquet"),
        TarMedia(tars=f"{folder}/videos-*.tar"),
    )
    sources = {
        "image_text": ParquetSource(f"{folder}/image_text-*.parquet", texts="texts", id="id"),
        "documents": ParquetSource(f"{folder}/documents-*.parquet", texts="texts", id="id"),
        "videos": WebDatasetSource(f"{folder}/videos-*.tar", id="id"),
        "text": JsonlSource(f"{folder}/text.jsonl", id="id"),
        "conversations": ConversationSource(f"{folder}/conversations.jsonl", media=media),
    }
    return {name: split(source) for name, source in sources.items()}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("synthetic")
    return folder, write_synthetic(str(folder), samples=600, seed=5, defects=0.4)


def truth_of(folder: Path) -> dict[str, dict[str, str]]:
    truth: dict[str, dict[str, str]] = {corpus: {} for corpus in DEFECTS}
    for line in (folder / "truth.jsonl").read_text().splitlines():
        entry = json.loads(line)
        truth[entry["corpus"]][entry["name"]] = entry["defect"]
    return truth


def test_every_sample_is_read_and_the_bad_ones_are_those_planted(corpora: tuple[Path, dict[str, int]]) -> None:
    folder, counts = corpora
    truth, samples = truth_of(folder), read(folder)
    assert sum(counts.values()) == 600
    for corpus, (fine, bad) in samples.items():
        assert len(fine) + len(bad) == counts[corpus]
        assert {s.origin.name for s in bad} == {name for name, defect in truth[corpus].items() if defect in NOTICED}
        assert set(truth[corpus].values()) == set(DEFECTS[corpus])


def media_errors(sample: Sample) -> bool:
    """Whether any medium fails to decode in full."""
    try:
        for medium in sample.media:
            assert medium.data is not None
            if medium.kind == "image":
                decode_image(medium.data)
            else:
                scan_video(medium.data)
    except SampleError:
        return True
    return False


def test_media_that_fail_to_decode_are_those_planted(corpora: tuple[Path, dict[str, int]]) -> None:
    truth, samples = truth_of(corpora[0]), read(corpora[0])
    for corpus in ("image_text", "documents", "videos"):
        broken = {s.origin.name for s in samples[corpus][0] if media_errors(s)}
        kinds = ("truncated_image", "bomb_header", "truncated_video")
        assert broken == {name for name, defect in truth[corpus].items() if defect in kinds}


def test_empty_captions_and_duplicates_are_those_planted(corpora: tuple[Path, dict[str, int]]) -> None:
    truth, samples = truth_of(corpora[0]), read(corpora[0])
    for corpus, (fine, _) in samples.items():
        empty = {s.origin.name for s in fine if not s.answers().strip()}
        assert empty == {name for name, defect in truth[corpus].items() if defect.startswith("empty_")}
    for corpus in ("image_text", "documents", "videos", "text"):
        same: dict[object, list[str]] = {}
        for sample in samples[corpus][0]:
            content = (sample.answers(), *(medium.digest for medium in sample.media))
            same.setdefault(content, []).append(sample.origin.name)
        copies = {name for names in same.values() if len(names) > 1 for name in names}
        planted = {name for name, defect in truth[corpus].items() if defect == "exact_duplicate"}
        assert planted <= copies
        assert planted


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    for folder, seed in ((first, 1), (second, 1), (third, 2)):
        write_synthetic(str(folder), samples=150, seed=seed, defects=0.2)
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in second.iterdir())
    assert [(first / name).read_bytes() for name in files] == [(second / name).read_bytes() for name in files]
    assert all((first / name).read_bytes() != (third / name).read_bytes() for name in files)


@pytest.mark.parametrize("samples", [0, 1, 2, 7])
def test_a_tiny_corpus_without_defects_is_whole(tmp_path: Path, samples: int) -> None:
    counts = write_synthetic(str(tmp_path), samples=samples, defects=0.0)
    assert sum(counts.values()) == samples
    assert (tmp_path / "truth.jsonl").read_text() == ""
    assert {name: (len(fine), len(bad)) for name, (fine, bad) in read(tmp_path).items()} == {
        # A tar without samples is one failure, in whatever corpus.
        name: (count, int(name == "videos" and not count))
        for name, count in counts.items()
    }


def test_pictures_show_what_their_captions_say() -> None:
    for seed in range(30):
        scene = make_scene(random.Random(seed))
        pixels = np.asarray(draw_scene(scene))
        for shape in scene.shapes:
            places = np.argwhere((pixels == COLOURS[shape.colour]).all(axis=-1))
            assert len(places) >= 14 * 14, "a shape spans a patch"
            assert np.abs(places.mean(axis=0) - (shape.y, shape.x)).max() < 10
            assert f"a {shape.size} {shape.name}" in captions(scene)[0].lower()
        present = {shape.form for shape in scene.shapes}
        for question, answer in questions(scene, random.Random(seed)):
            if question.startswith("How many"):
                form = question.split()[2].removesuffix("s")
                assert ("There are no" in answer) == (form not in present)


def test_clips_move_until_they_stop() -> None:
    for seed in range(20):
        clip = make_clip(random.Random(seed))
        frames = draw_frames(clip)
        stop = round(clip.stop * FPS)
        changes = [bool((a != b).any()) for a, b in pairwise(frames)]
        assert changes == [True] * stop + [False] * (len(frames) - 1 - stop)
        centres = [
            np.argwhere((frame == COLOURS[clip.colour]).all(axis=-1)).mean(axis=0) for frame in (frames[0], frames[-1])
        ]
        moved = centres[1] - centres[0]
        axis, sign = {"right": (1, 1), "left": (1, -1), "down": (0, 1), "up": (0, -1)}[clip.direction]
        assert moved[axis] * sign > 50
        assert abs(moved[1 - axis]) < 1


def test_an_encoded_clip_has_its_frames_and_its_length() -> None:
    clip = make_clip(random.Random(3))
    frames = draw_frames(clip)
    with av.open(io.BytesIO(encode_mp4(frames))) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(clip.duration, abs=0.05)
    assert len(decoded) == len(frames)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(decoded, frames, strict=True)) < 6
    assert Image.fromarray(decoded[0]).size == (112, 112)
