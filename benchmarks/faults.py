"""What faults cost: drivers and workers killed, samples that hang or crash, a disk that fills up; the same bytes every time.

    python benchmarks/faults.py [--data CORPUS] [--executor local|ray] [--kills 20] [--only driver,workers,hang,abort,disk]

CORPUS is a folder as examples/corpus.py reads it; without it a synthetic one. Every case is a run of `vl3-curate` in processes of its
own, and its manifest and shards are compared with those of an undisturbed run. A task that is done twice counts as lost. The disk is a
tmpfs that this script mounts, so `disk` needs root; it is left out otherwise.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

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


def curate(recipe: str, data: Path, out: Path, options: argparse.Namespace) -> "subprocess.Popen[str]":
    """A run as a process group of its own."""
    where = ["--data", str(data), "--out", str(out), "--executor", options.executor]
    command = [sys.executable, "-m", "pipelines", "run", recipe, *where, "--workers", str(options.workers)]
    command += ["--part-rows", str(options.part_rows), "--limit", str(options.limit), "--quiet"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What it said; its exit code must be `code`."""
    said, _ = process.communicate(timeout=1800)
    if process.returncode != code:
        raise SystemExit(f"exit code {process.returncode}, wanted {code}:\n{said}")
    return said.strip().splitlines()[-1]


def digest(out: Path) -> str:
    """Of the manifest and every shard."""
    files = [out / "manifest.json", *sorted((out / "shards").iterdir())]
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()[:16]


def events(out: Path) -> list[dict[str, Any]]:
    """Everything that all runs of OUT told; a killed driver's last line may be torn."""
    told, path = [], out / "run.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            told.append(json.loads(line))
    return told


def tasks_done(out: Path) -> Counter[str]:
    """How often each task was really done."""
    return Counter(e["task"] for e in events(out) if e["event"] == "task" and not e["reused"])


def driver_killed(out: Path, want: str, options: argparse.Namespace, *, work: float) -> str:
    """Kill -9 the driver at random moments of its work, one time in five while it still starts; then let it end."""
    draw, moments = random.Random(options.seed), []
    for number in range(options.kills):
        process = curate(f"{CORPUS}:recipe", options.data, out, options)
        begun, starting = begins(out), number % 5 == 4
        while not starting and begins(out) == begun and process.poll() is None:
            time.sleep(0.05)
        moments.append(draw.uniform(0.0, 3.0 if starting else 2 * work / options.kills))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moments[-1])
        over = process.poll() == 0
        process.send_signal(signal.SIGKILL)  # the driver alone: its workers must notice by themselves
        process.communicate()
        what = "start" if starting else "begin"
        print(
            f"    killed {moments[-1]:5.1f} s after its {what}: {sum(tasks_done(out).values()):5} tasks done",
            flush=True,
        )
        if over:
            break
    ended(curate(f"{CORPUS}:recipe", options.data, out, options))
    return f"{len(moments)} kills; {told(out, want)}"


def begins(out: Path) -> int:
    """How many drivers began their work."""
    return sum(e["event"] == "begun" for e in events(out))


def workers_killed(out: Path, want: str, options: argparse.Namespace) -> str:
    """Kill -9 one worker every five seconds until the run ends."""
    process = curate(f"{CORPUS}:recipe", options.data, out, options)
    draw, killed = random.Random(options.seed), 0
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
        if workers := workers_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)
                killed += 1
    ended(process)
    return f"{killed} workers killed, {sum(e['event'] == 'died' for e in events(out))} deaths seen; {told(out, want)}"


def workers_of(driver: int) -> list[int]:
    """Processes below the driver that do tasks: Ray's are called so, ours are spawned by multiprocessing."""
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
            if line.startswith("ray::") or "multiprocessing.spawn" in line:
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
    parser.add_argument("--megabytes", type=int, default=12, help="of the disk that fills up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="driver,workers,hang,abort,disk")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        root = Path(folder)
        if options.data is None:
            options.data = root / "synthetic"
            write_synthetic(str(options.data), samples=400, seed=0, defects=0.0)
        start = time.monotonic()
        ended(curate(f"{CORPUS}:recipe", options.data, root / "undisturbed", options))
        whole, want = time.monotonic() - start, digest(root / "undisturbed")
        lines = events(root / "undisturbed")
        work = lines[-1]["time"] - lines[0]["time"]
        print(f"undisturbed  {whole:.1f} s, {len(tasks_done(root / 'undisturbed'))} tasks", flush=True)
        for case in options.only.split(","):
            start = time.monotonic()
            out = root / case
            if case == "driver":
                line = driver_killed(out, want, options, work=work)
            elif case == "workers":
                line = workers_killed(out, want, options)
            elif case == "disk":
                line = disk_full(out, want, options) if os.geteuid() == 0 else "left out: needs root"
            else:
                line = isolated(case, out, options)
            print(f"{case:11s}  {time.monotonic() - start:.1f} s: {line}", flush=True)


if __name__ == "__main__":
    main()
