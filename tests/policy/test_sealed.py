"""Rules of a user: what is refused when they are read, what stops a run, and that nothing else changes."""

import ctypes
import re

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from vcpu_env.base.jit import JIT, NIL
from vcpu_env.base.structs import StructView
from vcpu_env.kernel.yield_types import BOOST_CREDIT, SCALE_ONE_Q16
from vcpu_env.machine import Machine
from vcpu_env.policy import rivals
from vcpu_env.policy.in_file import PolicyError, policy_in_file
from vcpu_env.policy.named import SERIES_PATCHES, Policy
from vcpu_env.policy.policy import Search
from vcpu_env.policy.rules import MAX_PENALTY_NS, RULE_FAILED, RuleError, call_rule, failure, is_own, rule_address
from vcpu_env.policy.sealed import Seal
from vcpu_env.policy.view import YIELD_VIEW
from vcpu_env.scenario import load_scenario

SCENARIO = at_once(load_scenario("dedup-2vm"))
UNTIL_NS = 15_000_000


def view_of(**fields) -> np.ndarray:
    """A decision of three candidates."""
    view = np.zeros(1, YIELD_VIEW)
    view["nr_candidates"], view["target"], view["penalty_scale_q16"] = 3, NIL, SCALE_ONE_Q16
    view["candidate"][0][:3], view["waited_ns"][0][:5] = (4, 5, 7), (20, 30, 10, 99, 99)
    for name, value in fields.items():
        view[name] = value
    return view


def ask(rule, view: np.ndarray) -> int:
    """What the machine would be answered."""
    address = rule_address(rule, YIELD_VIEW)
    if JIT:
        return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(address)(view.ctypes.data)
    return call_rule(address, StructView(view, 0))


def refusal(text: str, name: str = "own.py", member: str = "") -> str:
    """The line in which a file is refused."""
    with pytest.raises(PolicyError) as error:
        policy_in_file(name, text, member)
    assert "\n" not in str(error.value)
    return str(error.value)


OUTPUTS = "(allowed: the view's boost and penalty_scale_q16"
PLAIN = "(allowed: assignments, if, for, while, return, raise, assert)"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("view.candidate[0] = 10**6", f"line 6: rule choose_target: it sets view.candidate[0] {OUTPUTS}"),
        ("view.waited_ns[10**6] += 1", f"line 6: rule choose_target: it sets view.waited_ns[10 ** 6] {OUTPUTS}"),
        ("view.nr_candidates = 10**6", f"line 6: rule choose_target: it sets view.nr_candidates {OUTPUTS}"),
        ("view.boost, x = 1, 2", "line 6: rule choose_target: it sets (view.boost, x) (allowed: names)"),
        ("TABLE[0] = 1", f"line 6: rule choose_target: it sets TABLE[0] {OUTPUTS}, and lists of its own)"),
        ("global N", f"line 6: rule choose_target: 'global N' {PLAIN}"),
        ("import numpy", f"line 6: rule choose_target: 'import numpy' {PLAIN}"),
        ("x = [i for i in range(3)]", f"line 6: rule choose_target: '[i for i in range(3)]' {PLAIN}"),
        ("try:\n        x = 1\n    except Exception:\n        x = 2", "line 6: rule choose_target: 'try:' (allowed: "),
        ("return view.nr_candidate", "the view has no field 'nr_candidate' (did you mean 'nr_candidates'?)"),
        ("return view.__class__", "the view has no field '__class__' (allowed: now_ns"),
        ("return view.waited_ns.ctypes", "the view has no field 'ctypes' (allowed: now_ns"),
        ("return np.random.rand()", "line 6: uses 'np.random' (allowed: what is the same every time)"),
        ("return np.empty(3)[0]", "line 6: rule choose_target: 'np.empty' (did you mean 'exp'?)"),
        ("return np.lib.stride_tricks", "line 6: rule choose_target: 'np.lib' (allowed: abs, all"),
        ("print(view.cpu)", "line 6: uses 'print' (allowed: what is the same every time)"),
        ("return sum(view.waited_ns)", "line 6: rule choose_target: it calls 'sum' (allowed: bool"),
        ("return NAMES[0]", "line 6: rule choose_target: 'NAMES' is of type list (allowed: integers, floats, tuples"),
        ("f = helper\n    return f(view)", "line 6: rule choose_target: 'helper' is of type function (allowed: int"),
        ("return helper(view, 3)", "line 6: rule choose_target: helper(): too many positional arguments"),
        ("return choose_target(view)", "line 5: rule choose_target: it calls itself (allowed: loops)"),
        ("return 1 + 2**63 * 0 + 9223372036854775808", "value 9223372036854775808 (allowed: integers of 64 bits)"),
        ("if view.cpu:\n        x = 1\n    return x", "line 8: rule choose_target: name 'x' may be unset (allowed: "),
        ("for i in view.candidate:\n        x = i\n    return x", "line 8: rule choose_target: name 'x' may be unset"),
    ],
)
def test_what_a_rule_may_not_do_is_refused_with_its_line(body, line):
    head = "import numpy as np\nTABLE, NAMES, N = (1, 2), [1, 2], 0\ndef helper(view):\n    return 0\n"
    said = refusal(f"{head}def choose_target(view):\n    {body}\n")
    assert said.startswith("policy: own.py, line ") and line in said


