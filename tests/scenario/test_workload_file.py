"""Workloads from files: what they say is what runs, and what is wrong is named."""

import numpy as np
import pytest
from scipy import stats

from tests.helpers.at_once import at_once
from tests.helpers.run_hash import run_hash_elsewhere
from vcpu_env.counters import measure
from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import OP_BLOCK, OP_GOTO, OP_MAYBE, OP_USER
from vcpu_env.guest.shapes import FIRST_SHAPE, gamma_quantiles, lognormal_quantiles, middles, shape_quantiles
from vcpu_env.guest.types import BLOCKED, LOCK_FUTEX, LOCK_PVQ, LOCK_RWSEM
from vcpu_env.guest.workloads.described import build_described
from vcpu_env.machine import Machine
from vcpu_env.scenario import Run, Scenario, ScenarioError, apply_overrides, load_scenario
from vcpu_env.scenario.workload_file import parse_workload
from vcpu_env.scenario.workload_page import example

MSEC = 1_000_000
PIPE = '''
unit = "blocks"
params = { block_ns = 120_000 }
queues.blocks.capacity = 2
locks.heap.kind = "spin"

[[threads]]
name = "reader"
program = """
  user 20us fixed
  put blocks
"""

[[threads]]
name = "worker"
count = 3
program = """
  get blocks
  user block_ns fixed
  hold heap 2us
  work
"""
'''
LOCKS = 'locks.a.kind = "futex"\nlocks.b.kind = "futex"\nlocks.c.kind = "futex"\n'
QUANTILES = "distributions.d.quantiles = [[0, 1], [0.9, 2], [1, 30]]\n"
SCENARIO = '[host]\ncpus = 4\n[[vms]]\nname = "vm"\nvcpus = 4\nworkload = "pipe.toml"\n'


def program(text: str, head: str = "") -> str:
    return f'{head}\n[[threads]]\nname = "a"\nprogram = """\n{text}\n"""\n'


def refused(toml: str) -> str:
    with pytest.raises(ScenarioError) as error:
        parse_workload(toml, "w")
    assert "\n" not in str(error.value)
    return str(error.value)


def machine(toml: str, vcpus: int = 4, **params) -> Machine:
    vms = [{"name": "vm", "vcpus": vcpus, "workload": "mine", "params": params}]
    return Machine(
        at_once(
            Scenario(
                name="s", host={"cpus": vcpus}, vms=vms, workloads={"mine": parse_workload(toml, "mine").model_dump()}
            )
        )
    )


def units(toml: str, **params) -> float:
    run = Run(warmup_ns=5 * MSEC, duration_ns=30 * MSEC)
    return measure(machine(toml, **params), run)["vms"][0]["work_units"]


@pytest.mark.core
def test_a_scenario_names_a_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pipe.toml").write_text(PIPE)
    (tmp_path / "sub" / "s.toml").write_text(SCENARIO)
    scenario = load_scenario(tmp_path / "sub" / "s.toml")
    assert scenario.vms[0].workload == "pipe" and scenario.workloads["pipe"].unit == "blocks"
    assert Scenario(**scenario.model_dump()) == scenario
    assert apply_overrides(scenario, ["host.hz=250"]).workloads == scenario.workloads
    slower = apply_overrides(scenario, ["vms.0.params.block_ns=240_000"])
    assert slower.vms[0].params == {"block_ns": 240_000}
    changed = apply_overrides(scenario, ["workloads.pipe.params.block_ns=60_000"])
    assert changed.workloads["pipe"].params == {"block_ns": 60_000}


@pytest.mark.core
def test_a_file_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipe.toml").write_text(PIPE)
    scenario = apply_overrides(load_scenario("dbench-2vm"), ["vms.0.workload=pipe.toml"])
    assert (scenario.vms[0].workload, list(scenario.workloads)) == ("pipe", ["pipe"])
    with pytest.raises(
        ScenarioError, match=r"^workload: value 'none.toml' \(allowed: a file that can be read; No such"
    ):
        apply_overrides(scenario, ["vms.0.workload=none.toml"])
    (tmp_path / "pipe.toml").write_text(PIPE.replace("20us", "30us"))
    with pytest.raises(ScenarioError, match=r"^vms.0.workload: 'pipe' is another workload already"):
        apply_overrides(scenario, ["vms.0.workload=pipe.toml"])


