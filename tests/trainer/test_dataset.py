import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trainer_shards import colour_sample, text_sample, write_dataset

from curation.shards import index_path, read_index, write_index
from model.stages import STAGE_RULES
from model.tokenizer import Tokenizer
from trainer.dataset import open_shards
from trainer.errors import ContractError, UsageError

SAMPLES = [colour_sample(n) if n % 3 else text_sample(n) for n in range(40)]


def test_columns_equal_the_indexes(mixed: Path) -> None:
    dataset = open_shards([mixed], STAGE_RULES["stage3"])
    rows = [row for shard in dataset.shards for row in read_index(index_path(shard)).to_pylist()]
    assert len(dataset) == len(rows) == 96
    assert dataset.length.tolist() == [row["text_tokens"] + row["visual_tokens_kept"] for row in rows]
    assert [dataset.branches[number] for number in dataset.branch] == [row["branch"] for row in rows]
    squares = [sum(m["grid_frames"] * (m["grid_rows"] * m["grid_columns"]) ** 2 for m in row["media"]) for row in rows]
    assert dataset.frame_squares.tolist() == squares
    assert dataset.exact.all()


def test_counts_for_other_rules_equal_an_index_made_with_them(tmp_path: Path) -> None:
    stage3 = write_dataset(tmp_path / "stage3", SAMPLES, rules=STAGE_RULES["stage3"])
    stage4 = write_dataset(tmp_path / "stage4", SAMPLES, rules=STAGE_RULES["stage4"])
    again = open_shards([stage3], STAGE_RULES["stage4"])
    made = open_shards([stage4], STAGE_RULES["stage4"])
    for column in ("length", "patches", "visual_tokens", "frame_squares", "loss_tokens"):
        assert np.array_equal(getattr(again, column), getattr(made, column)), column
    assert not np.array_equal(again.length, open_shards([stage3], STAGE_RULES["stage3"]).length)
    assert again.exact.all()


def test_two_directories_are_one_dataset(mixed: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path, SAMPLES)
    both = open_shards([mixed, other], STAGE_RULES["stage3"])
    assert len(both) == 96 + 40
    assert both.branches == open_shards([mixed], STAGE_RULES["stage3"]).branches
    assert both.digest != open_shards([other, mixed], STAGE_RULES["stage3"]).digest


def video_dataset(directory: Path) -> Path:
    """One video's index row; nothing reads the tar."""
    write_dataset(directory, SAMPLES[:1])
    path = index_path(directory / "shards" / "000000.tar")
    rows = read_index(path).to_pylist()
    rows[0]["media"] = [
        {
            "kind": "video", "format": "mp4", "member": "a.0.mp4", "width": 280, "height": 140, "duration": 3.0,
            "fps": 25.0,
            "grid_frames": 3, "grid_rows": 10, "grid_columns": 20, "merge": 2, "kept": 101,
        }
    ]  # fmt: skip
    rows[0] |= {"patches": 600, "visual_tokens": 150, "visual_tokens_kept": 101}
    rules = STAGE_RULES["stage3"]
    write_index(path, rows, {"rules": {f: getattr(rules, f) for f in rules.__dataclass_fields__}})
    manifest = directory / "manifest.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(re.sub(r'"index_sha256": "\w+"', f'"index_sha256": "{digest}"', manifest.read_text()))
    return directory


def test_a_video_under_other_pruning_is_counted_as_an_upper_bound(tmp_path: Path) -> None:
    directory = video_dataset(tmp_path)
    same = open_shards([directory], STAGE_RULES["stage3"])
    assert (same.length[0], bool(same.exact[0])) == (int(same.length[0]), True)
    text = int(same.length[0]) - 101
    looser = open_shards([directory], replace(STAGE_RULES["stage3"], threshold=0.5))
    assert (looser.length[0], bool(looser.exact[0])) == (text + 150, False)
    unpruned = open_shards([directory], STAGE_RULES["stage2"])
    assert (unpruned.length[0], bool(unpruned.exact[0])) == (text + 150, True)


def test_a_video_at_another_frame_rate_must_be_curated_again(tmp_path: Path) -> None:
    directory = video_dataset(tmp_path)
    with pytest.raises(ContractError, match=r"000000\.tar: row 0 was counted with another fps.*Curate this dataset"):
        open_shards([directory], replace(STAGE_RULES["stage3"], fps=2.0))


def test_text_counted_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    digest = Tokenizer.shipped().digest()
    good = write_dataset(tmp_path / "good", SAMPLES, counted={"tokenizer": digest})
    assert len(open_shards([good], STAGE_RULES["stage3"], tokenizer=digest)) == 40
    other = write_dataset(tmp_path / "other", SAMPLES, counted={"tokenizer": "qwen"})
    with pytest.raises(ContractError, match=f"tokenizer qwen, this model's is {digest}"):
        open_shards([other], STAGE_RULES["stage3"], tokenizer=digest)


def test_an_index_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path, SAMPLES)
    first, second = sorted((directory / "shards").glob("*.index.parquet"))[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(ContractError, match=r"000000\.index\.parquet: sha256 is .* the manifest says"):
        open_shards([directory], STAGE_RULES["stage3"])
    first.unlink()
    with pytest.raises(ContractError, match="not there, but the manifest names its shard"):
        open_shards([directory], STAGE_RULES["stage3"])


def test_an_index_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="does not say which pixel rules"):
        open_shards([write_dataset(tmp_path, SAMPLES, counted={"rules": None})], STAGE_RULES["stage3"])


def test_a_directory_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a finished dataset"):
        open_shards([tmp_path], STAGE_RULES["stage3"])
