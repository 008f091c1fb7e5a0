"""Copies: the bytes of media that one ranged read cannot fetch (Parquet cells), in a file of a part, where a shard can fetch them.

A pass that has the bytes in memory copies them then, where most samples stay (`PassCopies`). What it did not copy, because an earlier
run had read the part or because few samples would stay, is read again when the part is settled (`point_to_copies`). Copies are scratch:
found by digest, not brought to disk, checked by the shard that takes them, removed once the dataset is whole. A damaged one is removed
as well (`forget`), so that the next run makes it again.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from curation.media.cells import COLUMN
from curation.media.read import read_reference
from curation.sample import Reference, Sample
from curation.uris import atomic, is_remote
from pipelines.guard import Guard
from pipelines.store import Store

SUFFIX = ".copy"


class PassCopies:
    """Copies that a pass makes of what it reads. Use as a context manager: leaving it normally publishes them."""

    def __init__(self, store: Store, source_id: str, part_name: str) -> None:
        self._path = _of_pass(store, source_id, part_name)
        self._at: dict[str, int] = {}
        self._end = 0
        self._file: BinaryIO | None = None
        self._open = ExitStack()

    def __enter__(self) -> "PassCopies":
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None or self._file is None:
            self._open.__exit__(*error)
            return
        _index(self._path).unlink(missing_ok=True)  # it must never speak of another file
        self._open.close()
        table = pl.DataFrame({"digest": list(self._at), "at": list(self._at.values())})
        with atomic(_index(self._path), durable=False) as temporary:
            table.write_parquet(temporary)

    def add(self, samples: Iterable[Sample]) -> None:
        """Copy the cells of these samples whose bytes are in memory, each content once."""
        for medium in (medium for sample in samples for medium in sample.media):
            cell = medium.reference is not None and medium.reference.member.startswith(COLUMN)
            if not cell or medium.data is None or medium.digest in self._at:
                continue
            if self._file is None:
                temporary = self._open.enter_context(atomic(self._path, durable=False))
                self._file = self._open.enter_context(temporary.open("wb", buffering=0))
            self._file.write(medium.data)
            self._at[medium.digest] = self._end
            self._end += len(medium.data)


def point_to_copies(
    media: Sequence[dict[str, Any]], store: Store, source_id: str, part_name: str, rest: Path, guard: Guard
) -> list[Path]:
    """Point the cells among some media of a part to copies, and make in `rest` those that the pass did not; returns the files in use."""
    cells = [medium for medium in media if medium["member"].startswith(COLUMN)]
    path = _of_pass(store, source_id, part_name)
    known = _known(path)
    missing = [medium for medium in cells if medium["digest"] not in known]
    for medium in cells:
        if medium["digest"] in known:
            medium |= {"uri": str(path), "member": "", "offset": known[medium["digest"]]}
    if missing:
        _copy(rest, missing, guard)
    return [file for file, used in ((path, len(missing) < len(cells)), (rest, missing)) if used]


def _known(path: Path) -> dict[str, int]:
    """Where the copies of a pass lie in its file, by digest. For an OUT in a store no pass makes any."""
    if is_remote(str(path)) or not (path.is_file() and _index(path).is_file()):
        return {}
    return dict(pl.read_parquet(_index(path)).iter_rows())


def _copy(path: Path, cells: list[dict[str, Any]], guard: Guard) -> None:
    """Read cells in file order, each once, into one file, and point them there."""
    places = {(m["uri"], m["member"], m["offset"]): m["size"] for m in cells}
    copied: dict[tuple[str, str, int], int] = {}
    end = 0
    with atomic(path, durable=False) as temporary, temporary.open("wb", buffering=0) as file:
        for place in sorted(places):
            guard.beat(places[place])
            data = read_reference(Reference(uri=place[0], member=place[1], offset=place[2], size=places[place]))
            file.write(data)
            copied[place] = end
            end += len(data)
    for medium in cells:
        offset = copied[medium["uri"], medium["member"], medium["offset"]]
        medium |= {"uri": str(path), "member": "", "offset": offset}


def forget(store: Store, uris: Iterable[str]) -> None:
    """Remove those of the files that are copies of ours: one was damaged, as by a crash of the machine."""
    for uri in {uri for uri in uris if uri.startswith(f"{store.work}/") and uri.endswith(SUFFIX)}:
        store.work.joinpath(uri.removeprefix(f"{store.work}/")).unlink(missing_ok=True)


def remove_copies(store: Store) -> None:
    """Remove all of them: the shards hold the bytes now."""
    for path in store.work.glob(f"*/*{SUFFIX}*"):  # with their indexes
        path.unlink()


def _of_pass(store: Store, source_id: str, part_name: str) -> Path:
    return store.work / source_id / f"{part_name}{SUFFIX}"


def _index(path: Path) -> Path:
    return path.with_name(f"{path.name}.parquet")
