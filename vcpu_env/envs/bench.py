"""Says where ``python -m vcpu_env.envs.bench`` has gone."""

import sys

if __name__ == "__main__":
    print("error: vcpu_env.envs.bench: has moved (now: python -m vcpu_env.bench.envs)", file=sys.stderr)
    sys.exit(2)
