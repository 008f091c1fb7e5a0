import io
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from trainer_shards import Made, colour_image, colour_sample, text_sample, write_dataset

from curation.shards import StoredSample, index_path, read_index
from model import Encoded, Processor, pack
from model.config import ModelConfig
from model.stages import STAGE_RULES
from trainer.dataset import open_shards
from trainer.encode import StageEncoder
from trainer.errors import ContractError, RunError
from trainer.fit import fit_media
from trainer.flops import FlopModel
from trainer.loader import FILLER, LoadedPack, PackReader, load_packs, step_numbers
from trainer.mirror import local_dataset
from trainer.plan import make_plan
from trainer.shard_file import open_shard
from trainer.stages import SMALL_STAGES

STAGE = replace(SMALL_STAGES["stage3"], pack_tokens=256, pack_patches=512, step_packs=4)
FLOPS = FlopModel(config=ModelConfig.preset("tiny"), trains=("language",))


def reader_of(directory: Path) -> PackReader:
    dataset = open_shards([directory], STAGE.rules)
    plan = make_plan(dataset, STAGE, FLOPS, seed=0, epoch=0)
    return PackReader(plan, StageEncoder(Processor.tiny(), STAGE.rules))


def all_packs(reader: PackReader, workers: int = 0) -> list[LoadedPack]:
    return list(load_packs(reader, range(reader.plan.num_packs), workers=workers))


def test_packs_hold_every_sample_once_as_the_processor_encodes_it(mixed: Path) -> None:
    reader = reader_of(mixed)
    packs = all_packs(reader)
    keys = [key for loaded in packs for key in loaded.keys]
    stored = [key for shard in reader.plan.dataset.shards for key in read_index(index_path(shard))["key"].to_pylist()]
    assert sorted(keys) == sorted(stored)
    rebuilt = []
    for _, stored_sample, _ in reader._read(reader.plan.pack(3)):
        images = list(stored_sample.media)
        rebuilt.append(replace(Processor.tiny(), rules=STAGE.rules)(stored_sample.fields["turns"], images=images))
    expected = pack(rebuilt)
    assert torch.equal(packs[3].batch.tokens, expected.tokens)
    assert torch.equal(packs[3].batch.labels, expected.labels)
    assert torch.equal(packs[3].batch.patches, expected.patches)
    assert packs[3].batch.num_supervised == reader.plan.sums(reader.plan.dataset.loss_tokens)[3]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine of one core
def test_packs_do_not_depend_on_the_number_of_workers(mixed: Path) -> None:
    reader = reader_of(mixed)
    for alone, helped in zip(all_packs(reader), all_packs(reader, workers=2), strict=True):
        assert alone.keys == helped.keys
        assert torch.equal(alone.batch.tokens, helped.batch.tokens)
        assert torch.equal(alone.batch.patches, helped.batch.patches)
        assert torch.equal(alone.branches, helped.branches)


