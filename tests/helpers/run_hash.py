"""``python -m tests.helpers.run_hash SCENARIO POLICY SEED END_NS``: run a machine and print the hash of its state."""

import hashlib
import os
import subprocess
import sys

from tests.helpers.at_once import at_once
from tests.helpers.paths import ROOT
from vcpu_env.machine import Machine
from vcpu_env.scenario import load_scenario


def run_hash(scenario: str, policy: str, seed: int, end_ns: int) -> str:
    machine = Machine(at_once(load_scenario(scenario)), policy, seed)
    machine.run_until(end_ns)
    return hashlib.sha256(machine.world.words.tobytes()).hexdigest()


def run_hash_elsewhere(scenario: str, policy: str, seed: int, end_ns: int, **environment: str) -> str:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "tests.helpers.run_hash", scenario, policy, str(seed), str(end_ns)]
    done = subprocess.run(command, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


if __name__ == "__main__":
    print(run_hash(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
