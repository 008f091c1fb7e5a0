"""What faults cost: drivers and workers killed, samples that hang or crash, a disk that fills up; the same bytes every time.

    python benchmarks/faults.py [--data CORPUS] [--executor local|ray] [--kills 20] [--only driver,workers,actors,hang,abort,disk]

CORPUS is a folder as examples/corpus.py reads it; without it a synthetic one. Every case is a run of `vl3-curate` in processes of its
own, and its manifest, shards and ledger are compared with those of an undisturbed run by the local executor. A task that was begun and is
begun again counts as lost. `actors` starts a Ray node that claims a GPU; with --standing the drivers that are killed join a Ray node that
stands, instead of starting one each. The disk is a tmpfs that this script mounts, so `disk` needs root; it is left out otherwise.
"""

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from lives import begins, begun_again, events, killed_at, seconds_of, tasks_done

from curation.sources.synthetic import write_synthetic

CORPUS = Path(__file__).parent.parent / "examples" / "corpus.py"

# A recipe with one treacherous sample, as a user's operator might have it.
TREACHEROUS = """
import os
from dataclasses import dataclass
from curation.filters import Decodable, Words
from curation.operator import Filter
from curation.sources import ParquetSource
from pipelines.recipe import Recipe, branch

@dataclass(frozen=True, kw_only=True)
class Treacherous(Filter):
    how: str
    of: str

    def measure(self, batch):
        return batch.measure_each(lambda index: self._one(batch.samples[index].origin.name))

    def _one(self, name):
        if name == self.of and self.how == "abort":
            os.abort()
        while name == self.of:
            pass
        return 1.0

def recipe(data):
    source = ParquetSource(f"{data}/image_text-*.parquet", texts="texts", id="id")
    filters = Words(low=0), Decodable(), Treacherous(how="HOW", of="OF")
    return Recipe(stage="stage2", branches=(branch("images", source, *filters),))
"""


# A recipe whose pictures are looked at on half a GPU, slowly; nothing needs one.
ON_GPU = """
import time
from dataclasses import dataclass
from curation.filters import Decodable, Words
from curation.operator import Filter
from curation.sources import ParquetSource
from pipelines.recipe import Recipe, branch, gpu, on

@dataclass(frozen=True, kw_only=True)
class Slow(Filter):
    def measure(self, batch):
        return batch.measure_each(lambda index: time.sleep(0.15) or 1.0)

def recipe(data):
    source = ParquetSource(f"{data}/image_text-*.parquet", texts="texts", id="id")
    return Recipe(stage="stage2", branches=(branch("images", source, Words(low=0), Decodable(), on(gpu(0.5), Slow())),))
"""


