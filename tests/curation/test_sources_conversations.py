import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import good, places, read_all, split

from curation.media.read import read_reference
from curation.operator import PartLimits, RecipeError
from curation.sample import Turn
from curation.sources import ConversationSource, FolderMedia, ParquetMedia, Resolver, TarMedia


def human(text: object) -> dict[str, object]:
    return {"from": "human", "value": text}


def gpt(text: object) -> dict[str, object]:
    return {"from": "gpt", "value": text}


def write(folder: Path, *conversations: object, name: str = "talks.jsonl") -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(conversations, indent=1))
    else:
        path.write_text("".join(json.dumps(c) + "\n" for c in conversations))
    return str(path)


@pytest.fixture
def media(tmp_path: Path) -> tuple[Resolver, ...]:
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "v.mp4"):
        (folder / name).write_bytes(name.encode())
    return (FolderMedia(folder=str(folder)),)


def turns(path: str, media: tuple[Resolver, ...] = ()) -> tuple[Turn, ...]:
    return good(ConversationSource(path, media=media))[0].turns


def test_tags_anywhere_in_human_turns_are_the_places_of_the_media(tmp_path: Path, media: tuple[Resolver, ...]) -> None:
    talk = {
        "id": 5, "license": "MIT", "source_url": "http://x", "image": ["a.jpg", "b.jpg"], "video": "v.mp4",
        "conversations": [human("See <image> and <video>"), gpt("a <image> tag"), human("and\n<image>?"), gpt("ok")],
    }  # fmt: skip
    sample = good(ConversationSource(write(tmp_path, talk), media=media))[0]
    assert [turn.text for turn in sample.turns] == ["See <image> and <video>", "a < image> tag", "and\n<image>?", "ok"]
    assert [medium.data for medium in sample.media] == [b"a.jpg", b"v.mp4", b"b.jpg"]
    assert (sample.origin.name, sample.origin.licence, sample.origin.url) == ("5", "MIT", "http://x")


def test_without_a_tag_the_media_stand_first(tmp_path: Path, media: tuple[Resolver, ...]) -> None:
    talk = {"image": ["a.jpg", "b.jpg"], "conversations": [human("Compare."), gpt("Same.")]}
    assert turns(write(tmp_path, talk), media)[0] == Turn(role="user", text="<image>\n<image>\nCompare.")


def test_leading_answers_are_dropped_and_system_turns_kept(tmp_path: Path) -> None:
    messages = [gpt("hello"), {"role": "system", "content": "be <image> brief"}, gpt("hello"), human("Hi"), gpt("Hi.")]
    assert turns(write(tmp_path, {"conversations": messages})) == (
        Turn(role="system", text="be < image> brief"),
        Turn(role="user", text="Hi"),
        Turn(role="assistant", text="Hi."),
    )


def stream(times: list[object], **fields: object) -> dict[str, object]:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": f"say {i}", "time": time} for i, time in enumerate(times)]
    return {"stream": True, "video": ["v.mp4"], "conversation": messages, **fields}


def test_a_stream_is_its_video_and_then_what_is_said_when(tmp_path: Path, media: tuple[Resolver, ...]) -> None:
    path = write(tmp_path, stream([0, 2.5], start_time=0, end_time=3.0), stream([7, 7], start_time=4))
    first, second = good(ConversationSource(path, media=media))
    assert first.turns == (
        Turn(role="stream", text="<video>"),
        Turn(role="user", text="say 0", time=0.0),
        Turn(role="assistant", text="say 1", time=2.5),
    )
    assert second.turns[0].time == 4.0