@pytest.mark.core
def test_the_serial_stage_decides():
    """Three workers of 122 us each take a block every 41 us; with blocks of 30 us the reader's 20 us are the limit."""
    assert units(PIPE) == pytest.approx(3 * 30_000 / 122, rel=0.1)
    assert units(PIPE, block_ns=30_000) == pytest.approx(30_000 / 21.5, rel=0.1)


@pytest.mark.core
def test_operations_become_ops():
    text = "maybe 0.25\n user 2us fixed\nelse\n sleep 3us gamma_0.5\nend\nrepeat 3\n kernel 1us\nend"
    workload = parse_workload(program(text), "w")
    plan = GuestPlan(2, LOCK_PVQ)
    build_described(plan, workload.model_dump(), workload.programs({}))
    ops = plan.programs[0].ops
    assert [op[0] for op in ops[:4]] == [OP_MAYBE, OP_USER, OP_GOTO, OP_BLOCK]
    assert ops[0][5] == 0.25 and ops[3][3:5] == (FIRST_SHAPE, 3000)
    assert len(plan.shapes) == 1


@pytest.mark.core
def test_every_operation_runs():
    text = """
      user 10us uniform
      kernel 5us
      lock heap random
      kernel 1us exponential
      unlock
      hold mutex own 1us
      lock map shared
      kernel 2us lognormal_1.5
      unlock
      put q own 2
      get q own 2
      barrier all
      shootdown 1
      shootdown
      reschedule
      work 3
      maybe 0.5
        sleep 20us d
      end
    """
    head = (
        "queues.q = { capacity = 4, count = 2 }\nbarriers.all.parties = 4\nlocks.heap = { kind = 'spin', count = 3 }\n"
        "locks.mutex = { kind = 'futex', count = 2 }\nlocks.map.kind = 'rwsem'\n"
    ) + QUANTILES
    running = machine(program(text, head).replace('name = "a"', 'name = "a"\ncount = 4'))
    running.run_until(10 * MSEC)
    vm = running.counters()["vms"][0]
    assert vm["work_units"] > 100 and vm["work_units"] % 3 == 0
    assert min(vm[name] for name in ("calls", "ipi_reschedule", "nvcsw", "user_ns", "kernel_ns")) > 0
    assert {lock["kind"] for lock in running.world["guest_lock"]} == {LOCK_PVQ, LOCK_FUTEX, LOCK_RWSEM}
    assert (running.world["guest_lock"]["acquisitions"] > 0).all()


def test_compiled_and_uncompiled_runs_are_equal(tmp_path):
    shapes = program("user 30us gamma_0.4\nsleep 20us lognormal_1.3\nkernel 9us d\nshootdown\nwork", QUANTILES)
    (tmp_path / "pipe.toml").write_text(shapes.replace('"a"', '"a"\ncount = 6'))
    (tmp_path / "s.toml").write_text(SCENARIO)
    run = (str(tmp_path / "s.toml"), "series-v2", 3, 5 * MSEC)
    assert run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="1") == run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="0")


@pytest.mark.core
def test_shapes_of_two_vms_do_not_mix():
    """A wide shape and a narrow one of the same mean, each in a VM of its own."""
    files = {
        "narrow": program("user 1us fixed\nsleep 100us lognormal_0.01"),
        "wide": program("user 1us fixed\nsleep 100us lognormal_2"),
    }
    vms = [{"name": name, "vcpus": 1, "workload": name} for name in files]
    workloads = {name: parse_workload(toml, name).model_dump() for name, toml in files.items()}
    running = Machine(at_once(Scenario(name="s", host={"cpus": 2}, vms=vms, workloads=workloads)))
    seen: list[list[int]] = [[], []]
    began = [0, 0]
    was = [False, False]
    timeline = running.world["event"]["when_ns"]
    while (now_ns := int(timeline.min())) < 40 * MSEC:
        running.run_until(now_ns)
        for t, thread in enumerate(running.world["guest_thread"]):
            asleep = bool(thread["state"] == BLOCKED)
            if asleep and not was[t]:
                began[t] = now_ns
            elif was[t] and not asleep:
                seen[t].append(now_ns - began[t])
            was[t] = asleep
    narrow, wide = (np.array(sleeps) for sleeps in seen)
    assert narrow.std() < 0.1 * narrow.mean()
    assert wide.std() > 0.8 * wide.mean() and np.median(wide) < 0.5 * np.median(narrow)


