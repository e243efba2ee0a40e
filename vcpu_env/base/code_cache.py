"""Where compiled code is kept: files of named pieces of it, verified when they are read.

The directory is named after the package's source, the compiler, Python and the processor, and the files after the
functions in it and what these were compiled from, so that it does not matter where the source lies; code of another
source that was compiled from the same is taken over. Every file begins with a digest of the rest: what is damaged is
compiled again. Files appear whole (written elsewhere, then renamed), so that any number of processes may
read and fill a directory at once; where nothing can be written, code that is there is used and the rest is compiled for
this process only.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import re
import sys
import uuid
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import platformdirs
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

DEBUG = os.environ.get("VCPU_ENV_DEBUG", "") not in ("", "0")
PACKAGE = Path(__file__).parent.parent
SUFFIX = ".code"
IMPORT = re.compile(r"^ *(?:from|import) (vcpu_env[\w.]*)(?: import (\([^)]*\)|.*))?", re.MULTILINE)
DIGEST_BYTES = 32


def compiler() -> bytes:
    """What compiles, and how."""
    return f"numba {numba.__version__} numpy {np.__version__} debug {DEBUG}".encode()


def source_hash() -> str:
    """Hash of every source file of the package and of the compiler's version.

    Numba's own check sees only the file that defines a function, so an edit elsewhere would leave stale code behind.
    """
    digest = hashlib.sha256(compiler())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def imported(path: Path) -> frozenset[Path]:
    """Files of the package that a file of it imports from."""
    found = set()
    for module, names in IMPORT.findall(path.read_text()):
        parts = PACKAGE.parent.joinpath(*module.split("."))
        several = [parts / word for word in re.findall(r"\w+", names)]
        found |= {file for one in (parts, *several) for file in (one.with_suffix(".py"), one / "__init__.py")}
    return frozenset(file for file in found if file.exists() and file.parent != PACKAGE)


@functools.cache
def closure_hash(path: Path) -> str:
    """Hash of a file of the package and of all that it imports from, directly or not: what its code is compiled from.

    A constant, a struct or a function that compiled code uses has been imported; an edit of any other file leaves it
    as it is.
    """
    reached, ahead = {path}, [path]
    while ahead:
        new = imported(ahead.pop()) - reached
        reached |= new
        ahead += new
    digest = hashlib.sha256(compiler())
    for file in sorted(reached):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def target_hash() -> str:
    """Hash of what else machine code depends on: Python, LLVM, the processor."""
    binding = llvmlite.binding
    parts = (
        platform.python_implementation(),
        sys.version_info[:2],
        getattr(sys, "abiflags", ""),
        llvmlite.__version__,
        binding.get_process_triple(),
        numba.config.CPU_NAME or binding.get_host_cpu_name(),
        numba.config.CPU_FEATURES or binding.get_host_cpu_features().flatten(),
        numba.config.OPT,
        numba.config.BOUNDSCHECK,
        numba.config.DEBUGINFO_DEFAULT,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


@functools.cache
def _directory_name() -> str:
    return f"{source_hash()}-{target_hash()}"


def cache_dir() -> Path:
    """Directory of compiled code; ``VCPU_ENV_CACHE_DIR`` overrides the user's cache directory."""
    root = os.environ.get("VCPU_ENV_CACHE_DIR") or platformdirs.user_cache_dir("vcpu_env")
    return Path(root) / _directory_name()


@functools.cache
def tell(line: str) -> None:
    """Say something about the cache; a process says it once."""
    print(line, file=sys.stderr, flush=True)


def digest_of(body: bytes) -> bytes:
    """What a file begins with."""
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def read_verified(path: Path) -> bytes | None:
    """What a file holds after its digest; None if it is not there, cannot be read or is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[DIGEST_BYTES:]
    return body if body and data[:DIGEST_BYTES] == digest_of(body) else None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that no reader ever sees a part of it.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    part = path.with_name(f".{uuid.uuid4().hex}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def take_over(path: Path) -> bool:
    """Put the same code of another source in a file's place, if there is any; whether there was."""
    target = path.parent.name.rpartition("-")[2]
    for other in path.parent.parent.glob(f"*-{target}/{path.name}"):
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(other)
            return True
    return False


storing = True
"""Whether this process keeps what it compiles."""


def version_name(function: Any, variant: str, args: Any) -> str:
    """The name of one compiled version of a function, for arguments of these types.

    Args:
        function: in Python. Functions outside the package are told apart by their files, what these hold, and all of
            the package.
        variant: tells apart what one function is compiled to in several ways.
    """
    code = function.__code__
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    parts = [variant, str(args), str(code.co_firstlineno), code.co_code.hex()]
    digest = hashlib.sha256("\n".join(parts).encode() + (dumps(cells) if cells else b""))
    source = Path(code.co_filename).resolve()
    if source.is_relative_to(PACKAGE.resolve()):
        digest.update(closure_hash(PACKAGE / source.relative_to(PACKAGE.resolve())).encode())
    else:
        digest.update(str(source).encode() + (source.read_bytes() if source.exists() else b""))
        digest.update(source_hash().encode())
    qualname = function.__qualname__.replace("<", "").replace(">", "")
    return f"{function.__module__}.{qualname}-{digest.hexdigest()[:20]}"


def kept_code(name: str, directory: Path | None = None) -> bytes | None:
    """What is kept under a name; None if there is nothing that is whole."""
    path = (directory or cache_dir()) / f"{name}{SUFFIX}"
    body = read_verified(path)
    if body is None and (path.exists() or take_over(path)):  # another process may have put it there just now
        body = read_verified(path)
    if body is None and path.exists():
        tell(f"compiled code in {path.parent} is damaged, as {path.name}: it is compiled again")
    return body


def keep_code(name: str, body: bytes, directory: Path | None = None) -> None:
    """Keep compiled code under a name, if it can be kept."""
    global storing
    if not storing:
        return
    directory = directory or cache_dir()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / f"{name}{SUFFIX}", digest_of(body) + body)
    except OSError as error:
        storing = False
        tell(f"compiled code cannot be kept in {directory} ({error.strerror}): it is for this process only")


class CodeCache(_Cache):
    """The compiled versions of a function that Numba compiles as a whole, as its dispatchers ask for them.

    Attributes:
        directory: where they are kept; None: `cache_dir`, made when something is stored.
    """

    def __init__(self, function: Any, directory: Path | None = None):
        self.function, self.directory = function, directory or cache_dir()
        self.enabled = True

    @property
    def cache_path(self) -> str:
        """The directory."""
        return str(self.directory)

    def enable(self) -> None:
        """Use the cache."""
        self.enabled = True

    def disable(self) -> None:
        """Do not use the cache."""
        self.enabled = False

    def flush(self) -> None:
        """Forget all versions of the function."""
        for path in self.directory.glob(f"{version_name(self.function, 'whole', ()).rpartition('-')[0]}-*{SUFFIX}"):
            path.unlink()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled version for a signature; None if there is none that is whole."""
        target_context.refresh()
        body = kept_code(version_name(self.function, "whole", sig), self.directory) if self.enabled else None
        return CompileResult._rebuild(target_context, *pickle.loads(body)) if body else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled version, if it can be kept."""
        if self.enabled and not data.library.has_dynamic_globals and not data.lifted:
            keep_code(version_name(self.function, "whole", sig), dumps(data._reduce()), self.directory)
