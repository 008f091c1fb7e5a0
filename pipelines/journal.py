"""Journal: what the driver saw committed, so that a resumed run asks no worker about it.

OUT/work/journal.jsonl has one line per task that was done: its commit, its facts, and size and time of change of every file of the commit.
A line counts only while all of these files are as they were then; otherwise, and in a store, where there is no journal, a worker looks at
the commit and its digests. The markers stay the truth: without the journal a resume gives the same, only later.
"""

import json
import os
from pathlib import Path
from typing import Any

from curation.uris import is_remote
from pipelines.plan import Plan
from pipelines.select_tasks import node_of, range_name
from pipelines.store import Store
from pipelines.work import Task

# What a worker adds to a task's facts for those who watch: true of one run only.
PASSING = ("took", "host", "peak_bytes")


class Journal:
    """Read when it is opened; appended to by one driver. In memory: a number per line."""

    def __init__(self, plan: Plan, plan_id: str) -> None:
        self._plan, self._plan_id, self._root = plan, plan_id, str(plan.out)
        self._places: dict[str, tuple[int, int]] = {}
        self._file, self._torn = -1, False
        if not is_remote(self._root):
            path = Store(root=plan.out).work / "journal.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._index(path)

    def _index(self, path: Path) -> None:
        offset, line = 0, b""
        with path.open("rb") as file:
            for line in file:
                # The commit stands first, so that a line need not be parsed to be found.
                if line.endswith(b"}\n"):
                    self._places[line[2 : line.index(b'"', 2)].decode()] = (offset, len(line))
                offset += len(line)
        if line and not line.endswith(b"\n"):
            self._torn = True  # a driver was killed while it wrote

    def known(self, task: Task) -> dict[str, Any] | None:
        """The facts of a task that is done, or None: ask a worker."""
        place = self._places.get(self._key(task)) if self._places else None
        if place is None:
            return None
        (entry,) = json.loads(os.pread(self._file, place[1], place[0]).decode()).values()
        return entry["facts"] | {"reused": True} if _unchanged(self._root, entry["files"]) else None

    def add(self, task: Task, facts: dict[str, Any], files: dict[str, list[int]]) -> None:
        """A worker said that this is committed."""
        if self._file < 0 or not files:
            return
        lasting = {name: value for name, value in facts.items() if name not in PASSING}
        line = (
            json.dumps({self._key(task): {"facts": lasting, "files": files}}, ensure_ascii=False, separators=(",", ":"))
            + "\n"
        )
        self._write(line.encode())

    def _write(self, line: bytes) -> None:
        """On a full disk nothing, or a piece that the next line must not continue."""
        line = b"\n" + line if self._torn else line
        try:
            self._torn = os.write(self._file, line) < len(line)
        except OSError:
            return  # the commits meet the same fault, and end the run with its reason

    def _key(self, task: Task) -> str:
        return "/".join(commit_of(task, self._plan, self._plan_id))

    def close(self) -> None:
        """Nothing more comes."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def commit_of(task: Task, plan: Plan, plan_id: str) -> tuple[str, str]:
    """Node and name of a task's commit."""
    if task.kind == "mixture":
        return plan_id, "chosen"
    if task.kind == "shard":
        return plan_id, f"shard-{task.number:06d}"
    if task.kind == "settle":
        return plan_id, f"settle-{task.branch}-{task.part_name}"
    segment = plan.branch(task.branch).segments[task.segment]
    if task.kind == "pass":
        return segment.id, task.part_name
    if task.kind == "select":
        return segment.select_id, "dropped"
    names = {"keys": f"keys-{task.part_name}", "learn": "learned"}
    return node_of(segment), names.get(task.kind) or range_name(task.kind, task.parts, task.number, task.of)


def _unchanged(root: str, files: dict[str, list[int]]) -> bool:
    try:
        for name, (size, changed) in files.items():
            found = os.stat(f"{root}/{name}")  # noqa: PTH116  a million times
            if found.st_size != size or found.st_mtime_ns != changed:
                return False
    except OSError:
        return False
    return True