@pytest.mark.core
@pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 4.0, 100.0])
def test_gamma_quantiles(shape):
    x = gamma_quantiles(shape)
    expected = stats.gamma(shape).ppf(middles())
    assert x[50:] == pytest.approx(expected[50:], rel=2e-3)
    assert np.abs(stats.gamma(shape).cdf(x) - middles()).max() < 1e-4


@pytest.mark.core
def test_tables_have_the_mean_one():
    for table in (
        shape_quantiles("lognormal_1.2"),
        shape_quantiles("gamma_0.2"),
        shape_quantiles("x", [(0, 0), (1, 9)]),
    ):
        assert table.mean() == pytest.approx(65536, rel=1e-4) and (np.diff(table) >= 0).all()
    assert lognormal_quantiles(0.5) == pytest.approx(stats.lognorm(0.5).ppf(middles()), rel=1e-6)


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("usr 3us", "line 1: operation 'usr' (did you mean 'user'?)"),
        ("user 3", "line 1: user: duration '3' (allowed: as 300ns, 1.5us, 2ms, or of [params]: none)"),
        ("user 20s", "line 1: user: duration 20s (allowed: 1ns..10s)"),
        ("user", "line 1: user: duration missing (write: user DURATION [DISTRIBUTION])"),
        ("user 1us expo", "line 1: user: distribution 'expo' (did you mean 'exponential'?)"),
        ("user 1us gamma_900", "line 1: user: distribution gamma_900 (allowed: gamma_0.05..gamma_100)"),
        ("user 1us fixed twice", "line 1: user: 'twice' is too much (write: user DURATION [DISTRIBUTION])"),
        ("put q", "line 1: put: queue 'q' (allowed: nothing, since none is defined)"),
        ("user 1us\nmaybe 2\nend", "line 2: maybe: probability 2 (allowed: 0..1)"),
        ("user 1us\nmaybe 0.5", "line 2: 'maybe' without end"),
        ("user 1us\nend", "line 2: 'end' without maybe or repeat"),
        ("repeat 2\nrepeat 2\nuser 1us\nend\nend", "line 2: repeat within repeat (allowed: one level)"),
        ("repeat 1.5\nuser 1us\nend", "line 1: repeat: times 1.5 (allowed: whole number 1..1000000)"),
        ("user 1us\nunlock", "unlock without lock"),
        ("maybe 0.5\nuser 1us\nend", "there is a way through it that takes no time (allowed: user, kernel, sleep on"),
    ],
)
def test_programs_that_cannot_be(text, message):
    assert refused(program(text)).startswith(f"w: threads.0.program (a): {message}")


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user 1us\nlock s", "lock 's' is not released"),
        ("lock s\nsleep 1us\nunlock", "sleep under spin lock 's' (allowed: what does not sleep)"),
        ("lock s\nlock m\nunlock\nunlock\nuser 1us", "lock under spin lock 's' (allowed: what does not sleep)"),
        (
            "lock r\nlock r random\nunlock\nunlock\nuser 1us",
            "lock: lock 'r' is held already (allowed: one of a name at a time)",
        ),
        ("lock m shared\nunlock\nuser 1us", "lock 'm' shared (allowed: locks of kind rwsem)"),
        ("lock m\nmaybe 0.5\nunlock\nend\nuser 1us", "both ways through a maybe must hold the same locks at its end"),
        ("repeat 2\nlock m\nuser 1us\nend", "a repeat must hold the same locks at its end as at its begin"),
        ("lock m\nlock r\nlock x\nlock y\nhold s 1us" + "\nunlock" * 4, "hold under 4 locks (allowed: 4 in all)"),
    ],
)
def test_locks_that_cannot_be(text, message):
    head = 'locks.s.kind = "spin"\nlocks.m.kind = "futex"\nlocks.r = {kind = "futex", count = 9}\n'
    head += 'locks.x.kind = "rwsem"\nlocks.y.kind = "rwsem"\n'
    assert refused(program(text, head)) == f"w: threads.0.program (a): {message}"


