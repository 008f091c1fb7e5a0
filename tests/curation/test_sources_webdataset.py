import io
import json
import tarfile
from pathlib import Path

import pytest
import webdataset
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import good, places, read_all, split

from curation.media.read import read_reference
from curation.operator import PartLimits, RecipeError
from curation.sample import Turn
from curation.sources import WebDatasetSource
from curation.sources.files import INLINE_BYTES


def write(path: Path, members: list[tuple[str, bytes]]) -> str:
    with tarfile.open(path, "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return str(path)


def test_a_key_becomes_a_sample_with_caption_origin_and_references(tmp_path: Path) -> None:
    facts = json.dumps({"id": "x7", "license": "MIT", "url": "http://x"}).encode()
    path = write(tmp_path / "a.tar", [("d/k.jpg", b"picture"), ("d/k.txt", b"ein <video>"), ("d/k.json", facts)])
    sample = good(WebDatasetSource(path, id="id"))[0]
    assert sample.turns == (Turn(role="user", text="<image>"), Turn(role="assistant", text="ein < video>"))
    assert (sample.origin.name, sample.origin.licence, sample.origin.url) == ("x7", "MIT", "http://x")
    assert good(WebDatasetSource(path))[0].origin.name == "d/k"
    medium = sample.media[0]
    assert medium.reference is not None
    assert medium.reference.member == "d/k.jpg"
    assert read_reference(medium.reference) == medium.data == b"picture"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaves its tar open
def test_keys_and_members_are_those_that_the_webdataset_library_reads(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for i in range(5):
            writer.write({"__key__": f"k{i}", "png": b"picture %d" % i, "txt": f"caption {i}"})
    theirs = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    ours = good(WebDatasetSource(str(tmp_path / "a.tar")))
    assert [(s.origin.name, s.answers(), s.media[0].data) for s in ours] == [
        (s["__key__"], s["txt"].decode(), s["png"]) for s in theirs
    ]


def test_several_media_of_a_key_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["k.10.jpg", "k.2.png", "k.mp4", "k.0.webp"]
    path = write(tmp_path / "a.tar", [*((name, name.encode()) for name in names), ("k.txt", b"caption")])
    sample = good(WebDatasetSource(path))[0]
    assert [medium.data for medium in sample.media] == [b"k.0.webp", b"k.2.png", b"k.10.jpg", b"k.mp4"]
    assert sample.turns[0].text == "<image>\n<image>\n<image>\n<video>"


@pytest.mark.parametrize(
    ("members", "captions", "expected"),
    [
        ({"txt": b"from txt", "json": b'{"caption": "from json"}'}, ("txt", "json:caption"), "from txt"),
        ({"txt": b"from txt", "json": b'{"caption": "from json"}'}, ("json:caption", "txt"), "from json"),
        ({"txt": b"", "json": b'{"caption": "from json"}'}, ("txt", "json:caption"), ""),
        ({"json": b'{"caption": null, "alt": "from alt"}'}, ("txt", "json:caption", "json:alt"), "from alt"),
    ],
)
def test_the_caption_is_the_first_that_exists(
    tmp_path: Path, members: dict[str, bytes], captions: tuple[str, ...], expected: str
) -> None:
    path = write(tmp_path / "a.tar", [("k.jpg", b"x"), *((f"k.{suffix}", data) for suffix, data in members.items())])
    assert good(WebDatasetSource(path, captions=captions))[0].answers() == expected


def test_a_key_without_media_is_a_document(tmp_path: Path) -> None:
    assert good(WebDatasetSource(write(tmp_path / "a.tar", [("k.txt", b"text")])))[0].turns == (
        Turn(role="assistant", text="text"),
    )


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 6), size=st.integers(1, 300))
def test_part_limits_change_neither_ids_nor_order(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "parts.tar"
    members = [(f"k{i % 7}.{suffix}", b"x" * (i * 9)) for i in range(9) for suffix in ("jpg", "txt")]
    source = WebDatasetSource(write(path, members))
    limits = PartLimits(rows=rows, bytes=size)
    whole = read_all(source)
    assert places(read_all(source, limits)) == places(whole)
    assert len(whole) == 9
    assert all(part.rows <= rows and (part.bytes <= size or part.rows == 1) for part in source.parts(limits))


def test_each_bad_member_costs_its_own_sample(tmp_path: Path) -> None:
    members = [
        ("a.jpg", b"x"), ("a.txt", b"fine"),
        ("b.jpg", b""), ("b.txt", b"empty picture"),
        ("c.jpg", b"x"), ("c.txt", b"caf\xe9"),
        ("d.jpg", b"x"), ("d.json", b"{broken"),
        ("e.jpg", b"x"),
        ("../../f.jpg", b"x"), ("../../f.txt", b"climbs"),
        ("README", b"x"),
        ("a.txt", b"again"),
        ("g.jpg", b"x"), ("g.txt", b"fine too"), ("._g.jpg", b"mac"),
    ]  # fmt: skip
    fine, bad = split(WebDatasetSource(write(tmp_path / "a.tar", members)))
    assert [sample.answers() for sample in fine] == ["fine", "fine too"]
    found = [
        "'b.jpg' is empty",
        "'c.txt' is not UTF-8",
        "broken JSON",
        "no caption: looked for txt",
        "unsafe member name '../../f.jpg'",
    ]
    found += ["'README' has no key or no suffix", "key 'a' at byte"]
    for sample, message in zip(bad, found, strict=True):
        assert message in sample.message
        assert sample.message.startswith("a.tar: key ")
    assert len({sample.id for sample in bad}) == len(bad)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_cut_tar_costs_one_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [(f"{key}.{end}", b"x" * 600) for key in "abc" for end in ("jpg", "txt")])
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: data.index(b"c.txt") + 700])
    fine, bad = split(WebDatasetSource(path))
    assert [sample.origin.name for sample in fine] == ["a", "b"]
    assert [sample.origin.name for sample in bad] == ["c"]
    assert "truncated" in bad[0].message


def test_a_large_member_is_referred_to_and_never_inline(tmp_path: Path) -> None:
    size = INLINE_BYTES + 7
    path = tmp_path / "a.tar"
    info, caption = tarfile.TarInfo("k.mp4"), tarfile.TarInfo("k.txt")
    info.size, caption.size = size, 4
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.seek(size, io.SEEK_CUR)
        file.seek(-size % 512, io.SEEK_CUR)
        file.write(caption.tobuf(tarfile.USTAR_FORMAT) + b"clip".ljust(512 * 3, b"\0"))
    medium = good(WebDatasetSource(str(path)))[0].media[0]
    assert medium.data is None
    assert medium.size == size
    assert medium.digest == blake3(bytes(size)).hexdigest()


def test_an_empty_tar_is_one_bad_sample_and_a_compressed_one_is_refused(tmp_path: Path) -> None:
    kept, bad = split(WebDatasetSource(write(tmp_path / "a.tar", [])))
    assert (kept, [sample.origin.name for sample in bad]) == ([], ["a.tar#0"])
    assert "a.tar" in bad[0].message
    assert "holds no samples" in bad[0].message
    (tmp_path / "b.tar.gz").write_bytes(b"x")
    with pytest.raises(RecipeError, match="compressed"):
        WebDatasetSource(str(tmp_path / "b.tar.gz")).parts(PartLimits())
