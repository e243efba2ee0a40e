"""Imported first by the environments: the simulator is compiled here, side by side and with a word about it.

The imports that follow would compile it as well, but one part after the other and in silence.
"""

from vcpu_env.precompile import ensure_compiled

ensure_compiled()