@pytest.mark.skipif(not JIT, reason="said by the compiler")
@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("return 1.5", "line 2: rule choose_target: the value is no integer: float64"),
        ("view.boost = view.cpu / 2\n    return 0", "line 2: rule choose_target: the value is no integer: float64"),
        (
            "if view.cpu > 3:\n        return 1",
            "line 1: rule choose_target: some way through it has no end, or no answer",
        ),
        ("while True:\n        pass", "line 1: rule choose_target: some way through it has no end, or no answer"),
        ("c = view.candidate\n    c[0] = 1\n    return 1", "line 3: rule choose_target: it sets an entry of a list of"),
        (
            "for i in view.cpu:\n        return i\n    return 0",
            "line 2: rule choose_target: does not compile: Invalid use",
        ),
    ],
)
def test_what_does_not_compile_is_refused_with_its_line(body, line):
    assert refusal(f"def choose_target(view):\n    {body}\n").startswith(f"policy: own.py, {line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import random", "own.py, line 1: imports 'random' (allowed: __future__, collections.abc, dataclasses, math"),
        ("\nfrom time import time", "own.py, line 2: imports 'time' (allowed: "),
        ("from numpy import random", "own.py, line 1: imports 'numpy.random' (allowed: "),
        ("from os import *", "own.py, line 1: imports 'os' (allowed: "),
        ("x = open('a')", "own.py, line 1: uses 'open' (allowed: what is the same every time)"),
        ("raise SystemExit(0)", "own.py, line 1: SystemExit: 0"),
        ("x = '\0'", "own.py, line "),
        (
            "from vcpu_env.policy.policy import Policy\nP = Policy('<b>', '')",
            "own.py, line 2: InputError: name: value '<b>' (allowed: up to 64 letters, digits, ",
        ),
    ],
)
def test_what_a_file_may_not_do_is_refused(text, line):
    assert refusal(text + "\n", member="P").startswith(f"policy: {line}")


def test_a_penalty_rule_sets_nothing():
    said = refusal("def choose_penalty(view):\n    view.boost = 1\n    return 0\n")
    assert said.endswith("line 2: rule choose_penalty: it sets view.boost (allowed: no field of the view)")


def spin(view, rounds):
    while rounds > 0:
        rounds += 1
    return rounds


