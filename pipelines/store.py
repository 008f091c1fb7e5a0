"""Store: commits by content, so that resume is looking at markers.

A commit is one or more files and a marker `OUT/work/<node>/<name>.json`, written last, that lists each file's size and sha256 and
holds the task's facts (row counts). A task is done only if every file of its marker is there with these digests; anything else is done
again, which gives the same bytes. There is no server and no database; many writers may commit the same task at once.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from curation.uris import atomic, directory, is_remote, open_uri, stat_uri, store_of

_SHARED = "measures_at.json"


def write_json(path: Path, value: Any) -> None:
    """Canonical JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes().decode())


def sha256_file(path: Path) -> str:
    """Hex digest of a file."""
    with open_uri(str(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]  it is seekable and has readinto


def read_frame(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """A Parquet file on disk or in a store."""
    with open_uri(str(path)) as file:
        return pl.read_parquet(
            file.read() if is_remote(str(path)) else path, columns=list(columns) if columns else None, glob=False
        )


def scan_frames(paths: Sequence[Path]) -> pl.LazyFrame:
    """Parquet files of one schema, lazily: filters and columns are pushed into the files."""
    if not is_remote(str(paths[0])):
        return pl.scan_parquet(list(paths), glob=False)
    import pyarrow.dataset

    store = store_of(str(paths[0]))
    names = [str(path).partition("://")[2] for path in paths]
    return pl.scan_pyarrow_dataset(pyarrow.dataset.dataset(names, format="parquet", filesystem=store))


@dataclass(frozen=True, kw_only=True)
class Store:
    """The output directory as a store of commits.

    shared: where measures lie that several datasets share, if not in `work`.
    """

    root: Path
    shared: Path | None = None

    @property
    def work(self) -> Path:
        """Where commits lie; may be deleted once the dataset is final, at the price of measuring again."""
        return self.root / "work"

    @property
    def measures(self) -> Path:
        """Where what was ever measured lies, by source and part."""
        return self.shared or self.work

    def remember_shared(self) -> None:
        """Note in `work` where the measures are, for whoever comes with the directory alone."""
        if self.shared is None:
            (self.work / _SHARED).unlink(missing_ok=True)
        else:
            write_json(self.work / _SHARED, str(self.shared))

    @classmethod
    def opened(cls, root: Path) -> "Store":
        """The store of a finished or interrupted run, with the measures that it shared."""
        try:
            return cls(root=root, shared=directory(_read_json(root / "work" / _SHARED)))
        except FileNotFoundError:
            return cls(root=root)

    def marker(self, node: str, name: str) -> Path:
        """The marker of one task."""
        return self.root / f"work/{node}/{name}.json"  # joined once: paths are slow, and there may be a million

    def table_path(self, node: str, name: str) -> Path:
        """Where a task's table lies."""
        return self.root / f"work/{node}/{name}.parquet"

    def done(self, node: str, name: str) -> dict[str, Any] | None:
        """The facts of a task, if it is committed and its files are intact."""
        try:
            marker = _read_json(self.marker(node, name))
            for relative, (size, digest) in marker["files"].items():
                path = self.root / relative
                found, _ = stat_uri(str(path))
                # What is on disk may be torn by a crash; an object in a store appears whole or not at all.
                checked = digest and not is_remote(str(path))
                if found != size or (checked and sha256_file(path) != digest):
                    return None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # no marker, or a damaged one: the task is simply not done
        return marker["facts"]

    def facts(self, node: str, name: str) -> dict[str, Any]:
        """The facts of a committed task, without looking at its files again."""
        return _read_json(self.marker(node, name))["facts"]

    def stamps(self, node: str, name: str) -> dict[str, list[int]]:
        """Size and time of change of a commit's marker and files, by their path below the root; nothing in a store."""
        if is_remote(str(self.root)):
            return {}
        files = [f"work/{node}/{name}.json", *_read_json(self.marker(node, name))["files"]]
        found = [(file, stat_uri(f"{self.root}/{file}")) for file in files]
        return {file: [size, int(changed)] for file, (size, changed) in found}

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
            str(p.relative_to(self.root)): [stat_uri(str(p))[0], digests[p] if p in digests else sha256_file(p)]
            for p in paths
        }
        with atomic(self.marker(node, name)) as temporary:
            # On one line: indented JSON is written by Python code, seven times slower.
            marker = json.dumps({"files": listed, "facts": facts}, ensure_ascii=False, sort_keys=True)
            temporary.write_bytes(f"{marker}\n".encode())
        return dict(facts)

    def write_table(
        self, node: str, name: str, table: pl.DataFrame, *, row_group_size: int | None = None, compress: bool = True
    ) -> Path:
        """Put a table in place (not yet committed)."""
        path = self.table_path(node, name)
        with atomic(path) as temporary:
            table.write_parquet(
                temporary,
                compression="zstd" if compress else "uncompressed",
                statistics=True,
                row_group_size=row_group_size,
            )
        return path

    @contextmanager
    def writing(self, node: str, name: str) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Put a table in place piece by piece (not yet committed): gives the function that appends one."""
        with atomic(self.table_path(node, name)) as temporary:
            writer: pq.ParquetWriter | None = None

            def write(piece: pl.DataFrame) -> None:
                nonlocal writer
                rows = piece.to_arrow()
                writer = writer or pq.ParquetWriter(temporary, rows.schema, compression="zstd")
                writer.write_table(rows.cast(writer.schema))

            yield write
            if writer is not None:
                writer.close()

    def read_table(self, node: str, name: str, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A committed table."""
        return read_frame(self.table_path(node, name), columns)

    def scan_table(self, node: str, name: str) -> pl.LazyFrame:
        """A committed table, lazily: filters are pushed into the file."""
        return scan_frames([self.table_path(node, name)])

    def clean_temporaries(self) -> None:
        """Remove temporaries that a killed run left behind."""
        if not is_remote(str(self.root)):  # in a store there are none
            for path in self.root.rglob(".*.tmp"):
                path.unlink(missing_ok=True)
