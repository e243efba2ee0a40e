"""Compiling the machine before it is needed, once after each change of the sources, and saying so.

Two processes compile: one the host scheduler, one all above it. This one shows how far they are, and can be
interrupted.
"""

import contextlib
import fcntl
import functools
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcpu_env.base import code_cache
from vcpu_env.base.code_cache import SUFFIX, cache_dir, digest_of, read_verified, tell, write_whole
from vcpu_env.base.jit import JIT, compile_entry_points

if TYPE_CHECKING:
    from vcpu_env.progress import Progress

MARKER = "complete"
"""File that says that everything a simulation needs is there, and names it; touched at each use."""

KEPT = 8
"""Sources whose code is kept: those used last."""

UNFINISHED_S = 86_400
"""A directory that has not been completed is kept for a day."""

NEEDED_BYTES = 30 << 20
EXPECTED = {"seconds": 20.0, "files": 771}
"""Until a machine has compiled once: how long it takes, and how many functions there are."""


@functools.cache
def ensure_compiled() -> None:
    """Compile what every simulation needs, unless that has been done since the sources changed.

    Call it when all that is cheap to check has been checked, and before worker processes start: each of them would
    compile everything for itself.
    """
    directory = cache_dir()
    if not JIT or is_complete(directory):
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(directory).free < NEEDED_BYTES:
            raise OSError(0, "the disk is full")
        with alone(directory):
            if not is_complete(directory):
                compile_all(directory)
                forget_old_sources(directory)
    except OSError as error:
        from vcpu_env.progress import duration

        code_cache.storing = False
        expected = duration(expectation(directory.parent)["seconds"])
        tell(
            f"compiled code cannot be kept in {directory} ({error.strerror}): what is missing is compiled for this "
            f"process only, all of it takes {expected}"
        )


def is_complete(directory: Path) -> bool:
    """Whether all code is there and whole; damaged files are deleted, and that is said."""
    marker = directory / MARKER
    body = read_verified(marker)
    if body is None:
        return False
    damaged = [name for name in json.loads(body)["files"] if read_verified(directory / name) is None]
    if damaged:
        tell(f"compiled code in {directory} is damaged ({len(damaged)} files, as {damaged[0]}): it is compiled again")
        with contextlib.suppress(OSError):
            for name in [MARKER, *damaged]:
                (directory / name).unlink(missing_ok=True)
        return False
    with contextlib.suppress(OSError):  # a cache that may only be read
        marker.touch()
    return True


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; whoever comes second waits, and says so."""
    with (directory / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell("waiting for another process that compiles the simulator")
                time.sleep(0.1)
            except OSError:  # a file system without locks; files are written whole anyway
                break
        yield


def expectation(root: Path) -> dict[str, Any]:
    """How long the last compilation under `root` took, and how many files it left."""
    markers = sorted(root.glob(f"*/{MARKER}"), key=lambda path: path.stat().st_mtime)
    body = read_verified(markers[-1]) if markers else None
    if body is None:
        return EXPECTED
    last = json.loads(body)
    return {"seconds": last["seconds"], "files": len(last["files"])}


def compile_all(directory: Path) -> None:
    """Fill a directory and mark it as complete."""
    from vcpu_env.progress import Progress, duration  # only here: it takes longer than the rest of a warm start

    expected = expectation(directory.parent)
    print(
        f"compiling the simulator, about {duration(expected['seconds'])}, once after each change",
        file=sys.stderr,
        flush=True,
    )
    begin, mended = time.monotonic(), any(directory.glob(f"*{SUFFIX}"))
    with Progress("compiling", expected["files"], "functions", expected_s=expected["seconds"]) as progress:
        wait_for([start_half("kernel"), start_half("upper")], directory, progress)
        from vcpu_env.machine import Machine
        from vcpu_env.scenario import load_scenario

        machine = Machine(load_scenario("dbench-1vm-2vcpu"), "series-v2", 0)
        machine.run_until(1_000_000)
        machine.counters()
    names = sorted(path.name for path in directory.glob(f"*{SUFFIX}"))
    seconds = expected["seconds"] if mended else time.monotonic() - begin
    body = json.dumps({"seconds": seconds, "files": names}).encode()
    if code_cache.storing:
        write_whole(directory / MARKER, digest_of(body) + body)


def start_half(half: str) -> subprocess.Popen[bytes]:
    """A process that compiles a half; what it says is said again by this process, which compiles what is missing."""
    return subprocess.Popen(
        [sys.executable, "-m", "vcpu_env.precompile", half],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(halves: list[subprocess.Popen[bytes]], directory: Path, progress: "Progress") -> None:
    """Show what the processes have stored until they end; whatever ends the wait ends them."""
    seen: set[str] = set()
    newest = ""
    try:
        while any(half.poll() is None for half in halves):
            stored = {name for name in os.listdir(directory) if name.endswith(SUFFIX)}
            newest = next(iter(stored - seen), newest)
            seen = stored
            progress.show(len(stored), newest.rpartition("-")[0].removeprefix("vcpu_env."))
            time.sleep(0.1)
    finally:
        for half in halves:
            half.kill()
            half.communicate()


def forget_old_sources(directory: Path) -> None:
    """Delete the compiled code of all but the `KEPT` sources used last, each about 8 MB, and what nobody finished."""
    others = [path for path in directory.parent.iterdir() if path.is_dir() and path != directory]
    used = {path: marker.stat().st_mtime for path in others if (marker := path / MARKER).exists()}
    old = sorted(used, key=lambda path: used[path], reverse=True)[KEPT - 1 :]
    unfinished = [path for path in others if path not in used and time.time() - path.stat().st_mtime > UNFINISHED_S]
    for path in old + unfinished:
        shutil.rmtree(path, ignore_errors=True)


def compile_half(half: str) -> None:
    """In a process of its own: compile the host scheduler, or all above it."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    gc.disable()  # a seventh of the time, and all that is made is kept
    import vcpu_env.engine.loop  # noqa: F401

    if half == "kernel":
        compile_entry_points(["vcpu_env.kernel"])
    else:
        compile_entry_points(["vcpu_env.engine", "vcpu_env.guest", "vcpu_env.base"])


def end_with_parent() -> None:
    """End when the process at the other end of standard input has ended."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    compile_half(sys.argv[1])