BAD: list[tuple[object, str]] = [
    (
        {"image": ["a.jpg"], "conversations": [human("<image><image> Compare."), gpt("ok")]},
        "2 <image>, the sample has 1 <image>",
    ),
    ({"conversations": [human("What is on <image>?"), gpt("ok")]}, "1 <image>, the sample has no media"),
    ({"image": "x.jpg", "conversations": [human("Hi"), gpt("ok")]}, "names 'x.jpg', not found in media"),
    ({"image": "../talks.jsonl", "conversations": [human("Hi"), gpt("ok")]}, "unsafe media name '../talks.jsonl'"),
    ({"image": "/etc/passwd", "conversations": [human("Hi"), gpt("ok")]}, "unsafe media name '/etc/passwd'"),
    ({"image": "link.jpg", "conversations": [human("Hi"), gpt("ok")]}, "a link that leaves media"),
    ({"image": "empty.jpg", "conversations": [human("Hi"), gpt("ok")]}, "'empty.jpg', which is empty"),
    ({"image": [1], "conversations": [human("Hi"), gpt("ok")]}, "wanted a name or a list of names"),
    ({"conversations": [gpt("ok")]}, "no human message"),
    ({"conversations": []}, "no conversations"),
    ({"conversations": "text"}, "no conversations"),
    ({"conversations": ["text"]}, "message 1 is str"),
    ({"conversations": [human("Hi"), {"from": "tool", "value": "x"}]}, "message 2 is from 'tool'"),
    ({"conversations": [human(["Hi"])]}, "message 1 holds list"),
    ([1], "holds a JSON list"),
    (stream([3, 2]), "message at 2 s: wanted times that ascend, here from 3 s"),
    (stream([3, 9], end_time=8), "here from 3 s to 8 s"),
    (stream(["x", 2]), "time is 'x': wanted seconds"),
    (stream([0, 10**400]), "wanted seconds"),
    ({**stream([0, 1]), "video": None}, "1 <video>, the sample has no media"),
]


def test_each_bad_conversation_is_named_and_costs_itself_only(tmp_path: Path, media: tuple[Resolver, ...]) -> None:
    (tmp_path / "media" / "link.jpg").symlink_to("../talks.jsonl")
    (tmp_path / "media" / "empty.jpg").touch()
    fine = {"image": "a.jpg", "conversations": [human("Hi"), gpt("ok")]}
    path = write(tmp_path, fine, *(talk for talk, _ in BAD), fine)
    read, bad = split(ConversationSource(path, media=media))
    assert len(read) == 2
    for number, (sample, (_, message)) in enumerate(zip(bad, BAD, strict=True), 2):
        assert sample.message.startswith(f"line {number}: ")
        assert message in sample.message


def test_a_list_gives_what_lines_give_and_is_cut_anywhere(tmp_path: Path) -> None:
    talks = [{"id": f"t{i}", "conversations": [human(f'Say "{i}" [{{'), gpt("x" * i)]} for i in range(20)]
    lines = good(ConversationSource(write(tmp_path, *talks)))
    path = write(tmp_path, *talks, name="talks.json")
    whole = read_all(ConversationSource(path))
    assert [s.turns for s in lines] == [s.turns for s in whole]  # pyright: ignore[reportAttributeAccessIssue]
    for limits in (PartLimits(rows=1), PartLimits(rows=3, bytes=700), PartLimits(bytes=1)):
        assert places(read_all(ConversationSource(path), limits)) == places(whole)
    Path(path).write_text(Path(path).read_text()[:-40])
    fine, bad = split(ConversationSource(path))
    assert len(fine) == 19
    assert "not closed" in bad[0].message


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4), size=st.integers(1, 200), name=st.sampled_from(["p.json", "p.jsonl"]))
def test_part_limits_change_neither_ids_nor_order(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: int, name: str
) -> None:
    talks: list[Any] = [{"id": i, "conversations": [human("Hi" * i), gpt("x")] if i % 3 else [7]} for i in range(8)]
    path = write(tmp_path_factory.getbasetemp() / "parts", *talks, 7, name=name)
    whole = read_all(ConversationSource(path))
    assert places(read_all(ConversationSource(path), PartLimits(rows=rows, bytes=size))) == places(whole)
    assert len(whole) == 9


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text("a<image>\ud800\0", max_size=12)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "value", "role", "content", "time"]), inner, max_size=4)
        | st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "system"]), "value": inner})
    ),
    max_leaves=10,
)
KEYS = st.sampled_from(
    ["id", "image", "video", "conversations", "conversation", "stream", "start_time", "end_time", "license"]
)