@pytest.mark.core
@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("threads = []", "w: threads: none given (allowed: at least one)"),
        ("unit = 3\n" + program("user 1us"), "w: unit: value 3 (allowed: text)"),
        ("unot = 'x'\n" + program("user 1us"), "w: unot: unknown field (did you mean 'unit'?)"),
        ("a = ", "workload: value 'w' (allowed: a TOML file;"),
        (program("user 1us", "locks.s.kind = 'spn'"), "w: locks.s.kind: value 'spn' (allowed: spin, futex, rwsem)"),
        (
            program("lock a\nhold b 1us\nunlock\nlock c\nhold a 1us\nunlock", LOCKS)
            + '[[threads]]\nname = "b"\nprogram = """\nlock b\nhold c 1us\nunlock\n"""',
            "w: locks.a: taken within a lock that is taken within it (allowed: one order of locks)",
        ),
        (program("user 1us\nget q", "queues.q = {}"), "w: queues.q: nobody puts (allowed: queues with threads on both"),
        (program("user 1us\nput q", "queues.q.capacity = 2"), "w: queues.q: nobody gets (allowed: queues with threads"),
        (
            program("user 1us\nbarrier b", "barriers.b.parties = 2"),
            "w: barriers.b.parties: value 2 (allowed: up to 1, the threads there)",
        ),
        (
            program("user 1us d", "distributions.d.quantiles = [[0, 1], [0.5, 2]]"),
            "w: distributions.d.quantiles: no such list (allowed: pairs [probability, value], both rising, from",
        ),
        (
            program("user 1us").replace('"a"', '"a"\ncount = 0'),
            "w: threads.0.count: value 0 (allowed: integer 1..1024)",
        ),
    ],
)
def test_files_that_cannot_be(toml, message):
    assert refused(toml).startswith(message)


@pytest.mark.core
def test_wrong_parameters_of_a_vm():
    workloads = {"pipe": parse_workload(PIPE, "pipe").model_dump()}
    for params, message in [
        ({"blok_ns": 1}, "vms.0.params.blok_ns: unknown parameter (did you mean 'block_ns'?)"),
        (
            {"block_ns": 0},
            "vms.0.params: threads.1.program (worker): line 2: user: duration block_ns = 0 (allowed: 1ns",
        ),
    ]:
        with pytest.raises(ScenarioError) as error:
            at_once(
                Scenario(
                    name="s", vms=[{"name": "v", "vcpus": 1, "workload": "pipe", "params": params}], workloads=workloads
                )
            )
        assert str(error.value).startswith(message)
    taken = at_once(
        Scenario(
            name="s", vms=[{"name": "v", "vcpus": 1, "workload": "dbench"}], workloads={"dbench": workloads["pipe"]}
        )
    )
    with pytest.raises(ValueError, match=r"^workloads.dbench: the name is taken \(allowed: other than dbench, dedup"):
        Machine(taken)


@pytest.mark.core
def test_examples_of_the_page_are_valid():
    from vcpu_env.scenario import program_text, workload_file

    workload = parse_workload(example(workload_file.__doc__), "example")
    assert [threads.name for threads in workload.threads] == ["reader", "worker"]
    head = "queues.requests.capacity = 2\nparams.think_ns = 10\nlocks.heap.kind = 'spin'\n"
    text = (
        program(example(program_text.__doc__), head) + '[[threads]]\nname = "b"\nprogram = "user 1us\\nput requests"\n'
    )
    assert parse_workload(text, "example").programs({"think_ns": 20})[0][1][0] == ("get", "requests", "first", 1)
