"""The flag that asks machines to stop between two events, as compiled code sees it (`base.interrupts` sets it)."""

import ctypes
from typing import Any

import llvmlite.binding
from numba import types

from vcpu_env.base import interrupts
from vcpu_env.base.jit import JIT

_SOURCE = """
@asked = internal global i64 0

define i64 @stop_asked() {
  %value = load volatile i64, ptr @asked
  ret i64 %value
}

define void @ask_to_stop(i64 %value) {
  store volatile i64 %value, ptr @asked
  ret void
}
"""


def _assembled() -> Any:
    """The flag and its two functions, as machine code."""
    llvmlite.binding.initialize_native_target()
    llvmlite.binding.initialize_native_asmprinter()
    machine = llvmlite.binding.Target.from_default_triple().create_target_machine()
    engine = llvmlite.binding.create_mcjit_compiler(llvmlite.binding.parse_assembly(_SOURCE), machine)
    engine.finalize_object()
    return engine


if JIT:
    _engine = _assembled()
    _symbol = f"{__name__}.stop_asked"
    llvmlite.binding.add_symbol(_symbol, _engine.get_function_address("stop_asked"))
    stop_asked = types.ExternalFunction(_symbol, types.int64())
    interrupts.ask_machines_by(ctypes.CFUNCTYPE(None, ctypes.c_int64)(_engine.get_function_address("ask_to_stop")))
else:

    def stop_asked() -> int:
        """Uncompiled, Python itself handles signals between two instructions."""
        return 0
