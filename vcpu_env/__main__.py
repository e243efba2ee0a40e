"""``python -m vcpu_env`` is the console script ``vcpu-env``."""

from vcpu_env.cli import main

main()
