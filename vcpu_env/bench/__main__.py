"""Says what measures speed: ``python -m vcpu_env.bench`` is none of it."""

import sys

if __name__ == "__main__":
    print(
        "error: vcpu_env.bench: nothing to run (allowed: vcpu-env bench, python -m vcpu_env.bench.envs)",
        file=sys.stderr,
    )
    sys.exit(2)
