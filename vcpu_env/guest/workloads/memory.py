"""TLB shootdowns as the guest's memory calls make them: under mmap_lock or not."""

from vcpu_env.guest.program import Instances, Program


def unlocked_shootdown(program: Program, kernel_ns: float) -> None:
    """A TLB shootdown under no lock that other threads want."""
    program.kernel(kernel_ns)
    program.shootdown()


def locked_shootdown(program: Program, mmap_lock: Instances, shared: bool, kernel_ns: float) -> None:
    """A TLB shootdown under mmap_lock."""
    program.lock(mmap_lock, shared=shared)
    unlocked_shootdown(program, kernel_ns)
    program.unlock()
