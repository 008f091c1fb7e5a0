"""Record sources: every container, its dirt, and places that do not depend on how parts are cut."""

import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import good, places, read_all, split

from curation.forms import Captioned, Dialogue, Document, OcrTasks, Questions
from curation.forms.places import BoxLayout, Words
from curation.media.read import read_reference
from curation.operator import PartLimits, RecipeError
from curation.sample import BadSample, Sample
from curation.sources import FolderMedia
from curation.sources.coco import CocoRecords
from curation.sources.record_files import FileRecords, JsonRecords, LineRecords, NextRecords, TableRecords
from curation.sources.record_tables import ParquetRecords, TarRecords
from curation.sources.records import Records, RecordSource

TEXT = Document(text="t", id="n")
SMALL = PartLimits(rows=2, bytes=200)


def source(path: object, records: Records, form: Any = TEXT, **more: Any) -> RecordSource:
    return RecordSource(str(path), records=records, form=form, **more)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"n": f"r{i}", "t": f'text {i} 漢 {{[ " }}', "nested": {"data": [{"t": "no"}]}} for i in range(count)]


def put(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return path


def containers(root: Path, count: int) -> dict[str, RecordSource]:
    """The same records in every container of one file."""
    told = rows(count)
    put(root / "list.json", told)
    put(root / "lines.jsonl", "".join(json.dumps(row) + "\n" for row in told))
    put(root / "nested.json", {"info": {"data": "[no]", "list": [{"t": "no"}]}, "data": told, "after": [{"t": "no"}]})
    put(root / "map.json", {"database": {row["n"]: row for row in told}})
    put(
        root / "table.csv",
        "n,t\n" + "".join(f'{row["n"]},"{row["t"].replace(chr(34), chr(34) * 2)}"\n' for row in told),
    )
    put(
        root / "table.tsv",
        "n\tt\n" + "".join(f'{row["n"]}\t"{row["t"].replace(chr(34), chr(34) * 2)}"\n' for row in told),
    )
    (root / "packed.json.gz").write_bytes(gzip.compress(json.dumps({"data": told}).encode()))
    pq.write_table(pa.Table.from_pylist(told), root / "rows.parquet", row_group_size=2)
    with tarfile.open(root / "keys.tar", "w") as tar:
        for row in told:
            info = tarfile.TarInfo(f"{row['n']}.json")
            data = json.dumps(row).encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for row in told:
        put(root / "files" / f"{row['n']}.json", row)
    kinds: dict[str, Records] = {
        "list.json": JsonRecords(), "lines.jsonl": JsonRecords(), "nested.json": JsonRecords(at="data"),
        "map.json": JsonRecords(at="database.*"), "table.csv": TableRecords(), "table.tsv": TableRecords(),
        "packed.json.gz": JsonRecords(at="data"), "rows.parquet": ParquetRecords(), "keys.tar": TarRecords(),
        "files/*.json": FileRecords(),
    }  # fmt: skip
    return {name: source(root / name, records) for name, records in kinds.items()}


def test_the_same_records_come_out_of_every_container(tmp_path: Path) -> None:
    wanted = [(row["n"], row["t"]) for row in rows(7)]
    for name, read in containers(tmp_path, 7).items():
        assert [(s.origin.name, s.answers()) for s in good(read)] == wanted, name


def test_ids_do_not_depend_on_parts(tmp_path: Path) -> None:
    for name, read in containers(tmp_path, 9).items():
        assert places(read_all(read, SMALL)) == places(read_all(read)), name
        if not name.startswith("packed"):
            assert len(read.parts(SMALL)) > 1, name


def test_a_broken_record_costs_itself(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", '{"t": "one"}\n{"t": \nnull\n{"t": 3}\n{"t": ["x"]}\n{"t": "two"}\n')
    fine, bad = split(source(tmp_path / "a.jsonl", JsonRecords()))
    assert [s.answers() for s in fine] == ["one", "3", "two"]
    assert len(bad) == 3
    assert all("a.jsonl#" in b.message for b in bad)
    put(tmp_path / "m.json", {"a": {"t": "one"}, "b": [1], "c": {"t": None}})
    fine, bad = split(source(tmp_path / "m.json", JsonRecords(at="*")))
    assert ([s.answers() for s in fine], len(bad)) == (["one"], 2)


@pytest.mark.parametrize(
    ("content", "at", "told"),
    [
        ("", "data", "truncated"),
        ('{"data": {"t": "x"}}', "data", "no JSON list"),
        ('{"data": [{"t": "x"}, {"t": ', "data", "truncated"),
        ("[1, 2", "*", "no JSON"),
        ("[]", "*", "no map"),
        ("[" * 100_000, "*", "no JSON"),
        ("\xff\xfe", "*", "no"),
    ],
)
def test_a_file_of_another_shape_says_so(tmp_path: Path, content: str, at: str, told: str) -> None:
    (tmp_path / "x.json").write_bytes(content.encode("latin-1"))
    bad = [item for item in read_all(source(tmp_path / "x.json", JsonRecords(at=at))) if isinstance(item, BadSample)]
    assert bad
    assert told in bad[-1].message


def test_pickles_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps([{"t": "x"}]))
    with pytest.raises(RecipeError, match="nothing to read"):
        source(tmp_path, JsonRecords()).parts(PartLimits())
    bad = read_all(source(tmp_path / "refs(unc).p", JsonRecords()))
    assert bad
    assert all(isinstance(item, BadSample) for item in bad)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_bad_samples_at_worst(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    for name, records in (
        ("a.json", JsonRecords()), ("b.json", JsonRecords(at="data")), ("c.json", JsonRecords(at="*")), ("d.json", CocoRecords()),
        ("e.json", CocoRecords(maps=True)), ("f.csv", TableRecords()), ("g.txt", LineRecords()), ("h.parquet", ParquetRecords()),
        ("i.tar", TarRecords()), ("j.json", FileRecords()),
    ):  # fmt: skip
        (root / name).write_bytes(data)
        for item in read_all(source(root / name, records)):
            assert isinstance(item, Sample | BadSample)


def test_parquet_media_are_read_in_place_wherever_they_stand(tmp_path: Path) -> None:
    table = [
        {
            "images": [{"bytes": b"one", "path": "1"}, {"bytes": b"two", "path": None}],
            "texts": [{"user": "q", "assistant": "a"}],
        }
    ]
    pq.write_table(pa.Table.from_pylist(table * 3), tmp_path / "a.parquet", row_group_size=2)
    form = Dialogue(image="images", messages="texts", exchange=("user", "assistant"))
    for sample in good(source(tmp_path / "a.parquet", ParquetRecords(), form)):
        assert [m.data for m in sample.media] == [b"one", b"two"]
        assert [read_reference(m.reference) for m in sample.media if m.reference] == [b"one", b"two"]
        assert sample.turns[0].text == "<image>\n<image>\nq"


def test_a_string_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    inner = pa.array([b"fine", b"\xff\xfe", b"too"]).cast(pa.binary()).view(pa.binary())
    text = pa.StringArray.from_buffers(3, inner.buffers()[1], inner.buffers()[2])
    nested = pa.StructArray.from_arrays([text], ["t"])
    pq.write_table(pa.table({"x": nested}), tmp_path / "a.parquet")
    fine, bad = split(source(tmp_path / "a.parquet", ParquetRecords(), Document(text="x.t")))
    assert [s.answers() for s in fine] == ["fine", "too"]
    assert "not UTF-8" in bad[0].message


def test_a_table_with_quotes_line_breaks_and_a_short_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        '\ufeffn,t\r\n1,"two\r\nlines, ""quoted"""\r\n2\r\n3,last\r\n'.encode() + b"4,\xff\n"
    )
    fine, bad = split(source(tmp_path / "a.csv", TableRecords()))
    assert [s.answers() for s in fine] == ['two\r\nlines, "quoted"', "last"]
    assert [b.message.split(": ")[1] for b in bad] == [
        "1 cells, the header has 2", "assistant turn is not valid Unicode (lone surrogate)",
    ]  # fmt: skip


def coco(count: int) -> dict[str, Any]:
    return {
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 10 * i + j, "image_id": i, "category_id": 3, "n": j}
            for j in range(2)
            for i in reversed(range(count))
        ],
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(count)],
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5))
def test_annotations_are_joined_to_their_pictures(
    tmp_path_factory: pytest.TempPathFactory, count: int, step: int
) -> None:
    path = put(tmp_path_factory.mktemp("coco") / "a.json", coco(count))
    reader = CocoRecords()
    file = source(path, reader).inputs()[0]
    read = [record for part in reader.parts(file, PartLimits(rows=step)) for _, record in reader.read(part)]
    assert [r["file_name"] for r in read if isinstance(r, dict)] == [f"{i}.jpg" for i in range(count)]
    for number, record in enumerate(read):
        assert isinstance(record, dict)
        assert [(a["id"], a["category"]) for a in record["annotations"]] == [
            (10 * number, "cat"),
            (10 * number + 1, "cat"),
        ]


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "secret.jpg", "x")
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "a/../../secret.jpg", "ok.jpg"]
    put(tmp_path / "media/ok.jpg", "x")
    put(tmp_path / "a.json", [{"image": name, "caption": "a"} for name in names])
    fine, bad = split(
        source(tmp_path / "a.json", JsonRecords(), Captioned(), media=(FolderMedia(folder=f"{tmp_path}/media"),))
    )
    assert (len(fine), len(bad)) == (1, 3)


