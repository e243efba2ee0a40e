"""Which vCPU ran where, doing what: samples of a machine over its last milliseconds, kept in a ring of columns."""

from typing import Any, NamedTuple

import numpy as np

from vcpu_env.base.world import World
from vcpu_env.guest.types import SEG_SPIN
from vcpu_env.kvm import pcpu

IDLE, HOST, POLL, COMPUTE = pcpu.IDLE, pcpu.HOST, pcpu.POLL, pcpu.GUEST
SPIN, UNSEEN = COMPUTE + 1, COMPUTE + 2
"""What a CPU does: the modes of `kvm.pcpu`, with guest mode told apart; UNSEEN: no sample of that time was taken."""

MAX_COLUMNS = 10_000
GOLDEN_Q32 = 2_654_435_769
"""2^32 divided by the golden ratio: its multiples modulo 2^32 are spread evenly."""


class Samples(NamedTuple):
    """Samples in the order of time, as arrays (CPUs, columns); column i covers `sample_ns` from start_ns + i *
    sample_ns on.

    Attributes:
        start_ns: simulated time of the first column.
        activity: IDLE, HOST, POLL, COMPUTE, SPIN or UNSEEN.
        vm: the VM whose vCPU has the CPU, -1 if none has.
        vcpu_idx: that vCPU's number within its VM, -1 likewise.
        yields: directed yields that succeeded there, from the sample before on.
        ipis: reschedule and call IPIs that vCPUs received there, likewise.
    """

    start_ns: int
    activity: np.ndarray
    vm: np.ndarray
    vcpu_idx: np.ndarray
    yields: np.ndarray
    ipis: np.ndarray


class Gantt:
    """A chart of CPUs x time as data: it fills from the left and, once full, moves with the time.

    Args:
        window_ns: length of time that is kept.
        sample_ns: time of one column.

    Attributes:
        nr_vms: VMs of the machine last sampled; 0 before the first sample.
    """

    def __init__(self, window_ns: int = 40_000_000, sample_ns: int = 50_000):
        if sample_ns < 1:
            raise ValueError(f"sample_ns: value {sample_ns} (allowed: integer >= 1)")
        self.columns = window_ns // sample_ns
        if not 1 <= self.columns <= MAX_COLUMNS:
            raise ValueError(f"window_ns: value {window_ns} (allowed: 1..{MAX_COLUMNS} times sample_ns, {sample_ns})")
        self.sample_ns = sample_ns
        self.nr_vms = 0
        self._resize(0)

    def _resize(self, nr_cpus: int) -> None:
        """Forget everything; from now on for `nr_cpus` CPUs."""
        shape = (self.columns, nr_cpus)  # the ring; the column of time t is number t // sample_ns modulo its length
        self._activity = np.full(shape, UNSEEN, np.int8)
        self._vm, self._vcpu_idx = np.full(shape, -1, np.int16), np.full(shape, -1, np.int16)
        self._yields, self._ipis = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self._first = self._last = -1
        self._counted: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def nr_cpus(self) -> int:
        """CPUs of the machine last sampled; 0 before the first sample."""
        return self._activity.shape[1]

    @property
    def next_ns(self) -> int:
        """When the next sample is due: once a column, each time in another phase, or samples would beat with ticks."""
        column = self._last + 1
        return column * self.sample_ns + (column * GOLDEN_Q32 % 2**32 * self.sample_ns >> 32)

    def clear(self) -> None:
        """Forget all samples: another run begins."""
        self._resize(self.nr_cpus)

    def follow(self, machine: Any, end_ns: int) -> bool:
        """`Machine.run_until`, with a sample whenever one is due. Returns False if it stopped at a decision."""
        if self._last < 0:
            self.sample(machine.world, machine.now_ns)
        while machine.now_ns < end_ns:
            if not machine.run_until(min(end_ns, self.next_ns)):
                return False
            if machine.now_ns >= self.next_ns:
                self.sample(machine.world, machine.now_ns)
        return True

    def sample(self, world: World, now_ns: int) -> None:
        """Read the machine, which stays as it is. Later samples of one column add their events to it, no more.

        A sample from before the last one, or of a host of another size, begins a new chart.
        """
        column = now_ns // self.sample_ns
        cpus = world["pcpu"]
        if column < self._last or len(cpus) != self.nr_cpus:
            self._resize(len(cpus))
        guests = world["guest_vcpu"]
        if column != self._last:
            self._skip_to(column)
            self.nr_vms = len(world["guest_vm"])
            mode = np.where(cpus["mode"] == pcpu.TASK, HOST, cpus["mode"])
            self._see(column % self.columns, mode, cpus["vcpu"], guests)
        self._count(column % self.columns, world["task_struct"]["cpu"][: len(guests)], world["kvm_vcpu"], guests)

    def _skip_to(self, column: int) -> None:
        """Make room for a column, with nothing seen between the last one and it."""
        if self._first < 0:
            self._first = column
        skipped = np.arange(max(self._last + 1, column - self.columns + 1, self._first), column + 1) % self.columns
        self._activity[skipped] = UNSEEN
        self._vm[skipped] = self._vcpu_idx[skipped] = -1
        self._yields[skipped] = self._ipis[skipped] = 0
        self._last = column

    def _see(self, at: int, mode: np.ndarray, curr: np.ndarray, guests: np.ndarray) -> None:
        """What every CPU does now."""
        spins = (mode == COMPUTE) & (guests["segment"][curr] == SEG_SPIN)
        self._activity[at] = mode + spins * (SPIN - COMPUTE)
        self._vm[at] = np.where(curr < 0, -1, guests["vm"][curr])
        self._vcpu_idx[at] = np.where(curr < 0, -1, guests["index"][curr])

    def _count(self, at: int, task_cpu: np.ndarray, vcpus: np.ndarray, guests: np.ndarray) -> None:
        """What every vCPU's counters have grown by since the sample before, on the CPU that it is on."""
        counted = vcpus["ple_yield_ok"].copy(), guests["ipi_reschedule"] + guests["ipi_call"]
        if self._counted is not None:
            for ring, now, before in zip((self._yields, self._ipis), counted, self._counted, strict=True):
                ring[at] += np.bincount(task_cpu, now - before, self.nr_cpus).astype(np.int32)
        self._counted = counted

    def window(self) -> Samples:
        """The samples, oldest first; columns that lie ahead are UNSEEN."""
        first = max(self._first, self._last - self.columns + 1, 0)
        order = np.arange(first, first + self.columns) % self.columns
        rings = (self._activity, self._vm, self._vcpu_idx, self._yields, self._ipis)
        return Samples(first * self.sample_ns, *(ring[order].T for ring in rings))
