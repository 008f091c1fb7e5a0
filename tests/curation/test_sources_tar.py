import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.sources.tar import TarError, pax_records, split_name, tar_groups, walk


def tar(members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


NAMES = st.text("abä漢/. -", min_size=1, max_size=300).filter(
    lambda name: not name.startswith("/") and name.strip("/") == name and ".." not in name and not name.startswith("./")
)


@settings(max_examples=60, deadline=None)
@given(
    members=st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_members_are_those_that_tarfile_wrote(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]], form: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "walk.tar"
    path.write_bytes(tar(members, form))
    data = path.read_bytes()
    walked = list(walk(str(path)))
    assert [(m.name, data[m.offset : m.offset + m.size], m.fault) for m in walked] == [(n, d, "") for n, d in members]


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), at=st.integers(0, 3000), cut=st.integers(0, 6000))
def test_any_damage_raises_nothing_but_a_tar_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, cut: int
) -> None:
    whole = tar([("a.jpg", b"x" * 700), ("ä" * 150 + ".txt", b"y" * 30), ("b.jpg", b"z")])
    damaged = whole[:at] + data + whole[at + len(data) :]
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(damaged[: max(cut, 1)])
    try:
        for member in walk(str(path)):
            assert member.fault or member.offset + member.size <= len(damaged)
    except TarError:
        pass
    assert all(group.fault or group.members for group in tar_groups(str(path)))


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=60) | st.text("0123456789 =pathsize\n", max_size=40).map(str.encode))
def test_any_bytes_as_pax_records_raise_nothing_but_a_tar_error(body: bytes) -> None:
    try:
        records = pax_records(body)
    except TarError:
        return
    assert all(isinstance(value, bytes) for value in records.values())


@pytest.mark.parametrize("cut", [1, 511, 513, 1030, 1536, 2047])
def test_a_cut_tar_keeps_what_is_before_and_names_the_byte(tmp_path: Path, cut: int) -> None:
    whole = tar([("a.txt", b"1"), ("b.jpg", b"x" * 600), ("b.txt", b"2")])
    path = write(tmp_path / "a.tar", whole[: 1024 + cut])
    groups = tar_groups(path)
    # Where the next header is gone too, the sample before the cut may lack members.
    assert [bool(group.fault) for group in groups] == ([True] if cut < 512 else [False, True])
    assert "truncated" in groups[-1].fault
    in_data = 512 <= cut < 1536
    assert ("at byte 1,536 declares 600 bytes" if in_data else f"ends at byte {1024 + cut:,}") in groups[-1].fault


def test_a_tar_without_end_marker_may_lack_members_of_its_last_sample(tmp_path: Path) -> None:
    whole = tar([("a.txt", b"1"), ("b.txt", b"2")])
    groups = tar_groups(write(tmp_path / "a.tar", whole[:2048]))
    assert groups[0].fault == ""
    assert "ends at byte 2,048 without an end marker" in groups[1].fault


def test_a_tar_without_samples_and_an_empty_file_are_one_fault_each(tmp_path: Path) -> None:
    assert ["holds no samples" in group.fault for group in tar_groups(write(tmp_path / "a.tar", tar([])))] == [True]
    assert [group.fault != "" for group in tar_groups(write(tmp_path / "b.tar", b""))] == [True]
    assert [group.fault != "" for group in tar_groups(write(tmp_path / "c.tar", b"no tar" * 200))] == [True]


def header(name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (header("b.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd"), "a symbolic link"),
        (header("b.jpg", kind=tarfile.LNKTYPE, link="a.txt"), "a hard link"),
        (header("b.jpg", kind=tarfile.CHRTYPE), "a device"),
        (header("b.jpg", kind=tarfile.FIFOTYPE), "a named pipe"),
        (header("b.jpg", kind=b"S"), "a sparse file"),
        (header("b.jpg", kind=b"Z"), "unknown type"),
        (header("../../b.jpg"), "unsafe member name"),
        (header("/b.jpg"), "unsafe member name"),
        (header("x\\b.jpg"), "unsafe member name"),
        (header("b.jpg", size=8 << 40), "declares 8,796,093,022,208 bytes"),
    ],
)
def test_a_hostile_member_is_one_fault_that_names_it(tmp_path: Path, block: bytes, message: str) -> None:
    data = tar([("a.txt", b"1")])[:1024] + block + tar([("c.txt", b"3")])
    groups = tar_groups(write(tmp_path / "a.tar", data))
    assert groups[0].fault == ""
    assert message in groups[1].fault
    assert "b.jpg" in groups[1].fault
    assert len(groups) == (2 if "declares" in message else 3)


def test_a_long_name_and_a_huge_extended_header_are_refused(tmp_path: Path) -> None:
    long = tar_groups(write(tmp_path / "a.tar", tar([("x" * 2000 + ".jpg", b"1"), ("b.txt", b"2")])))
    assert [group.fault[:18] for group in long] == ["unsafe member name", ""]
    huge = header("x", size=5 << 20, kind=tarfile.XHDTYPE) + bytes(6 << 20)
    assert "extended header at byte 0 has 5,242,880 bytes" in tar_groups(write(tmp_path / "b.tar", huge))[0].fault


def test_repeated_keys_and_members_are_faults_that_name_both_places(tmp_path: Path) -> None:
    names = ["a.jpg", "a.txt", "b.jpg", "b.jpg", "a.txt", "c.jpg"]
    groups = tar_groups(write(tmp_path / "a.tar", tar([(name, b"x") for name in names])))
    assert [group.key for group in groups] == ["a", "b", "a", "c"]
    assert [bool(group.fault) for group in groups] == [False, True, True, False]
    assert "member 'b.jpg' stands twice, at bytes 2,048 and 3,072" in groups[1].fault
    assert "key 'a' at byte 4,096 stands at byte 0 already" in groups[2].fault


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", "jpg")),
        ("d.x/a.0.JPG", ("d.x/a", "0.jpg")),
        ("README", ("README", "")),
        ("d/._a.jpg", ("", None)),
        (".a", ("", "a")),
    ],
)
def test_a_name_is_cut_at_the_first_dot_of_its_last_component(name: str, expected: tuple[str, str | None]) -> None:
    assert split_name(name) == expected
