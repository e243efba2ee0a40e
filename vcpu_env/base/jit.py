"""How functions are compiled, and where compiled code is kept.

Every compiled function takes the machine's state as its first argument, ``w``. State is one int64
array (`vcpu_env.base.world`), and ``w`` is its address: one register, where an array would be seven and a counted
reference at every call. `vcpu_env.base.structs` declares what lies in it and how a function reaches it.

The same source runs uncompiled under ``NUMBA_DISABLE_JIT=1``. Two rules keep both modes equal: never return a struct
from a function (return its index), and keep all state in signed integers.
"""

import ctypes
import hashlib
import inspect
import os
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import platformdirs
from numba import cfunc, njit, types

from vcpu_env.base.slots import check_indices

JIT = not numba.config.DISABLE_JIT
DEBUG = os.environ.get("VCPU_ENV_DEBUG", "") not in ("", "0")

DECLARE_ONLY = os.environ.get("VCPU_ENV_DECLARE_ONLY", "")
"""Entry points of modules with this prefix are only declared: for a process that compiles just their callers."""

_callbacks: dict[str, Any] = {}
"""Keeps the machine code of entry points alive."""

NIL = -1
"""The id that means "none"."""


def source_hash() -> str:
    """Hash of every source file of the package and of the compiler's version: the name of the cache directory.

    Numba's own check sees only the file that defines a function, so an edit elsewhere would leave stale code behind.
    """
    digest = hashlib.sha256(f"numba {numba.__version__} numpy {np.__version__} debug {DEBUG}".encode())
    root = Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir() -> Path:
    """Directory of compiled code; ``VCPU_ENV_CACHE_DIR`` overrides the user's cache directory."""
    root = os.environ.get("VCPU_ENV_CACHE_DIR") or platformdirs.user_cache_dir("vcpu_env")
    return Path(root) / source_hash()


if JIT:
    numba.config.CACHE_DIR = str(cache_dir())


def kjit(function):
    """Compile a function of the machine.

    A call with a constant argument compiles no version of its own, which Numba would do for every constant: that alone
    more than doubles the time to compile the kernel. Integer semantics of C division are the writer's own affair
    (`kernel.weights`).
    """
    compiled = njit(cache=True, error_model="numpy", nogil=True, boundscheck=DEBUG)(function)
    if JIT:
        call_template = compiled.get_call_template

        def without_literals(args, kws):
            plain = {name: types.unliteral(kind) for name, kind in dict(kws).items()}
            return call_template(tuple(types.unliteral(kind) for kind in args), plain)

        compiled.get_call_template = without_literals
    return compiled


def entry_point(function):
    """Compile a function of integers once, to be called by symbol from other compiled functions.

    Numba copies a compiled function into every caller's module, and optimises it there again; for the large functions
    at the borders between layers that is most of the time to compile. All arguments and the result are int64.
    """
    if not JIT:
        return function
    signature = types.int64(*[types.int64] * len(inspect.signature(function).parameters))
    symbol = f"{function.__module__}.{function.__name__}"
    if DECLARE_ONLY and function.__module__.startswith(DECLARE_ONLY):
        llvmlite.binding.add_symbol(symbol, ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value)
        return types.ExternalFunction(symbol, signature)
    callback = cfunc(signature, nopython=True, cache=True, error_model="numpy", nogil=True)(function)
    _callbacks[symbol] = callback
    llvmlite.binding.add_symbol(symbol, callback.address)
    return types.ExternalFunction(symbol, signature)


def call(function, *args):
    """Call an entry point from Python. Compiled, it runs without the global interpreter lock.

    Raises:
        IndexError: with `VCPU_ENV_DEBUG=1`: it has reached for a struct that the world does not have.
    """
    if JIT:
        result = _callbacks[function.symbol].ctypes(*args)
        if DEBUG:
            check_indices(args[0])
        return result
    with np.errstate(over="ignore"):  # int64 bit patterns of u64 wrap
        return function(*args)