def test_a_bad_sample_leaves_its_pack_and_is_named(tmp_path: Path) -> None:
    image, height, width = colour_image("red", 140, 140)
    bad = Made(branch="image_text", turns=colour_sample(0).turns, images=[(image[: len(image) // 2], height, width)])
    reader = reader_of(write_dataset(tmp_path, [text_sample(0), bad, text_sample(2)]))
    (loaded,) = all_packs(reader)
    assert len(loaded.keys) == len(loaded.batch.sequence_lengths) == 2
    (failure,) = loaded.failures
    assert failure.key not in loaded.keys
    assert failure.shard.endswith("000000.tar")
    assert failure.error == "MediaError"


def test_a_pack_whose_samples_all_fail_is_still_a_pack(tmp_path: Path) -> None:
    image, height, width = colour_image("red", 140, 140)
    bad = Made(branch="image_text", turns=colour_sample(0).turns, images=[(image[:60], height, width)])
    (loaded,) = all_packs(reader_of(write_dataset(tmp_path, [bad])))
    assert (loaded.keys, len(loaded.failures), loaded.batch.num_supervised) == ((), 1, 0)


def test_counts_that_differ_from_the_index_are_refused(tmp_path: Path) -> None:
    image, height, width = colour_image("red", 70, 70)
    lying = Made(branch="image_text", turns=colour_sample(0).turns, images=[(image, height, width + 28)])
    with pytest.raises(
        ContractError, match=r"000000\.tar: key \w{32}: \d+ tokens and 25 patches, its index says \d+ and 35"
    ):
        all_packs(reader_of(write_dataset(tmp_path, [lying])))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_goes_missing_or_short_is_refused(tmp_path: Path, workers: int) -> None:
    reader = reader_of(write_dataset(tmp_path, [text_sample(n) for n in range(20)]))
    shard = reader.plan.dataset.shards[0]
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(ContractError, match="ends early"):
        all_packs(reader, workers)
    shard.unlink()
    fresh = PackReader(reader.plan, reader.encoder)
    open_shard.cache_clear()
    with pytest.raises(ContractError, match=r"000000\.tar: rows \[.*cannot be read .*No such file"):
        all_packs(fresh, workers)


def test_a_pack_that_never_comes_is_named(mixed: Path) -> None:
    reader = reader_of(mixed)

    class Hangs:
        def __call__(self, sample: object) -> object:
            threading.Event().wait(2)
            raise AssertionError

    hanging = PackReader(reader.plan, Hangs())  # pyright: ignore[reportArgumentType]
    with pytest.raises(RunError, match=r"pack 2 did not come within 0.5 s\. It begins with \d{6}\.tar#\d+"):
        list(load_packs(hanging, [2], workers=1, timeout=0.5))


def test_a_rank_without_a_pack_gets_a_filler(mixed: Path) -> None:
    reader = reader_of(mixed)
    steps = list(step_numbers(reader.plan, rank=2, world=3, first=0))
    assert [len(numbers) for _, numbers in steps[:-1]] == [2] * (len(steps) - 1)
    assert steps[0][1][1] == FILLER
    (loaded,) = load_packs(reader, [FILLER], workers=0)
    assert (loaded.keys, loaded.batch.num_supervised, loaded.batch.media) == ((), 0, ())


def test_media_that_exceed_a_pack_are_seen_smaller_if_asked(tmp_path: Path) -> None:
    image, height, width = colour_image("red", 280, 560)  # 800 tokens
    wide = Made(branch="image_text", turns=colour_sample(0).turns, images=[(image, height, width)])
    words = Made(branch="image_text", turns=[colour_sample(0).turns[0], {"role": "assistant", "text": "no " * 600}],
                 images=[colour_image("red")])  # fmt: skip
    directory = write_dataset(tmp_path, [wide, words, *(colour_sample(n) for n in range(4))])
    dataset = open_shards([directory], STAGE.rules)
    stage = replace(STAGE, long=("frames", "resolution"))
    dropped = make_plan(fit_media(dataset, STAGE), STAGE, FLOPS, seed=0, epoch=0).dropped
    plan = make_plan(fit_media(dataset, stage), stage, FLOPS, seed=0, epoch=0)
    assert (dropped.total(), plan.dropped.total()) == (2, 1)  # too many words stay too many
    packs = all_packs(PackReader(plan, StageEncoder(Processor.tiny(), stage.rules)))
    assert sum(len(loaded.keys) for loaded in packs) == 5
    assert not any(loaded.failures for loaded in packs)
    largest = max((grid for loaded in packs for grid, _ in loaded.batch.media), key=lambda grid: grid.patches)
    assert 128 < largest.patches < 256
    assert largest.columns == pytest.approx(2 * largest.rows, abs=1)
    assert plan.digest != make_plan(dataset, STAGE, FLOPS, seed=0, epoch=0).digest


def clip(seconds: int, height: int, width: int) -> bytes:
    """A clip of one frame a second, each of another grey."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=1)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for second in range(seconds):
            picture = np.full((height, width, 3), 20 * (second + 1), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def test_a_clip_that_exceeds_a_pack_is_seen_with_fewer_frames_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VL3_CACHE", str(tmp_path / "cache"))
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        for name, data in (("a.mp4", clip(11, 140, 280)), ("a.txt", b"It grows lighter.")):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    place = local_dataset(tmp_path, rules=STAGE.rules, processor=Processor.tiny())
    stage = replace(STAGE, long=("frames",))
    dataset = fit_media(open_shards([place], STAGE.rules), stage)
    assert fit_media(open_shards([place], STAGE.rules), STAGE).patches.tolist() == [11 * 10 * 20]
    plan = make_plan(dataset, stage, FLOPS, seed=0, epoch=0)
    (loaded,) = all_packs(PackReader(plan, StageEncoder(Processor.tiny(), stage.rules)))
    assert [grid for grid, _ in loaded.batch.media] == [
        (2, 10, 20)
    ]  # 512 patches a pack; each frame as large as before
    assert loaded.batch.patches.float().mean(dim=1).unique().tolist() == pytest.approx([20, 220], abs=3)


def test_a_sample_that_takes_too_long_is_set_aside(tmp_path: Path) -> None:
    reader = reader_of(write_dataset(tmp_path, [text_sample(n) for n in range(3)]))

    class Slow:
        def __call__(self, sample: StoredSample) -> Encoded:
            if "three" in sample.fields["turns"][0]["text"]:
                threading.Event().wait(20)
            return reader.encoder(sample)

    slow = PackReader(reader.plan, Slow(), seconds=0.2)  # pyright: ignore[reportArgumentType]
    packs = list(load_packs(slow, range(reader.plan.num_packs), workers=0))
    failures = [failure for loaded in packs for failure in loaded.failures]
    assert {failure.error for failure in failures} == {"TimeoutError"}
    assert sum(len(loaded.keys) for loaded in packs) + len(failures) == 3


def test_rules_of_the_stage_decide_the_patches(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path, [colour_sample(n) for n in range(12)], rules=STAGE_RULES["stage3"])
    stage = replace(STAGE, rules=STAGE_RULES["stage4"])
    plan = make_plan(open_shards([directory], stage.rules), stage, FLOPS, seed=0, epoch=0)
    packs = all_packs(PackReader(plan, StageEncoder(Processor.tiny(), stage.rules)))
    assert {merge for loaded in packs for _, merge in loaded.batch.media} == {2}
