"""Process: how the process of a rank begins, and ends: in order, and without the teardown of the interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def share_cores() -> None:
    """Let OpenMP's threads sleep soon where they wait for each other; to be called before torch is imported.

    By default they spin for milliseconds. Beside any other work each waits so for one that has no core, and a step takes eight times as
    long (docs/benchmarks.md); alone, a short spin is as fast. What the environment says already stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run `main` and end this process with its code; one that fails is shown, and ends with code 1.

    One of several ranks ends at once, after its output is flushed. Gloo's threads live for as long as anything refers to
    their group (a mesh, a sharded model), and one that lets go of a tensor while the interpreter is torn down is ended
    by it in the middle of a destructor: the process aborts ("terminate called without an active exception") after all
    of its work is done, and torchrun calls the run failed.
    """
    share_cores()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(main())
    code = 1
    try:
        code = main()
    except SystemExit as ended:  # how argparse refuses a command line
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException as error:  # noqa: BLE001  # what the interpreter would do with it, which does not get its turn
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