def faulty(view):
    """Goes wrong in the way that ``cpu`` says."""
    zero, kind = view.cpu - view.cpu, view.cpu
    if kind == 0:
        return view.waited_ns[10**6]
    if kind == 1:
        return view.waited_ns[view.nr_candidates]
    if kind == 2:
        return [1, 2][view.nr_candidates + 5]
    if kind == 3:
        assert view.nr_candidates < 0
    if kind == 4:
        return 1 // zero
    if kind == 5:
        return 1 % zero
    if kind == 6:
        return int(1 / zero)
    if kind == 7:
        return int(float("inf") * view.vcpu)
    if kind == 8:
        return (view.nr_candidates + 2**40) * 2**40
    if kind == 9:
        return (~9223372036854775807 + zero) // -1
    if kind == 10:
        return -(~9223372036854775807 + zero)
    if kind == 11:
        return (1 + zero) << 64
    if kind == 12:
        return 3 << (zero - 1)
    if kind == 13:
        return (10 + zero) ** (19 + zero)
    if kind == 14:
        raise ValueError("never")
    if kind == 15:
        return spin(view, 1)
    if kind == 16:
        while kind:
            kind += zero
    if kind == 17:
        for i in range(10**17):
            zero = min(i, 1)
    if kind == 18:
        return view.waited_ns[: view.cpu - 18].max()
    view.boost = BOOST_CREDIT
    return 1


WRONG = (
    "IndexError: index 1000000 is out of bounds", "IndexError: index 3 is out of bounds", "IndexError: list index",
    "AssertionError", "ZeroDivisionError", "ZeroDivisionError", "ZeroDivisionError", "ValueError: the value has no int",
    *["OverflowError: integer outside 64 bits"] * 4, "ValueError: negative shift count", "OverflowError",
    "ValueError: never", *["RuntimeError: endless? more than 1000000 rounds"] * 3, "ValueError: zero-size array",
)  # fmt: skip
LINES = {0: 4, 1: 6, 2: 8, 3: 10, 4: 12, 14: 32, 15: -5, 16: 36, 17: 39, 18: 42}
"""The lines in which some kinds go wrong, from that of `faulty` on."""


@pytest.mark.parametrize("kind", range(len(WRONG)))
def test_a_rule_that_goes_wrong_fails_and_says_where(kind):
    view = view_of(cpu=kind, vcpu=0)
    untouched = view.copy()
    assert ask(faulty, view) == RULE_FAILED
    assert (view == untouched).all()
    said = failure(faulty, view[0], "target")
    found = re.fullmatch(rf"{re.escape(__file__)}, line (\d+): rule faulty: {re.escape(WRONG[kind])}.*", said)
    assert found, said
    if kind in LINES:
        assert int(found[1]) - faulty.__code__.co_firstlineno == LINES[kind]


def test_a_rule_that_goes_right_sets_its_outputs():
    view = view_of(cpu=99, vcpu=0)
    assert (ask(faulty, view), view["boost"][0], failure(faulty, view[0], "target")) == (1, BOOST_CREDIT, "")


FACTORS, HALVES = (3, -5, 7), np.array([0.5, 1.5, 2.5])


def pick(view, i):
    for k in range(view.nr_candidates):
        if view.waited_ns[k] > i:
            return k
    return -1


def arithmetic(view):
    """A bit of everything that is allowed."""
    a, b = view.now_ns, view.lag_ns
    total = a * 3 - b // 7 + a % 11 - (b >> 3) + (a << 2) + abs(b) - -a
    total += (a & 255) ^ (b | 1)
    for waited in view.waited_ns:
        total -= waited
    for i in range(len(FACTORS)):
        total += FACTORS[i] * round(HALVES[i] * b) + int(b / 3) + 2**i
    total += max(view.waited_ns) if view.nr_candidates > 0 else np.abs(b)
    view.penalty_scale_q16 //= 2
    return min(total, 2**50) + pick(view, 50) + (True if view.cpu in (1, 3) else 0)


def test_compiled_and_python_rules_agree():
    rng = np.random.default_rng(3)
    sealed = Seal(YIELD_VIEW.names, ("boost", "penalty_scale_q16"), lambda function: function).rule(arithmetic)
    from vcpu_env.policy.decision import Decision

    for _ in range(300):
        view = view_of(now_ns=rng.integers(2**40), lag_ns=rng.integers(-(2**40), 2**40), cpu=rng.integers(5))
        view["nr_candidates"] = rng.integers(6)
        view["waited_ns"][0][:] = rng.integers(100, size=64)[: view["waited_ns"].shape[1]]
        other = view.copy()
        seen = Decision(other[0])
        assert ask(arithmetic, view) == sealed(seen, seen)
        assert view == other and view["penalty_scale_q16"] == SCALE_ONE_Q16 // 2


