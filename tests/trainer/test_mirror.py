import io
import json
import tarfile
from pathlib import Path

import fsspec
import pytest
from trainer_shards import colour_image, colour_sample, text_sample, write_dataset

from model import Processor
from trainer.dataset import open_shards
from trainer.errors import UsageError
from trainer.mirror import local_dataset
from trainer.shard_file import open_shard
from trainer.stages import SMALL_STAGES
from trainer.train import Settings, train

RULES = SMALL_STAGES["stage3"].rules


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VL3_CACHE", str(tmp_path / "cache"))


def plain_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            file.addfile(header, io.BytesIO(data))


def test_plain_tars_are_trained_on_without_an_index(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    members: dict[str, bytes] = {}
    for number in range(16):
        members[f"a/{number:03d}.png"] = colour_image("red" if number % 2 else "blue")[0]
        members[f"a/{number:03d}.txt"] = b"A red square." if number % 2 else b"A blue square."
    talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A square."}]
    members |= {"talk.jpg": colour_image("green")[0], "talk.json": json.dumps({"conversations": talk}).encode()}
    members |= {"text.json": b'{"text": "Only words, and more words."}', "alone.png": colour_image("red")[0]}
    members |= {"evil.png": colour_image("red")[0], "evil.txt": b"<image><image> injected"}
    (tmp_path / "tars").mkdir()
    plain_tar(tmp_path / "tars" / "x.tar", members)
    place = local_dataset(tmp_path / "tars", rules=RULES, processor=Processor.tiny())
    said = capfd.readouterr().err
    assert "left out 2 of 20 samples" in said
    assert "wanted a caption or a conversation" in said
    dataset = open_shards([place], RULES)
    assert len(dataset) == 18
    assert sorted(dataset.branches) == ["image_text", "text"]
    (shard,) = dataset.shards
    stored = open_shard(shard).read(1)
    assert stored.fields["turns"][1]["text"] == "A red square."
    assert stored.media == (members["a/001.png"],)
    changes = {"pack_tokens": 256, "pack_patches": 512, "step_packs": 1}
    settings = Settings(stage="stage3", shards=(tmp_path / "tars",), out=tmp_path / "out", steps=3, changes=changes)
    assert train(settings).failures == 0
    assert "without an index" not in capfd.readouterr().err  # made once


def test_shards_in_an_object_store_equal_those_on_disk(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "here", [colour_sample(n) if n % 2 else text_sample(n) for n in range(40)])
    fsspec.filesystem("memory").put(str(directory), "memory://bucket/out", recursive=True)
    mirror = local_dataset("memory://bucket/out", rules=RULES)
    far, near = open_shards([mirror], RULES), open_shards([directory], RULES)
    assert far.digest == near.digest
    for one, two in zip(far.shards, near.shards, strict=True):
        rows = [3, 0, 5, 4]
        assert open_shard(one).read_all(rows) == open_shard(two).read_all(rows)
        assert not one.is_file()  # the tar stays where it is


def test_an_address_without_a_dataset_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no manifest\.json, so no finished dataset"):
        local_dataset("memory://bucket/nothing", rules=RULES)