def curate(
    recipe: str,
    data: Path,
    out: Path,
    options: argparse.Namespace,
    *,
    inside: Sequence[str] = (),
    environment: Mapping[str, str] = {},
) -> "subprocess.Popen[str]":
    """A run as a process group of its own; inside: what its command begins with."""
    where = ["--data", str(data), "--out", str(out), "--executor", options.executor]
    command = [*inside, sys.executable, "-m", "pipelines", "run", recipe, *where, "--workers", str(options.workers)]
    command += ["--part-rows", str(options.part_rows), "--limit", str(options.limit), "--quiet"]
    return subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What it said; its exit code must be `code`."""
    said, _ = process.communicate(timeout=1800)
    if process.returncode != code:
        raise SystemExit(f"exit code {process.returncode}, wanted {code}:\n{said}")
    return said.strip().splitlines()[-1]


def digest(out: Path) -> str:
    """Of the manifest, every shard and the ledger of all samples."""
    files = [out / "manifest.json", *sorted((out / "shards").iterdir()), *sorted((out / "ledger").iterdir())]
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()[:16]


def driver_killed(out: Path, want: str, options: argparse.Namespace, *, tasks: int) -> str:
    """Kill -9 the driver at random moments spread over its work, one time in five while it still starts; then let it end."""
    draw, deaths = random.Random(options.seed), []
    for number in range(options.kills):
        done = tasks_done(out).total()
        # One share of the work more than kills: the last life has something left to do.
        moment = done + draw.random() * (tasks - done) / (options.kills + 1 - number)
        born, known, starting = time.time(), begins(out), draw.random() < 0.2
        process = curate(f"{CORPUS}:recipe", options.data, out, options)
        while process.poll() is None and not starting and (begins(out) == known or tasks_done(out).total() < moment):
            time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=draw.uniform(0.0, 0.8))
        if process.poll() == 0:
            break
        process.send_signal(signal.SIGKILL)  # the driver alone: its workers must notice by themselves
        died = time.time()
        process.communicate()
        deaths.append(killed_at(out, born=born, at=died))
        print(
            f"    {number + 1:2}: killed {died - born:4.1f} s after its start{' (before its work)' if starting else ''}: "
            f"{tasks_done(out).total():4} tasks done, {len(deaths[-1].open)} in flight",
            flush=True,
        )
    ended(curate(f"{CORPUS}:recipe", options.data, out, options))
    seconds = seconds_of(out.parent / "undisturbed")
    lost = begun_again(out, deaths, seconds)
    return (
        f"{len(deaths)} kills; {sum(map(len, lost))} tasks begun again ({sum(map(sum, lost)):.1f} s at most), "
        f"no more than {max(map(len, lost))} after one kill, {options.workers} workers; {told(out, want)}"
    )


def workers_killed(out: Path, want: str, options: argparse.Namespace, *, recipe: str, name: str = "") -> str:
    """Kill -9 one worker (with `name` in its title) every five seconds until the run ends."""
    process = curate(recipe, options.data, out, options)
    draw, killed = random.Random(options.seed), 0
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
        if workers := workers_of(options.head or process.pid, name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)
                killed += 1
    ended(process)
    deaths = Counter(e["task"] for e in events(out) if e["event"] == "died")
    return (
        f"{killed} killed, {deaths.total()} of them at work: one task begun again for each, "
        f"{max(deaths.values(), default=0)} times at most; {told(out, want)}"
    )


def actors_killed(root: Path, options: argparse.Namespace) -> str:
    """The same with actors on halves of a GPU that a cluster of our own says it has."""
    recipe = root / "on_gpu.py"
    recipe.write_text(ON_GPU)
    alone = argparse.Namespace(**vars(options) | {"executor": "local"})
    ended(curate(f"{recipe}:recipe", options.data, root / "alone", alone))
    with ray_node(gpus=1) as head:
        there = argparse.Namespace(**vars(options) | {"executor": "ray", "head": head})
        return workers_killed(
            root / "actors", digest(root / "alone"), there, recipe=f"{recipe}:recipe", name="ray::_Keeper"
        )


@contextlib.contextmanager
def ray_node(*, gpus: int) -> Iterator[int]:
    """A Ray node of our own, which says it has so many GPUs, as the cluster of the runs that the block starts; gives its process."""
    start = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--port",
        "6397",
        "--block",
        "--num-cpus",
        "3",
    ]
    start += ["--num-gpus", str(gpus), "--object-store-memory", "100000000", "--include-dashboard", "false"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        while not workers_of(head.pid, "raylet"):
            time.sleep(0.5)
        os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "127.0.0.1:6397"}
        yield head.pid
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()


def workers_of(driver: int, name: str = "") -> list[int]:
    """Processes below the driver that do tasks (Ray's are called so, ours are spawned by multiprocessing), or those called `name`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    below, found = [driver], []
    while below:
        process = below.pop()
        below += children.get(process, [])
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{process}/cmdline").read_text()
            ours = (line.startswith("ray::") and "Agent" not in line) or "multiprocessing.spawn" in line
            if name in line if name else ours:
                found.append(process)
    return found


def told(out: Path, want: str) -> str:
    """Same bytes or not, and what was done twice."""
    done = tasks_done(out)
    twice = sum(count - 1 for count in done.values())
    return f"{len(done)} tasks, {twice} done twice; bytes {'the same' if digest(out) == want else 'DIFFER'}"


def isolated(how: str, out: Path, options: argparse.Namespace) -> str:
    """Seconds from the begin of the run until the treacherous sample was found, and how it is named."""
    files = sorted(options.data.glob("image_text-*.parquet"))
    name = pq.read_table(files[0], columns=["id"])["id"][options.row].as_py()
    recipe = out.parent / f"{how}.py"
    recipe.write_text(TREACHEROUS.replace("HOW", how).replace("OF", name))
    ended(curate(f"{recipe}:recipe", options.data, out, options))
    happened = events(out)
    deaths = [e["time"] for e in happened if e["event"] == "died"]
    bad = pq.read_table(next((out / "quarantine").glob("*.parquet"))).to_pylist()
    if [row["origin"] for row in bad] != [name]:
        raise SystemExit(f"{[row['origin'] for row in bad]} in quarantine, wanted {name}")
    return f"found after {deaths[-1] - happened[0]['time']:.1f} s and {len(deaths)} deaths: {bad[0]['message']}"


def disk_full(out: Path, want: str, options: argparse.Namespace) -> str:
    """Run on a tmpfs that is too small, then make room and run again."""
    with mounted(out, options.megabytes):
        said = ended(curate(f"{CORPUS}:recipe", options.data, out / "out", options), code=3)
        print(f"    {said[:300]}", flush=True)
        if (out / "out" / "manifest.json").exists():
            raise SystemExit("a manifest on a full disk")
        before = sum(tasks_done(out / "out").values())
        subprocess.run(["mount", "-o", "remount,size=2g", str(out)], check=True)
        ended(curate(f"{CORPUS}:recipe", options.data, out / "out", options))
        return f"{before} tasks before; {told(out / 'out', want)}"


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[None]:
    """A tmpfs of that size on `folder`."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--limit", type=int, default=10**9, help="samples per branch")
    parser.add_argument("--part-rows", type=int, default=100)
    parser.add_argument("--row", type=int, default=120, help="of the first file: the treacherous sample")
    parser.add_argument("--standing", action="store_true", help="drivers that are killed join a Ray node that stands")
    parser.add_argument("--megabytes", type=int, default=12, help="of the disk that fills up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="driver,workers,actors,hang,abort,disk")
    options = parser.parse_args(arguments)
    options.head = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        root = Path(folder)
        if options.data is None:
            options.data = root / "synthetic"
            write_synthetic(str(options.data), samples=400, seed=0, defects=0.0)
        start = time.monotonic()
        alone = argparse.Namespace(**vars(options) | {"executor": "local"})
        ended(curate(f"{CORPUS}:recipe", options.data, root / "undisturbed", alone))
        whole, want, tasks = (
            time.monotonic() - start,
            digest(root / "undisturbed"),
            len(tasks_done(root / "undisturbed")),
        )
        print(f"undisturbed, local  {whole:.1f} s, {tasks} tasks", flush=True)
        for case in options.only.split(","):
            start = time.monotonic()
            out = root / case
            if case == "driver":
                with ray_node(gpus=0) if options.standing else contextlib.nullcontext():
                    line = driver_killed(out, want, options, tasks=tasks)
            elif case == "workers":
                name = "ray::_do" if options.executor == "ray" else ""
                line = workers_killed(out, want, options, recipe=f"{CORPUS}:recipe", name=name)
            elif case == "actors":
                line = actors_killed(root, options)
            elif case == "disk":
                line = disk_full(out, want, options) if os.geteuid() == 0 else "left out: needs root"
            else:
                line = isolated(case, out, options)
            print(f"{case:11s}  {time.monotonic() - start:.1f} s: {line}", flush=True)


if __name__ == "__main__":
    main()
