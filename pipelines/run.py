"""Run: a recipe to a dataset directory, resuming whatever is already there."""

import importlib.metadata
import platform
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curation.operator import OperatorError, RecipeError
from curation.shards import Manifest, read_manifest
from curation.uris import is_remote
from pipelines.accounts import Accounts
from pipelines.finish import check_conservation, finished, publish
from pipelines.journal import Journal
from pipelines.local import InProcess, ProcessPool, default_workers
from pipelines.lock import only_driver
from pipelines.plan import Plan
from pipelines.progress import Progress
from pipelines.report import write_report
from pipelines.schedule import Executor, execute
from pipelines.store import Store, write_json
from pipelines.work import Job


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run did. counters: what was really done to media in this run; nothing_to_do: the dataset was already there.

    seconds: until the manifest made it a dataset; report_seconds: what writing the report took after that.
    """

    manifest: Manifest
    counters: dict[str, int]
    seconds: float
    report_seconds: float = 0.0
    nothing_to_do: bool = False


def run(
    plan: Plan,
    *,
    executor: Literal["local", "ray"] = "local",
    workers: int | None = None,
    recipe_file: str = "",
    quiet: bool = False,
    report: bool = True,
) -> RunResult:
    """Build the plan's dataset in `plan.out`.

    Args:
        workers: worker processes (local; 0 = in this process, unguarded) or CPUs of Ray; None = as many as there are.
        recipe_file: the Python file the recipe came from, which workers import too.
        report: write report.html, which takes some seconds; without, `pipelines.report.write_report` does at any time.

    Raises:
        OperatorError, ContractError: the run failed; what is committed stays, running again resumes.
        RecipeError: nobody would work.
    """
    if workers is not None and workers < (1 if executor == "ray" else 0):
        raise RecipeError(
            f"{workers} workers: wanted one at least, or with the local executor 0 for this process. Change it"
        )
    try:
        with only_driver(plan.out):
            if finished(plan.id, Store(root=plan.out)):
                return RunResult(manifest=read_manifest(plan.out), counters={}, seconds=0.0, nothing_to_do=True)
            return _build(plan, executor, workers, recipe_file, quiet=quiet, report=report)
    except OSError as error:
        raise OperatorError(
            f"{plan.out}: {error}: the store or the disk failed; make room or repair it, then run again to resume"
        ) from error


def _build(plan: Plan, executor: str, workers: int | None, recipe_file: str, *, quiet: bool, report: bool) -> RunResult:
    store, plan_id = Store(root=plan.out, shared=plan.measures), plan.id
    store.clean_temporaries()
    store.remember_shared()
    # While its shards are rewritten, this is no dataset, and the page is of another.
    for name in ("manifest.json", "report.html"):
        (plan.out / name).unlink(missing_ok=True)
    running = _executor(executor, Job.of(plan, recipe_file), _cursors(store, plan_id), workers)
    progress, journal = Progress(plan, quiet=quiet), Journal(plan, plan_id)
    try:
        accounts = execute(plan, running, progress, journal)
    except BaseException as error:
        progress.close(f"{type(error).__name__}: {error}")
        raise
    finally:
        running.close()
        journal.close()
    progress.close()
    check_conservation(plan, accounts)
    manifest = publish(plan, plan_id, store, accounts)
    seconds = progress.seconds
    _record(plan, plan_id, accounts, progress, manifest, executor, running.slots)
    if report:
        write_report(plan.out)
    counters = dict(progress.counters)
    return RunResult(manifest=manifest, counters=counters, seconds=seconds, report_seconds=progress.seconds - seconds)


def _executor(kind: str, job: Job, cursors: Path, workers: int | None) -> Executor:
    if kind == "ray":
        from pipelines.ray_executor import RayExecutor

        return RayExecutor(job, cursors, workers=workers)
    if workers == 0:
        return InProcess(job, cursors)
    return ProcessPool(job, cursors, workers=workers or default_workers())


def _cursors(store: Store, plan_id: str) -> Path:
    """Where workers say what they work on; for an output in a store, a folder on the node they run on."""
    if is_remote(str(store.root)):
        return Path(tempfile.gettempdir()) / f"vl3-cursors-{plan_id}"
    return store.work / "cursors"


def _record(
    plan: Plan, plan_id: str, accounts: Accounts, progress: Progress, manifest: Manifest, executor: str, slots: int
) -> None:
    """report.json: what a person looks at, and all that differs from run to run."""
    facts: dict[str, Any] = {
        "plan": plan_id,
        "stage": plan.recipe.stage,
        "executor": {
            "kind": executor,
            "slots": slots,
            "host": socket.gethostname(),
            "python": platform.python_version(),
        },
        "versions": {name: importlib.metadata.version(name) for name in ("vl3", "polars", "pyarrow", "ray", "numpy")},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(progress.seconds, 2),
        "tasks": {"done": progress.tasks, "already_done": progress.reused},
        "counters": {"media_read": 0, "media_decoded": 0, **progress.counters},
        "branches": {
            branch.name: [
                {"node": name, **accounts.nodes[branch.name][name], **_crowds(accounts, branch.name, name)}
                for name in branch.node_names()
                if name in accounts.nodes[branch.name]
            ]
            for branch in plan.branches
        },
        "mixture": manifest.mixture,
        "totals": manifest.branches,
    }
    write_json(plan.out / "report.json", facts)


def _crowds(accounts: Accounts, branch: str, node: str) -> dict[str, Any]:
    """What a Select could not compare whole, where there is any."""
    crowds = accounts.crowds[branch].get(node)
    return {"crowds": crowds} if crowds else {}
