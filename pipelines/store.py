"""Store: commits by content, so that resume is looking at markers.

A commit is one or more files and a marker `OUT/work/<node>/<name>.json`, written last, that lists each file's size and sha256 and
holds the task's facts (row counts). A task is done only if every file of its marker is there with these digests; anything else is done
again, which gives the same bytes. There is no server and no database; many writers may commit the same task at once.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation.operator import OperatorError


@contextmanager
def atomic(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` that becomes it when the block ends, on disk if durable; nothing is left when it raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Canonical JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Store:
    """The output directory as a store of commits."""

    root: Path

    @property
    def work(self) -> Path:
        """Where commits lie; may be deleted once the dataset is final, at the price of measuring again."""
        return self.root / "work"

    def marker(self, node: str, name: str) -> Path:
        """The marker of one task."""
        return self.work / node / f"{name}.json"

    def table_path(self, node: str, name: str) -> Path:
        """Where a task's table lies."""
        return self.work / node / f"{name}.parquet"

    def done(self, node: str, name: str) -> dict[str, Any] | None:
        """The facts of a task, if it is committed and its files are intact."""
        try:
            marker = json.loads(self.marker(node, name).read_text(encoding="utf-8"))
            for relative, (size, digest) in marker["files"].items():
                path = self.root / relative
                if path.stat().st_size != size or (digest and sha256_file(path) != digest):
                    return None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # no marker, or a damaged one: the task is simply not done
        return marker["facts"]

    def facts(self, node: str, name: str) -> dict[str, Any]:
        """The facts of a committed task, without looking at its files again."""
        return json.loads(self.marker(node, name).read_text(encoding="utf-8"))["facts"]

    def commit(
        self,
        node: str,
        name: str,
        files: Sequence[Path],
        facts: Mapping[str, Any],
        *,
        known: Mapping[Path, str] | None = None,
        unhashed: Sequence[Path] = (),
    ) -> dict[str, Any]:
        """Publish the marker of files that are already in place.

        Args:
            known: digests that were computed while writing. unhashed: files whose bytes their reader checks, listed by size only.
        """
        digests = {**dict.fromkeys(unhashed, ""), **(known or {})}
        paths = sorted([*files, *unhashed])
        listed = {
            str(p.relative_to(self.root)): [p.stat().st_size, digests[p] if p in digests else sha256_file(p)]
            for p in paths
        }
        write_json(self.marker(node, name), {"files": listed, "facts": facts})
        return dict(facts)

    def write_table(self, node: str, name: str, table: pl.DataFrame) -> Path:
        """Put a table in place (not yet committed)."""
        path = self.table_path(node, name)
        with atomic(path) as temporary:
            table.write_parquet(temporary, compression="zstd", statistics=True)
        return path

    def read_table(self, node: str, name: str, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A committed table."""
        return pl.read_parquet(self.table_path(node, name), columns=list(columns) if columns else None, glob=False)

    def scan_table(self, node: str, name: str) -> pl.LazyFrame:
        """A committed table, lazily: filters are pushed into the file."""
        return pl.scan_parquet(self.table_path(node, name), glob=False)

    def clean_temporaries(self) -> None:
        """Remove temporaries that a killed run left behind."""
        for path in self.root.rglob(".*.tmp"):
            path.unlink(missing_ok=True)


@contextmanager
def only_driver(root: Path) -> Iterator[None]:
    """Hold OUT for one driver.

    Raises:
        OperatorError: another driver holds it, with its host and process.
    """
    import fcntl
    import socket

    root.mkdir(parents=True, exist_ok=True)
    path = root / "work" / "driver.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise OperatorError(
                f"{root}: another run writes here ({file.read().strip()}): wait for it, or take another --out"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield
