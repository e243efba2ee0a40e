"""Numbers of the rows of a Perfetto trace."""

VM_ROWS = (
    ("spinning", "% of a CPU"),
    ("waiting for a CPU (steal)", "% of a CPU"),
    ("in the guest, spinning aside", "% of a CPU"),
    ("PLE window", "ns"),
    ("guest threads", None),
    ("locks", None),
)
"""Rows of a VM: counters with their units, over all its vCPUs, and two groups of rows."""

PLE_ROW = 3
"""Place of the PAUSE-loop window among them."""

_VM, _TASK, _THREAD, _LOCK, _WINDOW, _GROUP = (kind << 32 for kind in range(1, 7))


def vm_row(vm: int, part: int = 0) -> int:
    """A VM's process (0), or one of its `VM_ROWS` (1 ..)."""
    return _VM + vm * 16 + part


def task_row(task: int) -> int:
    """A task of the host."""
    return _TASK + task


def thread_row(thread: int) -> int:
    """A guest thread."""
    return _THREAD + thread


def lock_row(lock: int) -> int:
    """A guest's lock."""
    return _LOCK + lock


def group_row(tg: int) -> int:
    """A task group that has a quota."""
    return _GROUP + tg


def window_row() -> int:
    """Begin and end of the recording."""
    return _WINDOW
