"""Compiled: numba functions that are compiled once per machine and found again by later processes."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in machine code, cached beside its file or in the user's cache directory; uncached where neither is writable.

    numba notices a change of the file a function stands in, not of what it calls: a compiled function must only call compiled
    functions of its own file.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available": nowhere to keep the code
        return numba.njit(nogil=True)(function)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that only compiled functions of its file call: compiled and cached within them."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # not in numba's type stubs
    return numba.njit(**options)(function)
