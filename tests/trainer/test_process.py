"""A rank ends with its code and its output, and nothing of the interpreter's teardown runs after it."""

import os
import subprocess
import sys

import pytest

from trainer.process import share_cores

SCRIPT = """
import atexit, sys
from trainer.process import end_with
def main():
    print("worked", end="")
    {body}
atexit.register(print, "torn down")
end_with(main)
"""


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit(2)", 2, ""),
        ("raise KeyError('lost')", 1, "KeyError: 'lost'"),
    ],
)
def test_a_rank_of_several_ends_with_its_code_its_output_and_no_teardown(body: str, code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        env={**os.environ, "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, "worked")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_spin_shortly_unless_the_environment_says_otherwise(
    before: dict[str, str], after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == after
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
