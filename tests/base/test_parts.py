"""What is made of small functions, and what of Numba's insides that rests on: a release that changes it fails here."""

import numpy as np
import pytest
from numba import njit, types
from numba.core.codegen import CPUCodegen, CPUCodeLibrary, JitEngine
from numba.core.compiler import Flags

from vcpu_env.base import parts
from vcpu_env.base.code_cache import PACKAGE, imported
from vcpu_env.base.jit import JIT, OPTIONS, kjit
from vcpu_env.base.timeline import machine_clock
from vcpu_env.base.trace_ring import SCHED, record, traced

pytestmark = pytest.mark.skipif(not JIT, reason="uncompiled, there are no parts")
INT = types.int64


@kjit
def halved(x):
    return x >> 1


@kjit
def added(x, y):
    return halved(x) + y


@kjit
def raises(x):
    if x > 1:
        raise ValueError("more than one")
    return added(x, 1)


@kjit
def summed(numbers):
    total = 0
    for i in range(len(numbers)):
        total += raises(numbers[i])
    return total


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr(parts, "kept_code", lambda name: None)
    monkeypatch.setattr(parts, "keep_code", lambda name, body: None)


def fresh(function):
    """The function, not compiled yet."""
    return parts.MachineFunction(function.py_func, targetoptions=OPTIONS)


def test_numba_still_has_what_parts_are_made_with():
    for owner, names in {
        CPUCodeLibrary: ("add_linking_library", "add_ir_module", "finalize", "_get_module_for_linking"),
        CPUCodegen: ("_create_empty_module", "_module_pass_manager"),
        JitEngine: ("finalize_object", "get_function_address"),
        Flags: ("no_compile", "no_cpython_wrapper", "no_cfunc_wrapper"),
    }.items():
        missing = [name for name in names if not hasattr(owner, name)]
        assert not missing, f"{owner.__name__} of this Numba has no {', '.join(missing)}: vcpu_env/base/parts.py"
    codegen = parts.codegen()
    assert hasattr(codegen, "_tm") and hasattr(codegen._engine, "_ee"), "Numba's code generator: vcpu_env/base/parts.py"


def test_a_part_has_its_own_code_only():
    part = fresh(added).part((INT, INT)).library
    (function,) = parts.defined(part._final_module)
    assert "added" in function.name
    assert [library.name.split("-")[0] for library in part._linking_libraries] == [f"{__name__}.halved"]
    assert not part.has_dynamic_globals


def test_names_are_the_same_however_often_it_is_compiled():
    first, second = (fresh(added).part((INT, INT)) for _ in range(2))
    assert first.fndesc.mangled_name == second.fndesc.mangled_name


def test_python_calls_machine_code():
    assert fresh(added)(10, 3) == 8
    assert fresh(summed)(np.array([0, 1])) == 2
    with pytest.raises(ValueError, match="more than one"):
        fresh(summed)(np.array([0, 2]))


def test_what_is_called_within_has_no_symbol():
    """A function within may have lost arguments that it does not use; whoever else has one of its name has his own."""
    assert fresh(summed)(np.array([0, 1])) == 2
    for function in (halved, added, raises):
        version = function.part((INT,) * function.py_func.__code__.co_argcount)
        assert parts.address_of(version.fndesc.llvm_func_name) == 0


def test_a_constant_argument_makes_no_version_of_its_own():
    function = fresh(added)

    @kjit
    def caller(x):
        return function(x, 1) + function(x, 2)

    assert caller(4) == 7
    assert len(function._parts) == 1


def test_code_that_numba_compiles_itself_calls_parts():
    @njit
    def outside(x):
        return added(x, 1)

    assert outside(4) == 3


def test_a_kept_part_is_the_part():
    version = fresh(summed).part((types.int64[::1],))
    kept = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "keep_code", kept.__setitem__)
        for library in parts.reached([version.library]):
            if isinstance(library, parts.Part):
                parts.keep_part(parts._versions[library.name])
        patch.setattr(parts, "kept_code", kept.get)
        patch.setattr(parts, "_versions", {})
        loaded = parts.load_part(version.library.name)
        assert loaded.fndesc.mangled_name == version.fndesc.mangled_name
        names = [{library.name for library in parts.reached([one.library]) if isinstance(library, parts.Part)}
                 for one in (loaded, version)]  # fmt: skip
        assert names[0] == names[1] and len(names[0]) == 4
        del kept[next(name for name in kept if ".halved-" in name)]
        patch.setattr(parts, "_versions", {})
        assert parts.load_part(version.library.name) is None


def test_entry_points_that_are_compiled_together_are_found_together():
    """A folder that has them in several modules has a module `entry_points` that imports these."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "\n@entry_point\n" in path.read_text():
            modules.setdefault(PACKAGE / path.relative_to(PACKAGE).parts[0], set()).add(path)
    assert modules
    for folder, found in modules.items():
        if len(found) > 1:
            reached, ahead = set(), [folder / "entry_points.py"]
            while ahead:
                path = ahead.pop()
                if path not in reached:
                    reached.add(path)
                    ahead += imported(path)
            assert found <= reached, f"{folder.name}/entry_points.py"


@kjit
def looked_at_twice(w):
    """A field, before and behind a place where records are written."""
    first = machine_clock(w).now_ns
    if traced(w, SCHED):
        record(w, 0, 0, 0, 0, 0, 0, 0, 0)
    return first + machine_clock(w).now_ns


def test_what_was_loaded_is_good_behind_a_record():
    """The compiler is told that records change nothing that the machine reads: the field is loaded once."""
    part = fresh(looked_at_twice).part((INT,)).library
    whole = parts.link([], [part])
    passes, builder = parts.codegen()._module_pass_manager()
    passes.run(whole, builder)
    text = str(whole)
    assert (
        text.count("load i64") == 3 and "inaccessiblemem: readwrite" in text
    )  # the struct's place, the field, the switch
