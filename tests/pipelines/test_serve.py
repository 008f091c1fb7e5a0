"""The local page: conditions are safe, answers are right, nothing outside OUT is shown."""

import http.client
import shutil
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from browser import Browser
from PIL import Image
from run_checks import ledger

from pipelines.browse import DatasetView
from pipelines.cli import parser
from pipelines.query import QueryError, parse_condition
from pipelines.serve import PAGE, DatasetServer


@pytest.fixture(scope="module")
def out(demo_dataset: Path) -> Path:
    """The demo."""
    return demo_dataset


@pytest.fixture(scope="module")
def server(out: Path) -> Iterator[DatasetServer]:
    with DatasetServer(out) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: DatasetServer, path: str, *, host: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.headers), body


ALLOWED = {
    "Words > 10": pl.col("Words") > 10,
    "words >= 10 and branch = 'text'": (pl.col("Words") >= 10) & (pl.col("branch") == "text"),
    "decision <> 'kept' OR AspectRatio < 1.5": (pl.col("decision") != "kept") | (pl.col("AspectRatio") < 1.5),
    '"CharacterRatio[alphabetic]" BETWEEN 0.7 AND 0.8': pl.col("CharacterRatio[alphabetic]").is_between(0.7, 0.8),
    "NOT (Words IS NULL) AND Words * 2 - 1 > 50": pl.col("Words").is_not_null() & (pl.col("Words") * 2 - 1 > 50),
    "branch IN ('text', 'videos')": pl.col("branch").is_in(["text", "videos"]),
    "reason LIKE 'ExactDedup%'": pl.col("reason").str.starts_with("ExactDedup"),
    "STARTS_WITH(origin, 'text') AND LENGTH(origin) > 3": pl.col("origin").str.starts_with("text")
    & (pl.col("origin").str.len_chars() > 3),
    "origin = 'it''s'": pl.col("origin") == "it's",
}


@pytest.mark.parametrize("condition", ALLOWED)
def test_a_condition_selects_what_polars_selects(out: Path, condition: str) -> None:
    found = DatasetView(out).search(condition, limit=10_000)
    wanted = ledger(out).filter(ALLOWED[condition])
    assert found.total == wanted.height
    assert {row["id"] for row in found.rows} == set(wanted["id"])


@pytest.mark.parametrize(
    "condition",
    [
        "id IN (SELECT column_1 FROM read_csv('/etc/passwd'))", "EXISTS (SELECT 1)", "read_csv('/etc/passwd')", "Words > 3; DROP TABLE x",
        "Words > 3 -- comment", "Words > 3 /* c */", "nothing > 3", "REGEXP_LIKE(origin, '(a+)+')", "Words >", "('a'", "origin = 'open",
        "COUNT(*) > 1", "*", "Words > 'a' AND", "\x00", "(" * 60 + "Words > 1" + ")" * 60, "NOT " * 60 + "Words > 1",
        "Words > 1 OR " * 400 + "Words > 1",
        "CAST(Words AS TEXT) = '1'", "Words::text = '1'", 'origin = "id', "`origin` = 'a'", "$1 = 1", "grids IS NULL",
    ],
)  # fmt: skip
def test_anything_but_a_condition_is_refused(out: Path, condition: str) -> None:
    with pytest.raises(QueryError):
        DatasetView(out).search(condition)


