"""Queues between the stages of a pipeline, as PARSEC's programs build them from a mutex and condition variables."""

from dataclasses import dataclass

from vcpu_env.guest.program import PICK_FIRST, Instances, Program


@dataclass(frozen=True)
class Pipe:
    """One queue, or one for each lane: a mutex held for `hold_ns`, then the wait for an item or for room."""

    mutexes: Instances
    queues: Instances
    hold_ns: float

    def _lock(self, program: Program, pick: int) -> None:
        program.lock(self.mutexes, pick)
        program.user(self.hold_ns)
        program.unlock()

    def get(self, program: Program, pick: int = PICK_FIRST) -> None:
        """Take an item out."""
        self._lock(program, pick)
        program.get(self.queues, pick)

    def put(self, program: Program, pick: int = PICK_FIRST) -> None:
        """Put an item in."""
        self._lock(program, pick)
        program.put(self.queues, pick)
