"""Object stores: input and output in a bucket give the bytes that the disk gives, whatever the store's mood."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from object_store import ENVIRONMENT, Moody, serve
from run_checks import digests

from curation.uris import directory, store_of
from pipelines import lock
from pipelines.cli import main
from pipelines.lock import only_driver

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_disk(demo_dataset: Path) -> dict[str, str]:
    """What the same run gives on disk."""
    return digests(demo_dataset)


@pytest.fixture
def store(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moody]:
    """A server with the corpora in its bucket `corpora`, and an empty bucket `out`."""
    with serve() as (address, moody):
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        bucket = store_of("s3://corpora")
        for name in ("corpora", "out"):
            bucket.mkdir(name)
        for file in corpora.iterdir():
            bucket.put_file(str(file), f"corpora/{file.name}")
        yield moody
    from curation import uris

    uris._store.cache_clear()


def in_store() -> dict[str, str]:
    out = store_of("s3://out")
    names = ["out/manifest.json", *sorted(out.ls("out/shards", detail=False))]
    return {name.removeprefix("out/"): hashlib.sha256(out.cat_file(name)).hexdigest() for name in names}


def test_a_moody_bucket_gives_the_bytes_that_the_disk_gives(store: Moody, on_disk: dict[str, str]) -> None:
    store.every = 19  # every retry waits; a denser run takes two minutes
    run = ["run", "demo", "--data", "s3://corpora", "--out", "s3://out", "--workers", "2", "--quiet"]
    assert main(run) == 0
    store.every = 0
    assert in_store() == on_disk
    assert {"error", "throttle", "slow", "cut"} <= set(store.faults)
    before = store.requests
    assert main(run) == 0
    assert main(["verify", "s3://out"]) == 0
    assert main(["stats", "s3://out"]) == 0
    assert store.requests > before


def test_a_second_driver_is_refused_in_a_bucket_too(store: Moody) -> None:
    out = directory("s3://out/x")
    refused = pytest.raises(lock.OperatorError, match="another run writes here")
    with lock._lock_object(out / "work" / "driver.lock", renew=0.3, stale=3), refused, only_driver(out):
        pass
    with lock._lock_object(out / "work" / "driver.lock", renew=0.3, stale=3):
        pass  # given back
