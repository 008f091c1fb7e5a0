"""Uris: a source reads the same samples from a store as from disk; a store that stumbles is waited for, one that is down is an error."""

import gzip
import io
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from reading import read_all

from curation import uris
from curation.media.read import read_reference
from curation.sample import Sample
from curation.sources import JsonlSource, ParquetSource, WebDatasetSource


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 10, 10)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of each kind, and the same bytes in a store."""
    lines = b"".join(b'{"text": "document %d"}\n' % i for i in range(300))
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines[:500], mtime=0))
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        for i in range(5):
            for name, data in ((f"{i:03d}.jpg", picture(i)), (f"{i:03d}.txt", b"a caption")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    pq.write_table(
        pa.table({"image": [picture(9 * i) for i in range(7)], "text": ["t"] * 7}),
        tmp_path / "d.parquet",
        row_group_size=3,
    )
    store = fsspec.filesystem("memory")
    for file in tmp_path.iterdir():
        store.pipe_file(f"/corpus/{file.name}", file.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "pattern"), [(JsonlSource, "*.jsonl*"), (WebDatasetSource, "*.tar"), (ParquetSource, "*.parquet")]
)
def test_a_store_gives_the_samples_that_the_disk_gives(folder: Path, kind: type, pattern: str) -> None:
    on_disk = read_all(kind(f"{folder}/{pattern}", title="corpus"))
    in_store = read_all(kind(f"memory://corpus/{pattern}", title="corpus"))
    assert [s.id for s in in_store] == [s.id for s in on_disk]
    assert len(on_disk) >= 5
    for sample in (s for s in in_store if isinstance(s, Sample)):
        for medium in sample.media:
            assert medium.reference is not None
            assert medium.reference.uri.startswith("memory://")
            assert read_reference(medium.reference) == medium.data


def test_a_store_that_fails_now_and_then_is_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = uris.store_of("memory://corpus/a.jsonl")
    really, calls = type(store).cat_file, []

    def flaky(self: object, path: str, **range_: int) -> bytes:
        calls.append(path)
        if len(calls) % 2:
            raise ConnectionResetError("the store hung up")
        return really(self, path, **range_)

    monkeypatch.setattr(type(store), "cat_file", flaky)
    assert uris.read_uri("memory://corpus/a.jsonl", 3, 10) == (folder / "a.jsonl").read_bytes()[3:13]
    assert len(calls) == 2


def test_a_store_that_is_down_is_an_error_after_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> bytes:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(OSError, match="nobody there"):
        uris.patiently(down, seconds=0.5)


@pytest.mark.parametrize("size", [0, 1, 5_000, 3_000_000])
def test_an_object_is_read_at_once_as_in_pieces(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    fsspec.filesystem("memory").pipe_file("/whole/object", data)
    with uris.open_uri("memory://whole/object") as file:
        assert file.read() == data
        file.seek(size // 3)
        assert file.read(100) + file.read() == data[size // 3 :]
