"""How functions are compiled, and where compiled code is kept.

Every compiled function takes the machine's state as its first argument, ``w``. State is one int64
array (`vcpu_env.base.world`), and ``w`` is its address: one register, where an array would be seven and a counted
reference at every call. `vcpu_env.base.structs` declares what lies in it and how a function reaches it.

The same source runs uncompiled under ``NUMBA_DISABLE_JIT=1``. Two rules keep both modes equal: never return a struct
from a function (return its index), and keep all state in signed integers.
"""

import ctypes
import hashlib
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Iterable
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import njit, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from vcpu_env.base.code_cache import DEBUG, CodeCache, cache_dir, keep_code, kept_code, version_name
from vcpu_env.base.header import check_indices
from vcpu_env.base.parts import MachineCode, MachineFunction, Part, address_of, by_symbol, load, machine_code

JIT = not numba.config.DISABLE_JIT

OPTIONS = {"nopython": True, "error_model": "numpy", "nogil": True, "boundscheck": DEBUG}

_declared: dict[str, "EntryPoint"] = {}
"""Entry points that have not been needed yet, by symbol."""

_callable: dict[str, Any] = {}
"""Those that have, by symbol, as C functions."""

NIL = -1
"""The id that means "none"."""


if JIT:
    numba.config.CACHE_DIR = str(cache_dir())  # of a user's own functions that are kept: they call the machine's


def kjit(function):
    """Compile a function of the machine, or one that runs machines.

    Integer semantics of C division are the writer's own affair (`kernel.weights`).
    """
    if not JIT:
        return function
    return MachineFunction(function, targetoptions=OPTIONS)


def parallel_kjit(function):
    """`kjit` for a function whose `prange` loops run in several threads."""
    compiled = njit(error_model="numpy", nogil=True, boundscheck=DEBUG, parallel=True)(function)
    if JIT:
        compiled._cache = CodeCache(function)
        compile_version = compiled.compile

        def after_entry_points(signature):
            load_entry_points()
            return compile_version(signature)

        compiled.compile = after_entry_points
    return compiled


class EntryPoint:
    """A function of integers that compiled code calls by symbol."""

    def __init__(self, function: Any):
        self.symbol = f"{function.__module__}.{function.__name__}"
        self.folder = ".".join(function.__module__.split(".")[:2])
        self.args = (types.int64,) * len(inspect.signature(function).parameters)
        self.function = MachineFunction(function, targetoptions=OPTIONS)

    @property
    def name(self) -> str:
        """The name of its part, which says what it is compiled from."""
        return version_name(self.function.py_func, "part", self.args)


def entry_point(function):
    """Compile a function of integers once, to be called by symbol from compiled functions of other folders.

    A caller's machine code does not hold it, as it would hold a `kjit` function; that keeps the machine code of a
    folder as small as its own functions. All arguments and the result are int64. Declaring one compiles nothing:
    importing a module is quick, and what is wrong with an input can be said at once.
    """
    if not JIT:
        return function
    entry = EntryPoint(function)
    _declared[entry.symbol] = entry
    return types.ExternalFunction(entry.symbol, types.int64(*entry.args))


def machine_code_of(folder: str, entries: list[EntryPoint]) -> MachineCode:
    """The machine code of a folder's entry points, all in one; as it is kept, or compiled now."""
    digest = hashlib.sha256("\n".join(entry.name for entry in entries).encode())
    name = f"{folder}-{digest.hexdigest()[:20]}"
    body = kept_code(name)
    if body is not None:
        return pickle.loads(body)  # type: ignore[no-any-return]
    parts = [entry.function.part(entry.args) for entry in entries]
    wrappers = [by_symbol(part, entry.symbol) for part, entry in zip(parts, entries, strict=True)]
    made = machine_code(wrappers, [part.library for part in parts])
    if made.portable:
        keep_code(name, dumps(made))
    return made


def declared_in(folder: str) -> list[EntryPoint]:
    """All entry points of a folder that are not callable yet. A folder that has them in several modules also has a
    module `entry_points`, which imports these.
    """
    if hasattr(sys.modules.get(folder), "__path__") and importlib.util.find_spec(f"{folder}.entry_points"):
        importlib.import_module(f"{folder}.entry_points")
    return sorted((e for e in _declared.values() if e.folder == folder), key=lambda entry: entry.symbol)


def provide(symbols: Iterable[str]) -> None:
    """Make entry points callable, and all others of their folders: code that is loaded next calls these symbols."""
    for symbol in symbols:
        if symbol in _declared:
            folder = _declared[symbol].folder
            entries = declared_in(folder)
            load(machine_code_of(folder, entries))
            for entry in entries:
                address = address_of(entry.symbol)
                llvmlite.binding.add_symbol(entry.symbol, address)
                _callable[entry.symbol] = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(entry.args))(address)
                _declared.pop(entry.symbol)


Part.provide = provide


def load_entry_points() -> None:
    """Make all entry points callable that have been declared."""
    with global_compiler_lock:
        provide(list(_declared))


def compile_entry_points(folders: Iterable[str]) -> None:
    """Have the machine code of folders in the cache; none of it is loaded."""
    for folder in folders:
        machine_code_of(folder, declared_in(folder))


def call(function, *args):
    """Call an entry point from Python. Compiled, it runs without the global interpreter lock.

    Raises:
        IndexError: with `VCPU_ENV_DEBUG=1`: it has reached for a struct that the world does not have.
    """
    if JIT:
        if function.symbol not in _callable:
            with global_compiler_lock:
                provide([function.symbol])
        result = _callable[function.symbol](*args)
        if DEBUG:
            check_indices(args[0])
        return result
    with np.errstate(over="ignore"):  # int64 bit patterns of u64 wrap
        return function(*args)
