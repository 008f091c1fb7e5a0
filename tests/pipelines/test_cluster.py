"""Clusters: several Ray nodes on this machine, one of which dies, and a driver that is asked to end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from run_checks import build, digests

from pipelines.cli import main
from pipelines.events import read_status
from pipelines.plan import Plan

PlanOf = Callable[..., Plan]
pytestmark = pytest.mark.slow

SLOW = """
import time
from dataclasses import dataclass
from curation.filters import Words
from curation.operator import Filter
from curation.sources import JsonlSource
from pipelines.recipe import Recipe, branch

@dataclass(frozen=True, kw_only=True)
class Slow(Filter):
    def measure(self, batch):
        return batch.measure_each(lambda index: time.sleep(0.05) or 1.0)

def recipe(data):
    return Recipe(stage="stage2", branches=(branch("text", JsonlSource(f"{data}/text.jsonl", id="id"), Slow(), Words(low=1)),))
"""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Two hundred texts that take 50 ms each."""
    lines = [json.dumps({"id": f"text_{i}", "text": f"document number {i} says little"}) for i in range(200)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "recipe.py").write_text(SLOW)
    return tmp_path


def arguments(texts: Path, out: Path) -> list[str]:
    where = ["--data", str(texts), "--out", str(out), "--part-rows", "20", "--workers", "2", "--quiet", "--no-report"]
    return ["run", f"{texts}/recipe.py:recipe", *where]


@pytest.fixture(params=[2, 3])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Nodes of one CPU each."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    small = {"num_cpus": 1, "object_store_memory": 80 << 20}
    # A node that is slow to answer is not dead: beside other tests on two cores an answer may take long. One that is gone refuses at once.
    patient = {"health_check_timeout_ms": 120_000, "health_check_period_ms": 1_000, "health_check_failure_threshold": 5}
    cluster = Cluster(initialize_head=True, head_node_args=small | {"_system_config": patient})
    for _ in range(request.param - 1):
        cluster.add_node(**small)
    cluster.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


# Beside other tests on two cores Ray sometimes took the driver for dead. With the patience above it passed twice beside a load of 13 to 28,
# in 3 and 4 minutes; a third time it was not done within 280 s. Alone on one core it takes 39 s.
@pytest.mark.skipif("VL3_CLUSTER_TESTS" not in os.environ, reason="needs a machine of its own: set VL3_CLUSTER_TESTS=1")
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's own, about its sockets and futures
def test_a_node_lost_in_the_middle_changes_nothing_but_the_time(
    cluster: object, plan_of: PlanOf, tmp_path: Path
) -> None:
    alone, there = tmp_path / "alone", tmp_path / "cluster"
    build(plan_of(alone, rows=10))
    import ray

    events = there / "run.jsonl"

    def lose_a_node() -> None:
        while not events.exists() or events.read_text().count('"event": "task"') < 4:
            time.sleep(0.05)
        here = ray.get_runtime_context().get_node_id()  # where the driver lives: it would die with its node
        victim = next(node for node in cluster.worker_nodes if node.node_id != here)  # type: ignore[attr-defined]
        cluster.remove_node(victim, allow_graceful=False)  # type: ignore[attr-defined]
        lost_after.append(events.read_text().count('"event": "task"'))

    lost_after: list[int] = []
    losing = threading.Thread(target=lose_a_node)
    losing.start()
    build(plan_of(there, rows=10), executor="ray")
    losing.join()
    assert events.read_text().count('"event": "task"') > lost_after[0] + 4
    assert digests(there) == digests(alone)


def test_a_run_that_is_asked_to_end_keeps_what_it_did(texts: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "asked", tmp_path / "whole"
    command = [sys.executable, "-m", "pipelines", *arguments(texts, out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tasks = out / "run.jsonl"
    while not tasks.exists() or tasks.read_text().count('"event": "task"') < 3:
        time.sleep(0.2)
        assert process.poll() is None
    assert main(["status", str(out)]) == 0  # it goes on
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "ended by SIGTERM" in said
    assert "0 tasks in flight given up" in said
    assert main(["status", str(out)]) == 1
    done = read_status(out)["parts"][0]
    assert 3 <= done < 10

    assert main(arguments(texts, out)) == 0
    assert main(["status", str(out)]) == 0
    events = [json.loads(line) for line in tasks.read_text().splitlines()]
    second = events[max(i for i, event in enumerate(events) if event["event"] == "begun") :]
    assert sum(event["tasks"] for event in second if event["event"] == "found") == done
    assert main(arguments(texts, whole)) == 0
    assert digests(out) == digests(whole)
