"""How functions are compiled, and where compiled code is kept.

Every compiled function takes the machine's state as its first argument, ``w``. State is one int64
array (`vcpu_env.base.world`), and ``w`` is its address: one register, where an array would be seven and a counted
reference at every call. `vcpu_env.base.structs` declares what lies in it and how a function reaches it.

The same source runs uncompiled under ``NUMBA_DISABLE_JIT=1``. Two rules keep both modes equal: never return a struct
from a function (return its index), and keep all state in signed integers.
"""

import ctypes
import inspect
import os
from collections import deque

import llvmlite.binding
import numba
import numpy as np
from numba import njit, types
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from vcpu_env.base.code_cache import DEBUG, CodeCache, cache_dir
from vcpu_env.base.header import check_indices

JIT = not numba.config.DISABLE_JIT

DECLARE_ONLY = os.environ.get("VCPU_ENV_DECLARE_ONLY", "")
"""Entry points of modules with this prefix are only declared: for a process that compiles just their callers."""

_declared: deque[CFunc] = deque()
"""Entry points that have not been needed yet, callees before their callers."""

_loading = False
"""Whether they are being loaded now, by whoever holds the compiler's lock."""

_callbacks: dict[str, CFunc] = {}
"""Those that have, by symbol. Keeps their machine code alive."""

NIL = -1
"""The id that means "none"."""


if JIT:
    numba.config.CACHE_DIR = str(cache_dir())  # of a user's own functions that are kept: they call the machine's


def kjit(function, parallel=False):
    """Compile a function of the machine, or one that runs machines.

    A call with a constant argument compiles no version of its own, which Numba would do for every constant: that alone
    more than doubles the time to compile the kernel. Integer semantics of C division are the writer's own affair
    (`kernel.weights`).
    """
    compiled = njit(error_model="numpy", nogil=True, boundscheck=DEBUG, parallel=parallel)(function)
    if JIT:
        compiled._cache = CodeCache(function, variant="parallel" if parallel else "")
        call_template, compile_version = compiled.get_call_template, compiled.compile

        def without_literals(args, kws):
            plain = {name: types.unliteral(kind) for name, kind in dict(kws).items()}
            return call_template(tuple(types.unliteral(kind) for kind in args), plain)

        def after_entry_points(signature):
            load_entry_points()
            return compile_version(signature)

        compiled.get_call_template, compiled.compile = without_literals, after_entry_points
    return compiled


def parallel_kjit(function):
    """`kjit` for a function whose `prange` loops run in several threads."""
    return kjit(function, parallel=True)


def entry_point(function):
    """Compile a function of integers once, to be called by symbol from other compiled functions.

    Numba copies a compiled function into every caller's module, and optimises it there again; for the large functions
    at the borders between layers that is most of the time to compile. All arguments and the result are int64.
    Declaring one compiles nothing: importing a module is quick, and what is wrong with an input can be said at once.
    """
    if not JIT:
        return function
    signature = types.int64(*[types.int64] * len(inspect.signature(function).parameters))
    symbol = symbol_of(function)
    if DECLARE_ONLY and function.__module__.startswith(DECLARE_ONLY):
        llvmlite.binding.add_symbol(symbol, ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value)
        return types.ExternalFunction(symbol, signature)
    options = {"nopython": True, "error_model": "numpy", "nogil": True}
    callback = CFunc(function, sigutils.normalize_signature(signature), {}, options)
    callback._cache = CodeCache(function)
    _declared.append(callback)
    return types.ExternalFunction(symbol, signature)


def symbol_of(function) -> str:
    """The symbol of an entry point."""
    return f"{function.__module__}.{function.__name__}"


def load_entry_points() -> None:
    """Load all entry points that have been declared, or compile them: code that is linked now may call any of them.

    It has to come before anything else is being compiled, or a function could need itself in order to be compiled. What
    is interrupted goes on at the next call.
    """
    global _loading
    if not _declared:
        return
    with global_compiler_lock:
        if _loading:  # one of them needs a function
            return
        _loading = True
        try:
            while _declared:
                callback = _declared[0]
                callback.compile()
                symbol = symbol_of(callback.__wrapped__)
                _callbacks[symbol] = callback
                llvmlite.binding.add_symbol(symbol, callback.address)
                _declared.popleft()
        finally:
            _loading = False


def call(function, *args):
    """Call an entry point from Python. Compiled, it runs without the global interpreter lock.

    Raises:
        IndexError: with `VCPU_ENV_DEBUG=1`: it has reached for a struct that the world does not have.
    """
    if JIT:
        load_entry_points()
        result = _callbacks[function.symbol].ctypes(*args)
        if DEBUG:
            check_indices(args[0])
        return result
    with np.errstate(over="ignore"):  # int64 bit patterns of u64 wrap
        return function(*args)
