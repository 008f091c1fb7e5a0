"""Shards against Python's tarfile, and what a reader is told when a shard lies."""

import io
import tarfile
from pathlib import Path

import pytest

from curation.shards import Member, ShardReader, ShardWriter, index_path, write_index
from curation.shards.writer import tar_header

KEYS = ("0" * 31 + "a", "f" * 32)


def write(path: Path) -> list[list[tuple[str, int, int]]]:
    with ShardWriter(path) as shard:
        return [
            shard.add(
                key,
                [
                    Member(suffix=".0.jpg", size=700, pieces=[b"x" * 512, b"y" * 188]),
                    Member(suffix=".json", size=2, pieces=[b"{}"]),
                ],
            )
            for key in KEYS
        ]


def test_headers_equal_those_of_tarfile() -> None:
    for name, size in (("a.json", 0), ("b" * 95 + ".json", 8**11 - 1), (KEYS[0] + ".0.jpg", 123_456)):
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.uid, member.gid, member.mtime = size, 0o444, 0, 0, 0
        assert tar_header(name, size) == member.tobuf(tarfile.USTAR_FORMAT)


def test_tarfile_reads_what_was_written_where_the_index_says(tmp_path: Path) -> None:
    path = tmp_path / "000000.tar"
    written = write(path)
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        assert [(m.name, m.offset_data, m.size) for m in members] == [place for sample in written for place in sample]
        first = tar.extractfile(members[0])
        assert first is not None
        assert first.read() == b"x" * 512 + b"y" * 188
    again = tmp_path / "again.tar"
    write(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("pieces", [[b"short"], [b"x" * 701]])
def test_a_medium_of_another_size_than_announced_leaves_no_shard(tmp_path: Path, pieces: list[bytes]) -> None:
    path = tmp_path / "000000.tar"
    with pytest.raises(ValueError, match="700 were announced"), ShardWriter(path) as shard:
        shard.add(KEYS[0], [Member(suffix=".0.jpg", size=700, pieces=pieces)])
    assert list(tmp_path.iterdir()) == []


def test_names_and_sizes_that_ustar_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="ustar holds 100"):
        tar_header("n" * 101, 1)
    with pytest.raises(ValueError, match="cut the clip"):
        tar_header("a.mp4", 8 << 30)


def test_a_shard_shorter_than_its_index_is_named(tmp_path: Path) -> None:
    path = tmp_path / "000000.tar"
    places = write(path)
    rows = [
        {
            "key": key,
            "branch": "b",
            "members": [{"name": n, "offset": o, "size": s} for n, o, s in sample],
            "media": [],
            "text_tokens": 1,
            "loss_tokens": 1,
            "patches": 0,
            "visual_tokens": 0,
            "visual_tokens_kept": 0,
        }
        for key, sample in zip(KEYS, places, strict=True)
    ]
    write_index(index_path(path), rows, {"tokenizer": "t"})
    path.write_bytes(path.read_bytes()[:600])
    with ShardReader(path) as reader, pytest.raises(ValueError, match=r"000000\.tar.*ends early"):
        reader.read(1)


def test_a_shard_can_be_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "000000.tar"
    write(path)
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r|") as tar:
        assert [member.name for member in tar] == [key + suffix for key in KEYS for suffix in (".0.jpg", ".json")]
