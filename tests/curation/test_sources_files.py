import shutil
from pathlib import Path

import pytest
from reading import good

from curation.operator import RecipeError
from curation.sample import SampleError
from curation.sources import JsonlSource
from curation.sources.files import contained_file, safe_name


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"text": "{text}"}}\n')


def test_file_folder_and_glob_find_the_same_lines(tmp_path: Path) -> None:
    write(tmp_path / "corpus" / "a.jsonl", "one")
    write(tmp_path / "corpus" / "deep" / "b.jsonl", "two")
    write(tmp_path / "corpus" / "ignored.txt", "three")
    write(tmp_path / "corpus" / ".hidden.jsonl", "four")
    assert [s.answers() for s in good(JsonlSource(str(tmp_path / "corpus")))] == ["one", "two"]
    assert [s.answers() for s in good(JsonlSource(str(tmp_path / "corpus" / "*.jsonl")))] == ["one"]
    assert [s.answers() for s in good(JsonlSource(str(tmp_path / "corpus" / "deep" / "b.jsonl")))] == ["two"]


def test_moving_a_corpus_keeps_ids_and_locators(tmp_path: Path) -> None:
    write(tmp_path / "here" / "corpus" / "deep" / "a.jsonl", "one")
    before = good(JsonlSource(str(tmp_path / "here" / "corpus")))[0]
    shutil.move(tmp_path / "here", tmp_path / "there")
    after = good(JsonlSource(str(tmp_path / "there" / "corpus")))[0]
    assert after == before
    assert after.origin.locator == "deep/a.jsonl#0"
    assert after.origin.source == "corpus"


def test_sources_with_different_titles_give_different_ids(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "one")
    first, second = (good(JsonlSource(str(tmp_path / "a.jsonl"), title=title))[0] for title in ("x", "y"))
    assert first.id != second.id
    assert second.origin.source == "y"


@pytest.mark.parametrize("path", ["nothing_here", "*.jsonl", "no/such/*.jsonl"])
def test_a_path_without_files_is_a_recipe_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(RecipeError, match="nothing to read"):
        JsonlSource(str(tmp_path / path)).files()


def test_a_store_without_the_file_or_without_its_package_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError, match="nothing to read"):
        JsonlSource("memory://nowhere/*.jsonl").files()
    with pytest.raises(RecipeError, match=r"pip install 'vl3\[nosuch\]'"):
        JsonlSource("nosuch://bucket/a.jsonl").files()


@pytest.mark.parametrize(
    "name", ["", "/a.jpg", "../a.jpg", "a/../../b.jpg", "a\\b.jpg", "C:a.jpg", "a\0.jpg", "a\n.jpg", "a" * 1025]
)
def test_a_name_that_could_lead_elsewhere_is_not_safe(name: str) -> None:
    assert not safe_name(name)


@pytest.mark.parametrize("name", ["a.jpg", "train/a b.jpg", "äö/图.png", "..a.jpg", "a..b"])
def test_a_plain_name_is_safe(name: str) -> None:
    assert safe_name(name)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"s")
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    (folder / "inside.jpg").symlink_to("a.jpg")
    (folder / "outside.jpg").symlink_to("../secret.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    found = contained_file(str(folder), "inside.jpg")
    assert found is not None
    assert found.read_bytes() == b"a"
    with pytest.raises(SampleError, match="leaves media"):
        contained_file(str(folder), "outside.jpg")
    with pytest.raises(SampleError, match="cannot be opened"):
        contained_file(str(folder), "loop.jpg")
    assert contained_file(str(folder), "absent.jpg") is None
