from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import good, places, read_all, split

from curation.media.read import read_reference
from curation.operator import PartLimits, RecipeError
from curation.sample import BadSample, Reference, Sample, Turn
from curation.sources import ParquetSource


def write(path: Path, columns: dict[str, object], *, group: int = 4) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return str(path)


def images(path: Path, count: int = 10, *, group: int = 4) -> str:
    data = [f"picture {i}".encode() * (i + 1) for i in range(count)]
    return write(path, {"image": data, "text": [f"caption {i}" for i in range(count)]}, group=group)


def test_a_row_becomes_a_caption_with_its_picture_and_its_origin(tmp_path: Path) -> None:
    columns = {"image": [b"bytes"], "text": ["a <image> of a cat"], "key": [7], "terms": ["MIT"], "link": ["http://x"]}
    path = write(tmp_path / "a.parquet", columns)
    sample = good(ParquetSource(path, id="key", licence="terms", url="link"))[0]
    assert sample.turns == (Turn(role="user", text="<image>"), Turn(role="assistant", text="a < image> of a cat"))
    assert (sample.origin.name, sample.origin.licence, sample.origin.url) == ("7", "MIT", "http://x")
    assert sample.origin.locator == "a.parquet#0"
    assert sample.media[0].data == b"bytes"
    assert sample.media[0].digest == blake3(b"bytes").hexdigest()
    assert sample.media[0].reference == Reference(uri=path, member="column:image", offset=0, size=5)


@pytest.mark.parametrize("struct", [False, True])
def test_references_bring_the_bytes_back(tmp_path: Path, struct: bool) -> None:
    data = [f"picture {i}".encode() for i in range(9)]
    cells = [{"bytes": value, "path": "x.jpg"} for value in data] if struct else data
    path = write(tmp_path / "a.parquet", {"image": cells, "text": ["caption"] * 9})
    media = [sample.media[0] for sample in good(ParquetSource(path))]
    assert [read_reference(medium.reference) for medium in media if medium.reference] == data
    assert [medium.data for medium in media] == data


def test_rows_without_an_image_column_are_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["one", None, "three"]})
    assert [s.turns for s in good(ParquetSource(path, image=""))] == [
        (Turn(role="assistant", text=text),) for text in ("one", "", "three")
    ]


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 12), size=st.integers(1, 400), group=st.integers(1, 11))
def test_part_limits_change_neither_ids_nor_order(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: int, group: int
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    images(folder / "a.parquet", 10, group=group)
    images(folder / "b.parquet", 3, group=group)
    source = ParquetSource(str(folder), title="t")
    limits = PartLimits(rows=rows, bytes=size)
    parts = source.parts(limits)
    assert places(read_all(source, limits)) == places(read_all(source))
    assert all(part.rows <= rows and (part.bytes <= size or part.rows == 1) for part in parts)
    assert [len(list(source.read(part))) for part in parts] == [part.rows for part in parts]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("first", ["own", "one", ""]), ("longest", ["own and longer", "longest of all", ""])],
)
def test_captions_are_chosen_from_the_list(tmp_path: Path, choice: str, expected: list[str]) -> None:
    texts = [["x", "own and longer"], ["one", None, "longest of all"], None]
    path = write(tmp_path / "a.parquet", {"image": [b"x"] * 3, "text": ["own", "", None], "texts": texts})
    source = ParquetSource(path, texts="texts", choice=choice)  # pyright: ignore[reportArgumentType]
    assert [sample.answers() for sample in good(source)] == expected


def test_bad_cells_cost_their_own_row_only(tmp_path: Path) -> None:
    text = pa.array([b"fine", b"caf\xe9", b"fine", b"fine"], pa.binary()).view(pa.string())
    path = write(tmp_path / "a.parquet", {"image": [b"x", b"x", None, b""], "text": text})
    fine, bad = split(ParquetSource(path))
    assert [sample.origin.locator for sample in fine] == ["a.parquet#0"]
    assert [sample.origin.locator for sample in bad] == ["a.parquet#1", "a.parquet#2", "a.parquet#3"]
    assert "row 1 of a.parquet: column 'text' is not UTF-8 at byte 3" in bad[0].message
    assert bad[0].error == "UnicodeDecodeError"
    assert all("holds no bytes" in sample.message for sample in bad[1:])


def test_a_file_that_is_no_parquet_is_one_bad_sample(tmp_path: Path) -> None:
    images(tmp_path / "a.parquet", 2)
    (tmp_path / "b.parquet").write_bytes(b"not parquet at all")
    (tmp_path / "c.parquet").write_bytes(b"")
    fine, bad = split(ParquetSource(str(tmp_path)))
    assert len(fine) == 2
    assert [sample.origin.locator for sample in bad] == ["b.parquet", "c.parquet"]
    assert all("not readable as Parquet" in sample.message for sample in bad)


def test_a_damaged_row_group_costs_its_rows_whatever_the_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    images(path, 12, group=4)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    with path.open("r+b") as file:
        file.seek(column.data_page_offset)
        file.write(b"\xff" * 16)
    whole = read_all(ParquetSource(str(path)))
    assert [isinstance(sample, Sample) for sample in whole] == [True] * 4 + [False] * 4 + [True] * 4
    assert all("row group 1 is damaged" in sample.message for sample in whole if isinstance(sample, BadSample))
    assert places(read_all(ParquetSource(str(path)), PartLimits(rows=3))) == places(whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"text": "caption"}, "no column 'caption' but image, text"), ({"image": "text"}, "wanted encoded bytes")],
)
def test_a_wrong_column_is_a_recipe_error(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    path = images(tmp_path / "a.parquet")
    with pytest.raises(RecipeError, match=message):
        ParquetSource(path, **settings).parts(PartLimits())  # pyright: ignore[reportArgumentType]
