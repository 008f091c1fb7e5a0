import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import good, places, read_all, split

from curation.operator import PartLimits
from curation.sample import BadSample, Sample
from curation.sources import JsonlSource
from curation.sources.lines import MAX_LINE_BYTES, list_elements

LINES = b"".join(
    json.dumps({"text": f"document {i} " + "x" * (i * 7 % 50), "id": i}).encode() + b"\n" for i in range(40)
)


def write(path: Path, data: bytes) -> str:
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".zst":
        data = zstandard.compress(data[: len(data) // 2]) + zstandard.compress(data[len(data) // 2 :])
    path.write_bytes(data)
    return str(path)


def test_plain_and_compressed_files_hold_the_same_documents(tmp_path: Path) -> None:
    read = [good(JsonlSource(write(tmp_path / f"a.jsonl{end}", LINES), id="id")) for end in ("", ".gz", ".zst")]
    assert [s.answers() for s in read[0]] == [json.loads(line)["text"] for line in LINES.splitlines()]
    assert [s.turns for s in read[0]] == [s.turns for s in read[1]] == [s.turns for s in read[2]]
    offsets = [s.origin.locator.rpartition("#")[2] for s in read[2]]
    assert offsets == [s.origin.locator.rpartition("#")[2] for s in read[0]]
    assert LINES[int(offsets[7]) :].startswith(b'{"text": "document 7 ')


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(
        st.sampled_from([b'{"text": "a"}', b"", b"  ", b"{", b'{"text": "\xff"}', b'{"text": "longer text"}']),
        max_size=12,
    ),
    rows=st.integers(1, 5),
    size=st.integers(1, 60),
    closed=st.booleans(),
)
def test_part_limits_change_neither_ids_nor_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], rows: int, size: int, closed: bool
) -> None:
    path = write(tmp_path_factory.mktemp("jsonl") / "a.jsonl", b"\n".join(lines) + b"\n" * closed)
    whole = read_all(JsonlSource(path))
    assert places(read_all(JsonlSource(path), PartLimits(rows=rows, bytes=size))) == places(whole)
    assert len(whole) == sum(bool(line.strip()) for line in lines)


def test_bad_lines_are_named_by_number_and_cost_themselves_only(tmp_path: Path) -> None:
    lines = [
        b'{"text": "fine"}',
        b'{"text": "caf\xe9"}',
        b'{"text": ',
        b"[1, 2]",
        b"",
        b'{"txt": "x"}',
        b'{"text": 5}',
        b"[" * 100_000,
    ]
    lines += [b'{"text": 1' + b"0" * 5000 + b"}", b'{"text": "\\ud800"}', b'{"text": "fine too"}']
    fine, bad = split(JsonlSource(write(tmp_path / "a.jsonl", b"\n".join(lines))))
    assert [sample.answers() for sample in fine] == ["fine", "fine too"]
    found = [
        "not UTF-8",
        "broken JSON",
        "wanted an object",
        "is NoneType",
        "is int",
        "refused JSON",
        "refused JSON",
        "lone surrogate",
    ]
    for sample, number, message in zip(bad, (2, 3, 4, 6, 7, 8, 9, 10), found, strict=True):
        assert sample.message.startswith(f"line {number}: ")
        assert message in sample.message


def test_line_numbers_do_not_depend_on_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", LINES + b"{broken\n" + LINES + b"{broken\n")
    for limits in (PartLimits(), PartLimits(rows=1, bytes=30)):
        messages = [s.message for s in read_all(JsonlSource(path), limits) if isinstance(s, BadSample)]
        assert [message.split(":")[0] for message in messages] == ["line 41", "line 82"]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_an_endless_line_is_one_bad_sample_and_what_follows_is_read(tmp_path: Path, end: str) -> None:
    endless = b'{"text": "' + b"x" * (MAX_LINE_BYTES + 5) + b'"}\n'
    path = write(tmp_path / f"a.jsonl{end}", LINES[:60] + b"\n" + endless + b'{"text": "after"}\n')
    fine, bad = split(JsonlSource(path))
    assert fine[-1].answers() == "after"
    assert f"{len(endless):,} bytes long, limit {MAX_LINE_BYTES:,}" in bad[-1].message


def test_a_cut_compressed_file_gives_what_is_whole_and_one_bad_sample(tmp_path: Path) -> None:
    noise = "".join(chr(33 + (i * i * 31 + i // 7) % 90) for i in range(3_000_000)).replace('"', "a").replace("\\", "b")
    data = b"".join(json.dumps({"text": noise[i : i + 3000]}).encode() + b"\n" for i in range(0, len(noise), 3000))
    for end in (".gz", ".zst"):
        path = tmp_path / f"a.jsonl{end}"
        write(path, data)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
        fine, bad = split(JsonlSource(str(path)))
        assert [sample.answers() for sample in fine] == [noise[i * 3000 : i * 3000 + 3000] for i in range(len(fine))]
        assert len(bad) == 1, end


def test_a_file_that_is_not_compressed_as_named_is_one_bad_sample(tmp_path: Path) -> None:
    for end in (".gz", ".zst"):
        (tmp_path / f"a.jsonl{end}").write_bytes(LINES)
        read = read_all(JsonlSource(str(tmp_path / f"a.jsonl{end}")))
        assert [isinstance(sample, Sample) for sample in read] == [False]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    assert (
        good(JsonlSource(write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n')))[0].answers()
        == "a"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text('ab"\\[]{},\n\u00e9', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"]{\\', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=6),
    indent=st.sampled_from([None, 1]),
)
def test_list_elements_are_what_json_parses(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], indent: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "list.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=False))
    elements = list(list_elements(str(path)))
    assert [json.loads(element.data) for element in elements] == values
    for number, element in enumerate(elements):
        assert [later.data for later in list_elements(str(path), element.offset)] == [e.data for e in elements[number:]]


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=60) | st.text('[]{}",:\\ 1a', max_size=40).map(str.encode))
def test_any_bytes_as_a_list_raise_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(data)
    for element in list_elements(str(path)):
        assert element.fault or element.data[:1] in b"[{"
