"""Records scheduler events in a private tracefs instance that is gone afterwards, whatever happens."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vcpu_env.realism.ring_buffer import Formats, parse_format, parse_pages

WAKE_EVENTS = ("sched_waking", "sched_wakeup")
"""Both, because they differ on the way to another CPU: the first is the waker's, the second the woken task's."""
SWITCH_FIELDS = ["prev_pid", "prev_state", "next_pid"]


class TraceError(ValueError):
    """Why nothing could be recorded, on one line."""


@contextlib.contextmanager
def mounted() -> Iterator[Path]:
    """Where tracefs is: a mount that exists, or one for the time being.

    Raises:
        TraceError: not root, or the kernel refuses.
    """
    if os.geteuid() != 0:
        raise TraceError("realism: recording needs root (allowed: root, or --compare FILE)")
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        _, where, kind, *_ = line.split()
        if kind == "tracefs" and os.access(f"{where}/instances", os.W_OK):
            yield Path(where)
            return
    with tempfile.TemporaryDirectory(prefix="vcpu-env-") as where:
        mount = subprocess.run(["mount", "-t", "tracefs", "tracefs", where], capture_output=True, text=True)
        if mount.returncode:
            reason = (mount.stderr.strip().splitlines() or ["no tracefs"])[-1]
            raise TraceError(
                f"realism: tracefs cannot be mounted ({reason}; allowed: a kernel with it, --compare FILE)"
            )
        try:
            yield Path(where)
        finally:
            subprocess.run(["umount", where], check=True)


class Instance:
    """A tracefs instance: its own buffers, its own set of events, nobody else's trace disturbed."""

    def __init__(self, tracefs: Path, buffer_kb: int):
        self.path = tracefs / "instances" / f"vcpu-env-{os.getpid()}"
        try:
            self.path.mkdir()
        except OSError as error:
            raise TraceError(f"realism: no tracefs instance ({error.strerror}; allowed: a writable tracefs)") from None
        try:
            self._set_up(buffer_kb)
        except OSError as error:
            self.close()
            raise TraceError(f"realism: tracefs refuses {error.filename} ({error.strerror})") from None

    def _set_up(self, buffer_kb: int) -> None:
        self.write("tracing_on", "0")
        self.write("trace_clock", "mono")
        self.write("options/overwrite", "0")
        self.write("buffer_size_kb", str(buffer_kb))
        for event in ("sched_switch", *WAKE_EVENTS):
            self.write(f"events/sched/{event}/enable", "1")
        texts = [(self.path / f"events/sched/{e}/format").read_text("utf-8") for e in ("sched_switch", *WAKE_EVENTS)]
        wakes = tuple(parse_format(text, ["pid"]) for text in texts[1:])
        self.formats = Formats(parse_format(texts[0], SWITCH_FIELDS), wakes)
        subbuf = self.path / "buffer_subbuf_size_kb"
        self.page_size = 1024 * int(subbuf.read_text("utf-8")) if subbuf.exists() else os.sysconf("SC_PAGESIZE")

    def write(self, file: str, text: str) -> None:
        """Set one of the instance's files."""
        (self.path / file).write_text(text, "utf-8")

    def start(self) -> None:
        """Record from now on."""
        self.write("tracing_on", "1")

    def stop(self) -> np.ndarray:
        """Stop and return all events, process ids as they are.

        Raises:
            TraceError: the buffer was too small.
        """
        self.write("tracing_on", "0")
        cpus = sorted((self.path / "per_cpu").glob("cpu[0-9]*"), key=lambda path: int(path.name[3:]))
        lost = sum(lost_events((cpu / "stats").read_text("utf-8")) for cpu in cpus)
        if lost:
            raise TraceError(f"realism: {lost} events lost (allowed: none; give more --buffer-kb or fewer --seconds)")
        data = {int(cpu.name[3:]): read_all(cpu / "trace_pipe_raw", self.page_size) for cpu in cpus}
        return parse_pages(data, self.page_size, self.formats)

    def close(self) -> None:
        """Remove the instance. Its buffers may be in use for a moment after the last read."""
        with contextlib.suppress(OSError):
            self.write("tracing_on", "0")
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.02)
        raise TraceError(f"realism: {self.path} could not be removed (remove it with rmdir)")


def lost_events(stats: str) -> int:
    """Events that a CPU's buffer had no room for, from its ``stats`` file."""
    counts = dict(line.split(": ", 1) for line in stats.splitlines() if ": " in line)
    return sum(int(counts.get(name, 0)) for name in ("overrun", "commit overrun", "dropped events"))


def read_all(path: Path, page_size: int) -> bytes:
    """All pages of one CPU's buffer; reading consumes them."""
    pages = []
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while page := os.read(fd, page_size):
            pages.append(page.ljust(page_size, b"\0"))
    except BlockingIOError:
        pass
    finally:
        os.close(fd)
    return b"".join(pages)


@contextlib.contextmanager
def instance(buffer_kb: int) -> Iterator[Instance]:
    """A private instance for the time of a with block."""
    with mounted() as tracefs:
        private = Instance(tracefs, buffer_kb)
        try:
            yield private
        finally:
            private.close()