def test_without_our_check_a_subquery_would_read_files(tmp_path: Path) -> None:
    """Why conditions are taken apart first: polars' own parser opens the file, and says what is in it."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a_secret\n1\n")
    text = f"id IN (SELECT column_1 FROM read_csv('{secret}'))"
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="a_secret"):
        pl.sql_expr(text)
    with pytest.raises(QueryError, match="SELECT"):
        parse_condition(text, ["id"])


def test_sorting_and_paging_equal_a_sorted_ledger(out: Path) -> None:
    view, rows = DatasetView(out), ledger(out).drop_nulls("Words")
    for descending in (False, True):
        wanted = rows["Words"].sort(descending=descending).to_list()
        pages = [view.search(sort="Words", descending=descending, offset=o, limit=7) for o in range(0, len(wanted), 7)]
        assert [row["Words"] for page in pages for row in page.rows] == wanted
        assert len({row["id"] for page in pages for row in page.rows}) == rows.height
    with pytest.raises(QueryError):
        view.search(sort="nothing")


def test_it_listens_on_loopback_only_and_to_its_own_name_only(server: DatasetServer) -> None:
    assert parser().parse_args(["serve", "out"]).host == "127.0.0.1"
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/", host=f"evil.example:{server.server_port}")[0] == 421
    assert get(server, "/", host=f"localhost:{server.server_port}")[0] == 200


def test_paths_lead_nowhere(server: DatasetServer, out: Path) -> None:
    key = ledger(out).filter(decision="kept")["id"][0]
    for path in (
        "/../../etc/passwd", "/etc/passwd", "/media/../../etc/passwd", f"/media/{key}/../../manifest.json", "/manifest.json",
        f"/media/{key}/99", f"/media/{key}/-1", f"/media/{'0' * 32}/0", "/sample/..%2f..%2fetc%2fpasswd", f"/sample/{'0' * 32}",
        "//etc/passwd", "/%2e%2e/manifest.json",
    ):  # fmt: skip
        assert get(server, path)[0] in (403, 404), path


def test_media_are_sent_as_pictures_made_here(server: DatasetServer, out: Path) -> None:
    row = ledger(out).filter(decision="kept", branch="image_text").row(0, named=True)
    for form in ("", "/large"):
        status, headers, body = get(server, f"/media/{row['id']}/0{form}")
        assert (status, headers["Content-Type"], headers["X-Content-Type-Options"]) == (200, "image/jpeg", "nosniff")
        with Image.open(BytesIO(body)) as picture:
            assert picture.format == "JPEG"
    status, _, page = get(server, f"/sample/{row['id']}")
    assert status == 200
    assert row["origin"].encode() in page


def test_dropped_samples_show_media_only_from_directories_that_were_named(out: Path, corpora: Path) -> None:
    row = ledger(out).filter(decision="dropped", branch="image_text").row(0, named=True)
    for media, wanted in (((), 403), ((corpora,), 200), ((corpora / "elsewhere",), 403)):
        with DatasetServer(out, media=media) as running:
            thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                assert get(running, f"/media/{row['id']}/0")[0] == wanted
                assert get(running, f"/sample/{row['id']}")[0] == 200
            finally:
                running.shutdown()
                thread.join()


def test_a_link_out_of_the_dataset_is_not_followed(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    shard = next((copy / "shards").glob("*.tar"))
    shard.rename(tmp_path / "outside.tar")
    shard.symlink_to(tmp_path / "outside.tar")
    view = DatasetView(copy)
    row = ledger(copy).filter(decision="kept", branch="image_text").row(0, named=True)
    sample = view.sample(row)
    assert sample is not None
    assert not view.allowed(sample.media[0].reference)
    with pytest.raises(PermissionError):
        view.encoded(sample.media[0].reference)


def test_the_page_renders_and_escapes_what_is_asked(server: DatasetServer, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.open(f"{server.url}?where=Words+%3E+5&sort=Words")
        assert browser.complaints() == []
        asked = [url.removeprefix(server.url) for url in browser.requests()]
        assert all(url.startswith("media/") or url == "favicon.ico" for url in asked), asked
        assert browser.run("document.querySelectorAll('article').length") == PAGE
        browser.open(f"{server.url}?where=%3Cscript%3Ealert(1)%3C/script%3E")
        assert "<script>" in browser.run("document.querySelector('input[name=where]').value")
        assert browser.run("document.scripts.length") == 0
        assert "no column" in browser.run("document.querySelector('.error').textContent")
        link = browser.run(
            "fetch('/').then(r => r.text()).then(t => /sample\\/[0-9a-f]{32}/.exec(t)[0]).catch(e => String(e))"
        )
        assert "TypeError" in link  # not even its own scripts could fetch: the policy forbids it