def test_tags_in_annotations_never_claim_a_medium(tmp_path: Path) -> None:
    put(tmp_path / "i/0.jpg", "x")
    put(tmp_path / "a.json", [{"image": "0.jpg", "question": "<image> and <video>?", "answer": "<video>"}])
    sample = good(
        source(
            tmp_path / "a.json", JsonRecords(), Questions(image="image"), media=(FolderMedia(folder=f"{tmp_path}/i"),)
        )
    )[0]
    assert [turn.text for turn in sample.turns] == ["<image>\n< image> and < video>?", "< video>"]


def test_the_next_record_is_known_across_parts(tmp_path: Path) -> None:
    words = [[{"text": f"word{i}", "bbox": [1, 1, 5, 5]}] for i in range(40)]
    told = [{"image": f"{i}.jpg", "width": 9, "height": 9, "words": w} for i, w in enumerate(words)]
    for i in range(40):
        put(tmp_path / f"i/{i}.jpg", f"picture {i}")
    form = OcrTasks(image="image", id="image", words=Words(items="words", layout=BoxLayout(shape="xyxy")))
    for name in ("a.json", "a.jsonl"):
        put(tmp_path / name, told if name == "a.json" else "".join(json.dumps(row) + "\n" for row in told))
        read = source(
            tmp_path / name, NextRecords(inner=JsonRecords()), form, media=(FolderMedia(folder=f"{tmp_path}/i"),)
        )
        whole = good(read)
        assert places(read_all(read, SMALL)) == places(list(whole))
        pairs = [sample for sample in whole if len(sample.media) == 2]
        assert pairs
        for sample in pairs:
            number = int(sample.origin.name.removesuffix(".jpg"))
            shown = [m.data for m in sample.media]
            own = shown.index(f"picture {number}".encode())
            assert shown[1 - own] == f"picture {number + 1}".encode()
            assert f'"word{number}"' in sample.turns[0].text
            assert sample.answers() == ("The first.", "The second.")[own]