def test_a_fields_name_of_version_0_1_is_understood_with_a_warning():
    text = "def choose_target(view):\n    view.penalty_scale = 3 * view.penalty_scale\n    return 1\n"
    said = r"^view\.penalty_scale: the field is called penalty_scale_q16 since version 0\.2$"
    with pytest.warns(FutureWarning, match=said) as warned:
        policy = policy_in_file("old.py", text, "")
    assert {(one.filename, one.lineno) for one in warned} == {("old.py", 2)}
    view = view_of()
    assert ask(policy.target_rule, view) == 1 and view["penalty_scale_q16"] == 3 * SCALE_ONE_Q16


def test_a_rule_composed_of_a_users_is_sealed():
    assert is_own(rivals.unserved_first) and is_own(rivals.kernel_loop_with(1))
    composed = rivals.order_with(pick_far, BOOST_CREDIT, rivals.kernel_loop, False)
    assert not is_own(composed)
    assert ask(composed, view_of(cpu=1)) == RULE_FAILED
    assert ask(composed, view_of(cpu=0)) == 1


def pick_far(view):
    return view.candidate[64] if view.cpu else 0


def run(rule, until_ns: int = UNTIL_NS, scenario=SCENARIO, **fields) -> dict:
    machine = Machine(scenario, Policy("mine", "", **{"target_rule": rule} | fields), 3)
    machine.run_until(until_ns)
    return machine.counters()


def unserved_first(view):
    found = 0
    for i in range(view.nr_candidates):
        if view.unserved[i]:
            if view.preempted[i]:
                return 2 + i
            if found == 0:
                found = 2 + i
    return found


def test_a_sealed_rule_does_as_the_same_rule_does():
    assert not is_own(unserved_first)
    own = run(rivals.unserved_first)
    assert own["kvm"]["ple_yield_ok"] > 10
    assert run(unserved_first) == own


def past_the_list(view):
    return 2 + view.nr_candidates


def no_such_boost(view):
    view.boost = 99
    return 1


def no_such_scale(view):
    view.penalty_scale_q16 = 2**40
    return 1


def raises(view):
    assert view.nr_candidates < 0
    return 1


def huge_penalty(view):
    return 2**41


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (past_the_list, r"policy mine: rule past_the_list answered \d+ for vCPU \d+ at \d+ ns \(allowed: 0\.\.\d+\)"),
        (
            no_such_boost,
            r"policy mine: rule no_such_boost set boost 99, penalty_scale_q16 65536 for .* boosts 0\.\.10",
        ),
        (no_such_scale, r"policy mine: rule no_such_scale set boost 0, penalty_scale_q16 1099511627776 for vCPU "),
        (raises, r"policy mine: .*test_sealed\.py, line \d+: rule raises: AssertionError \(for vCPU \d+ at \d+ ns\)"),
    ],
)
def test_a_run_stops_at_a_wrong_answer(rule, line):
    with pytest.raises(RuleError, match=line):
        run(rule)


def test_a_penalty_out_of_bounds_stops_a_run():
    crowded = at_once(load_scenario("vips-4vm"))
    with pytest.raises(
        RuleError, match=rf"rule huge_penalty answered {2**41} for .* \(allowed: 0\.\.{MAX_PENALTY_NS} ns"
    ):
        run(None, 200_000_000, crowded, patches=SERIES_PATCHES, penalty_rule=huge_penalty)


def test_a_rule_that_fails_on_a_copy_fails():
    with pytest.raises(RuleError, match="rule raises: AssertionError"):
        run(raises, search=Search(((BOOST_CREDIT, 1.0),)), oracle=True)
