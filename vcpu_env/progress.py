"""How far something is, on stderr: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

EVERY_S = 10.0


def duration(seconds: float) -> str:
    """Seconds to read: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Shows how much of something is done.

    Args:
        what: it is.
        total: how much there is to do, in `unit`.
        done: how much is done before it begins.
        expected_s: how long it will take, if that is known better than from what is done.
    """

    def __init__(self, what: str, total: int, unit: str, done: int = 0, expected_s: float | None = None):
        self.what, self.total, self.unit, self.first, self.done = what, max(1, total), unit, done, done
        self.expected_s = expected_s
        console = Console(stderr=True)
        self.lines = not console.is_terminal
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}", markup=False)
        self.bar = Bar(*columns, console=console, transient=True, disable=self.lines)
        self.task = self.bar.add_task(what, total=self.total, completed=done, state="")
        self.begin = self.told = time.monotonic()

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop()

    def state(self, detail: str) -> str:
        """What is done, how long it has taken and will take, in words."""
        elapsed_s = time.monotonic() - self.begin
        words = [f"{self.done} of {self.total} {self.unit}", duration(elapsed_s)]
        if self.expected_s is not None:
            words[-1] += f" of about {duration(self.expected_s)}"
        elif self.done > self.first:
            words.append(f"{duration(elapsed_s * (self.total - self.done) / (self.done - self.first))} left")
        return ", ".join([*words, detail] if detail else words)

    def show(self, done: int, detail: str = "") -> None:
        """So much is done; `detail` is what is being done. Call it often: it is shown when it is time."""
        self.done = min(done, self.total)
        if not self.lines:
            self.bar.update(self.task, completed=self.done, state=self.state(detail))
        elif time.monotonic() - self.told >= EVERY_S:
            self.told = time.monotonic()
            print(f"{self.what}: {self.state(detail)}", file=sys.stderr, flush=True)
