"""Structs are declared once, a world holds them as laid out, and an index that no struct has is named."""

import os
import subprocess
import sys

import numpy as np
import pytest

import vcpu_env.envs.compiled.types
import vcpu_env.machine  # noqa: F401  (with the one above: declares all structs)
from vcpu_env.base.header import STRUCTS
from vcpu_env.base.structs import Struct
from vcpu_env.base.timeline import earliest, event, machine_clock, timeline_arrays
from vcpu_env.base.world import World

REACH = """
from vcpu_env.base.jit import call, entry_point
from vcpu_env.base.timeline import event, timeline_arrays
from vcpu_env.base.world import World
from vcpu_env.engine.state import engine

@entry_point
def when_ns(w, slot):
    return event(w, slot).when_ns

@entry_point
def status(w, _):
    return engine(w).status

for function, index in ((when_ns, 3), (when_ns, 8), (when_ns, -1), (status, 0)):
    world = World(timeline_arrays(8))
    world["event"]["when_ns"] = 5
    try:
        print(call(function, world.handle, index))
    except IndexError as error:
        print(error)
"""


@pytest.mark.parametrize("uncompiled", ["0", "1"])
def test_debug_mode_names_struct_and_index(uncompiled, tmp_path):
    script = tmp_path / "reach.py"
    script.write_text(REACH)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "VCPU_ENV_CACHE_DIR": str(tmp_path / "cache"),
        "NUMBA_DISABLE_JIT": uncompiled,
        "VCPU_ENV_DEBUG": "1",
    }
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "5",
        "struct event: index 8 outside 0..7",
        "struct event: index -1 outside 0..7",
        "struct engine: index 0, has none",
    ], done.stderr


@pytest.mark.core
def test_every_struct_is_declared():
    assert Struct.declared.keys() == set(STRUCTS)
    assert len(set(STRUCTS)) == len(STRUCTS)


@pytest.mark.core
@pytest.mark.parametrize(
    "declare, error",
    [
        (lambda: Struct("evnet", [("when_ns", "i8")]), "struct evnet: unknown (allowed: names in header.STRUCTS)"),
        (lambda: Struct("event", [("when_ns", "i8")]), "struct event: declared twice (allowed: once)"),
        (lambda: machine_clock.array(2), "struct machine_clock: 2 of it (allowed: 1)"),
        (lambda: World([event.array(2), event.array(4)]), "struct event: twice in a layout (allowed: once)"),
    ],
)
def test_wrong_declarations_name_the_struct(declare, error):
    with pytest.raises(ValueError) as raised:
        declare()
    assert str(raised.value) == error


@pytest.mark.core
def test_state_of_another_layout_is_refused():
    words = World(timeline_arrays(16)).words
    assert np.array_equal(World(timeline_arrays(16), words).words, words)
    with pytest.raises(ValueError, match=r"struct event: the world has 16 at byte \d+ \(allowed: the layout's 8 at"):
        World(timeline_arrays(8), words)
    with pytest.raises(ValueError, match=r"struct earliest: the world has 8 at byte \d+ \(allowed: the layout's 0 at"):
        World([event.array(16), machine_clock.array()], words)
    with pytest.raises(ValueError, match=rf"world: {len(words) - 8} words \(allowed: the layout's {len(words)}\)"):
        World(timeline_arrays(16), words[:-8])


@pytest.mark.core
def test_arrays_follow_each_other():
    world = World([event.array(3), earliest.array(5), machine_clock.array()])
    for struct, count in ((event, 3), (earliest, 5), (machine_clock, 1)):
        world[struct.name]["when_ns" if struct is not machine_clock else "now_ns"] = count
        assert len(world[struct.name]) == count
    copy = world.copy()
    world["event"]["when_ns"] = 0
    assert [int(copy[name][field].sum()) for name, field in (("event", "when_ns"), ("earliest", "when_ns"))] == [9, 25]
