"""A cluster whose nodes have networks of their own, one of which is cut off in the middle of a run; the same bytes all the same.

    python benchmarks/partition.py --data CORPUS [--nodes 3] [--limit 300] [--part-rows 25] [--whole] [--keepalive 20]

CORPUS is a folder as examples/corpus.py reads it. Each node is a network namespace with a name, an address and a raylet of its own, joined
to the others by a bridge; they share the disk, as nodes share a folder. Once a third of the tasks are done the link of the last node goes
down (with --whole it stays). That node lives on, and may finish and commit what it has; nobody hears of it. --keepalive: how often Ray's
connections are tried, and how long an answer may take (its defaults: 300 and 120 s). Needs root.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults import CORPUS, curate, digest, ended
from lives import events, tasks_done

PORT, NETWORK = 6399, "10.77.0"
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": f"{NETWORK}.1:{PORT}"}


def ip(*arguments: str) -> None:
    """Configure the network."""
    subprocess.run(["ip", *arguments], check=True)


def inside(node: int) -> list[str]:
    """What a command begins with that runs on a node: its network, and its name."""
    return [
        "ip",
        "netns",
        "exec",
        f"vl3-{node}",
        "unshare",
        "--uts",
        "sh",
        "-c",
        'hostname "$0"; exec "$@"',
        f"node-{node}",
    ]


@contextlib.contextmanager
def networks(nodes: int) -> Iterator[None]:
    """A namespace per node; the first holds the bridge."""
    for node in range(nodes):
        ip("netns", "add", f"vl3-{node}")
        ip("-n", f"vl3-{node}", "link", "set", "lo", "up")
    try:
        ip("-n", "vl3-0", "link", "add", "bridge", "type", "bridge")
        ip("-n", "vl3-0", "addr", "add", f"{NETWORK}.1/24", "dev", "bridge")
        ip("-n", "vl3-0", "link", "set", "bridge", "up")
        for node in range(1, nodes):
            here, there = ("-n", "vl3-0", "link"), ("-n", f"vl3-{node}")
            ip(*here, "add", f"to-{node}", "type", "veth", "peer", "name", "out", "netns", f"vl3-{node}")
            ip(*here, "set", f"to-{node}", "master", "bridge", "up")
            ip(*there, "addr", "add", f"{NETWORK}.{node + 1}/24", "dev", "out")
            ip(*there, "link", "set", "out", "up")
        for node in range(nodes):  # Ray finds its own address by a route that leads out
            ip("-n", f"vl3-{node}", "route", "add", "default", "dev", "out" if node else "bridge")
        yield
    finally:
        for node in range(nodes):
            ip("netns", "del", f"vl3-{node}")


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """A raylet of one CPU per node."""
    ray = str(Path(sys.executable).parent / "ray")
    environment = {name: value for name, value in (os.environ | ENVIRONMENT).items() if name != "RAY_ADDRESS"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for node in range(nodes):
            where = ["--head", "--port", str(PORT), "--include-dashboard", "false"]
            where = where if node == 0 else ["--address", ENVIRONMENT["RAY_ADDRESS"]]
            command = [*inside(node), ray, "start", *where, "--node-ip-address", f"{NETWORK}.{node + 1}", "--block"]
            command += ["--num-cpus", "1", "--object-store-memory", "100000000"]
            started.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
            )
            wait_for(node + 1)
        yield
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(nodes: int) -> None:
    """Until so many nodes have joined."""
    asked = (
        "import ray; ray.init(log_to_driver=False, logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
    )
    while True:
        answer = subprocess.run(
            [*inside(0), sys.executable, "-c", asked],
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.stdout.strip() == str(nodes):
            return
        time.sleep(1.0)


def main() -> None:
    """Run locally, then on the cluster, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--part-rows", type=int, default=25)
    parser.add_argument("--whole", action="store_true", help="no link is cut")
    parser.add_argument("--keepalive", type=int, metavar="SECONDS")
    given = parser.parse_args()
    if given.keepalive:
        for setting in ("time", "timeout"):
            ENVIRONMENT[f"RAY_grpc_client_keepalive_{setting}_ms"] = str(1000 * given.keepalive)
    given.executor, given.workers = "local", 1
    with tempfile.TemporaryDirectory(prefix="partition-") as folder:
        root = Path(folder)
        ended(curate(f"{CORPUS}:recipe", given.data, root / "alone", given))
        tasks = len(tasks_done(root / "alone"))
        out = root / "cluster"
        given.executor, given.workers = "ray", given.nodes
        with networks(given.nodes), cluster(given.nodes):
            start, cut = time.monotonic(), 0.0
            process = curate(f"{CORPUS}:recipe", given.data, out, given, inside=inside(0), environment=ENVIRONMENT)
            while process.poll() is None:
                time.sleep(0.1)
                if not given.whole and not cut and tasks_done(out).total() > tasks / 3:
                    ip("-n", "vl3-0", "link", "set", f"to-{given.nodes - 1}", "down")
                    cut = time.monotonic() - start
            ended(process)
            seconds = time.monotonic() - start
        told = events(out)
        hosts = Counter(e["host"] for e in told if e["event"] == "task" and not e["reused"])
        died = Counter(e["how"] for e in told if e["event"] == "died")
        same = "the same" if digest(out) == digest(root / "alone") else "DIFFER"
        print(f"{tasks} tasks on {given.nodes} nodes in {seconds:.0f} s: {dict(sorted(hosts.items()))}")
        print(f"link cut after {cut:.0f} s; given up: {dict(died)}; bytes {same}")


if __name__ == "__main__":
    main()