@settings(max_examples=120, deadline=None)
@given(talk=st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_object_is_a_sample_or_a_bad_sample(tmp_path_factory: pytest.TempPathFactory, talk: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    path = write(folder, talk)
    read = read_all(ConversationSource(path, media=(FolderMedia(folder=str(folder)),)))
    assert len(read) == 1
    json.dumps([read[0].origin.name, read[0].origin.licence]).encode()
    read[0].origin.name.encode()


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=120))
@pytest.mark.parametrize("end", [".jsonl", ".json", ".jsonl.gz", ".jsonl.zst", ".json.gz"])
def test_any_bytes_raise_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes, end: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{end}"
    path.write_bytes(data)
    for sample in read_all(ConversationSource(str(path))):
        assert sample.origin.locator.startswith("any.")


@pytest.fixture
def tars(tmp_path: Path) -> str:
    (tmp_path / "x.jpg").write_bytes(b"from tar")
    for name, members in (("a.tar", ["x.jpg", "twice.jpg"]), ("b.tar", ["twice.jpg"])):
        with tarfile.open(tmp_path / name, "w", format=tarfile.GNU_FORMAT) as file:
            for member in members:
                file.add(tmp_path / "x.jpg", arcname=member)
    os.truncate(tmp_path / "b.tar", 1024)
    return str(tmp_path / "*.tar")


@pytest.fixture
def table(tmp_path: Path) -> str:
    rows = [{"bytes": f"cell {i}".encode(), "path": f"p{i // 2}.jpg" if i < 4 else f"q{i}.jpg"} for i in range(10)]
    columns = pa.table({"image": rows, "raw": [row["bytes"] for row in rows], "name": [row["path"] for row in rows]})
    pq.write_table(columns, tmp_path / "a.parquet", row_group_size=3)
    return str(tmp_path / "a.parquet")


def test_names_lead_into_tars_and_back(tmp_path: Path, tars: str) -> None:
    find = TarMedia(tars=tars).open()
    medium = find("x.jpg", "image")
    assert medium is not None
    assert medium.reference is not None
    assert medium.data == b"from tar" == read_reference(medium.reference)
    assert find("y.jpg", "image") is None
    path = write(tmp_path, {"image": "twice.jpg", "conversations": [human("Hi"), gpt("ok")]})
    _, bad = split(ConversationSource(path, media=(TarMedia(tars=tars),)))
    assert "'twice.jpg', which stands 2 times" in bad[0].message
    assert len(good(ConversationSource(path, media=(TarMedia(tars=tars, repeats="first"),)))) == 1


@pytest.mark.parametrize(
    ("column", "image", "member"),
    [
        ("name", "raw", "column:raw"),
        ("image.path", "image", "column:image.bytes"),
        ("name", "image.bytes", "column:image.bytes"),
    ],
)
def test_names_lead_into_parquet_and_back(table: str, column: str, image: str, member: str) -> None:
    find = ParquetMedia(paths=table, column=column, image=image).open()
    for row in (9, 4, 7):
        medium = find(f"q{row}.jpg", "image")
        assert medium is not None
        assert medium.reference is not None
        assert medium.data == f"cell {row}".encode() == read_reference(medium.reference)
        assert (medium.reference.member, medium.reference.offset) == (member, row)
    assert find("nothing.jpg", "image") is None


def test_a_resolver_without_its_column_is_a_recipe_error(table: str) -> None:
    with pytest.raises(RecipeError, match="no column 'file_name' but image, raw, name"):
        ParquetMedia(paths=table).open()


def test_files_name_what_the_samples_depend_on(tmp_path: Path, tars: str, table: str) -> None:
    path = write(tmp_path, {"conversations": [human("Hi"), gpt("ok")]})
    source = ConversationSource(
        path, media=(TarMedia(tars=tars), ParquetMedia(paths=table, column="name", image="raw"))
    )
    assert [Path(file).name for file in source.files()] == ["a.parquet", "a.tar", "b.tar", "talks.jsonl"]
