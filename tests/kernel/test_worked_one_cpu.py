"""Worked examples of the scheduler on one CPU, calculated by hand or observed on the kernel.

All times are in ms and virtual time starts at 0. Unless a scenario says otherwise: HZ 1000, weight 1024, slice 2.8 ms.
"""

import pytest

from tests.helpers.one_cpu import MSEC, OneCpu
from vcpu_env.build.cgroups import cpu_shares
from vcpu_env.kernel.features import scaled_base_slice_ns
from vcpu_env.kernel.types import LAG_CLAMP_6_19_9, REWEIGHT_FIXED

pytestmark = pytest.mark.core


def weighted(name: str, weight: int, **more) -> dict:
    return {"id": name, "weight": weight, **more}


# Arithmetic


@pytest.mark.parametrize(
    ("weight", "vruntime"),
    [
        *((1024, 1_000_000), (2048, 499_999), (512, 1_999_999), (64, 15_999_999), (1023, 1_000_977)),
        *((335, 3_056_716), (10, 102_399_999), (102_400, 9_999)),
    ],
)
def test_t01_one_ms_of_virtual_time(weight, vruntime):
    cpu = OneCpu(weighted("A", weight)).wake("A").run_until(1)
    assert cpu.v("A") == vruntime / MSEC


def test_t01_nice_tables_round_differently_from_the_computed_inverse():
    by_nice, by_weight = OneCpu({"id": "A", "nice": 1}).wake("A"), OneCpu(weighted("A", 820)).wake("A")
    assert by_nice.d("A") == 3.496585
    assert by_weight.d("A") == 3.496584


@pytest.mark.parametrize(("cpus", "slice_ns"), [(1, 700_000), (2, 1_400_000), (4, 2_100_000), (16, 2_800_000)])
def test_t02_base_slice(cpus, slice_ns):
    assert scaled_base_slice_ns(cpus, 700_000) == slice_ns


@pytest.mark.parametrize(("weight", "shares"), [(1, 10), (10, 102), (33, 338), (79, 809), (100, 1024), (10000, 102400)])
def test_t03_cpu_weight(weight, shares):
    assert cpu_shares(weight) == shares << 10


@pytest.mark.parametrize(("hz", "later", "limit"), [(1000, 0, 5.6), (250, 0, 5.6), (1000, 1, 3.8), (250, 1, 6.8)])
def test_t04_lag_limit(hz, later, limit):
    cpu = OneCpu("A", "B", hz=hz).wake("A", "B")
    cpu.world["sched_tunables"]["lag_clamp"] = LAG_CLAMP_6_19_9 if later else 0
    cpu.put(A=(0, 2.8), B=(100, 102.8))
    cpu.block()
    assert cpu.vlag("A") == limit


def test_t05_v_is_rounded_down():
    cpu = OneCpu("A", "B", "C").wake("A", "B", "C").put(B=(1e-6, 2.8), C=(1e-6, 2.8))
    assert cpu.V() == 0
    assert [cpu.eligible(name) for name in "ABC"] == [True, False, False]
    cpu = OneCpu("A", "B").wake("A", "B").put(A=(-1e-6, 2.8))
    assert cpu.V() == -1e-6
    assert not cpu.eligible("B")


# Alternation


def test_t06_two_equal():
    cpu = OneCpu("A", "B").wake("A", "B").run_until(3)
    assert (cpu.v("A"), cpu.d("A"), cpu.v("B"), cpu.d("B"), cpu.V()) == (3, 5.8, 0, 2.8, 1.5)
    cpu.run_until(6)
    assert (cpu.v("A"), cpu.d("A"), cpu.v("B"), cpu.d("B")) == (3, 5.8, 3, 5.8)
    cpu.run_until(9)
    assert cpu.switches == [(0, "A"), (3, "B"), (6, "A"), (9, "B")]
    cpu = OneCpu("A", "B", hz=250).wake("A", "B").run_until(12)
    assert cpu.switches == [(0, "A"), (4, "B"), (8, "A"), (12, "B")]


def test_t07_three_equal():
    cpu = OneCpu("A", "B", "C").wake("A", "B", "C").run_until(9)
    assert cpu.switches == [(0, "A"), (3, "B"), (6, "C"), (9, "A")]


def test_t08_double_weight():
    cpu = OneCpu("A", weighted("B", 2048)).wake_together("A", "B").run_until(31)
    starts = [0, 3, 6, 10, 13, 19, 22, 28, 31]
    assert cpu.switches == [(t, "BA"[i % 2]) for i, t in enumerate(starts)]
    cpu.run_until(3000)
    assert (cpu.ran("A"), cpu.ran("B")) == (1001, 1999)


def test_t09_light_and_heavier_group():
    cpu = OneCpu(weighted("A", 64), weighted("B", 512)).wake_together("A", "B").run_until(82)
    assert cpu.switches[-5:] == [(28, "A"), (31, "B"), (55, "A"), (58, "B"), (82, "A")]
    cpu.run_until(9000)
    assert (cpu.ran("A"), cpu.ran("B")) == (1002, 7998)


def test_t10_short_slice_alternates_every_tick():
    cpu = OneCpu("A", {"id": "B", "slice_ns": 500_000}).wake_together("A", "B").run_until(6)
    assert cpu.switches == [(t, "BA"[t % 2]) for t in range(7)]


def test_t11_protection_is_not_renewed_by_picking_the_same_task():
    cpu = OneCpu("A", weighted("H", 9548)).wake("A", "H").run_until(9)
    assert cpu.picks == [(0, "A"), (3, "H"), (6, "H"), (7, "H"), (8, "H"), (9, "H")]
    assert cpu.vprot("H") == pytest.approx(0.300293, abs=1e-6)


# Yield


def test_t12_an_ineligible_yielder_forfeits_nothing():
    cpu = OneCpu("A", "B").wake("A", "B").run_until(0.5)
    cpu.yield_()
    assert (cpu.v("A"), cpu.d("A"), cpu.V()) == (0.5, 2.8, 0.25)
    cpu.run_until(7)
    assert cpu.switches == [(0, "A"), (0.5, "B"), (4, "A"), (7, "B")]


def test_t13_an_eligible_yielder_forfeits_its_slice():
    cpu = OneCpu("A", "B").wake("A", "B").put(A=(0.5, 2.8), B=(1.2, 4.0))
    cpu.yield_()
    assert (cpu.v("A"), cpu.d("A"), cpu.V(), cpu.running) == (2.8, 5.6, 2.0, "B")


@pytest.mark.parametrize(
    ("hz", "t", "first", "second"), [(1000, 3.5, (2.8, 2.9), (5.6, 4.3)), (250, 12.5, (6.8, 7.4), (9.6, 8.8))]
)
def test_t14_it_takes_two_yields_to_hand_over(hz, t, first, second):
    cpu = OneCpu("A", "B", hz=hz).wake("A", "B").run_until(t)
    cpu.yield_()
    assert (cpu.v("B"), cpu.V(), cpu.running) == (*first, "B")
    cpu.yield_()
    assert (cpu.v("B"), cpu.V(), cpu.running) == (*second, "A")


def test_t15_far_behind_it_takes_four():
    cpu = OneCpu("A", "B").wake("A", "B").put(A=(0, 2.8), B=(10, 12.8))
    for v in (2.8, 5.6, 8.4):
        cpu.yield_()
        assert (cpu.v("A"), cpu.running) == (v, "A")
    cpu.yield_()
    assert (cpu.v("A"), cpu.V(), cpu.running) == (11.2, 10.6, "B")


def test_t16_alone():
    cpu = OneCpu("A").wake("A").run_until(0.5)
    cpu.yield_()
    assert (cpu.v("A"), cpu.d("A"), cpu.running) == (0.5, 2.8, "A")


def test_t17_alone_in_the_group():
    cpu = OneCpu("G/a", "B", groups=["G"]).wake("a", "B").run_until(0.5)
    cpu.yield_()
    assert (cpu.v("a"), cpu.d("a")) == (2.8, 5.6)
    assert (cpu.v("G"), cpu.d("G")) == (0.5, 2.8)


# yield_to and buddies


def test_t18_hint():
    cpu = OneCpu("A", "B", "C").wake("A", "B", "C").run_until(1)
    assert cpu.yield_to("C") == 1
    assert (cpu.v("A"), cpu.V(), cpu.next()) == (1, 0.333333, None)
    cpu.run_until(9)
    assert cpu.switches == [(0, "A"), (1, "C"), (4, "B"), (7, "A"), (9, "C")]


def three_way(c_vruntime: float) -> OneCpu:
    cpu = OneCpu("A", "B", "C").wake("A", "B", "C")
    return cpu.put(A=(0.6, 2.8), B=(0, 2.5), C=(c_vruntime, 3.0))


def test_t19_hint_against_an_earlier_deadline():
    cpu = three_way(0.2)
    assert cpu.V() == 0.266666
    cpu.yield_to("C")
    assert cpu.running == "C"
    cpu = three_way(0.2)
    cpu.yield_()
    assert cpu.running == "B"


def test_t20_hint_to_an_ineligible_task_stays():
    cpu = three_way(0.9)
    assert cpu.V() == 0.5
    cpu.yield_to("C")
    assert (cpu.running, cpu.next()) == ("B", "C")


def test_t21_hint_acts_when_the_target_becomes_eligible():
    cpu = OneCpu("A", "B", "C").wake("A", "B", "C").run_until(6.5)
    cpu.yield_to("B")
    assert (cpu.v("C"), cpu.d("C"), cpu.V(), cpu.running, cpu.next()) == (2.8, 5.6, 2.933333, "C", "B")
    cpu.run_until(7)
    assert (cpu.v("C"), cpu.V(), cpu.running, cpu.next()) == (3.3, 3.1, "B", None)


def test_t22_hint_persists():
    cpu = OneCpu("A", "B", "C").wake("A", "B", "C").put(C=(3, 5.8))
    cpu.queue()["next"] = cpu.scenario.entities["C"]
    cpu.run_until(6)
    assert cpu.switches == [(0, "A"), (3, "B"), (6, "C")]
    assert cpu.next() is None


def test_t23_refusals():
    cpu = OneCpu("A", "B", "C", "new").wake("A", "B", "C").run_until(1.5)
    cpu.block()
    assert cpu.se("A")["sched_delayed"]
    assert (cpu.yield_to(cpu.running), cpu.yield_to("A"), cpu.yield_to("new")) == (0, 0, 0)
    alone = OneCpu("A", "B").wake("A")
    assert alone.yield_to("B") == -3
    with_remote = OneCpu("A", remote_tasks=[{"id": "R1", "nr_running": 1}, {"id": "R2", "nr_running": 2}]).wake("A")
    assert with_remote.yield_to("R2") == 1


def test_t25_hint_across_groups():
    cpu = OneCpu("G0/a", "G1/b", groups=["G0", "G1"]).wake("a", "b").put(G0=(1, 2.8), G1=(0.5, 2.8))
    cpu.yield_to("b")
    assert (cpu.v("a"), cpu.V(), cpu.running) == (2.8, 0.75, "b")


def test_t26_hint_across_groups_is_refused_until_real_time_has_passed():
    cpu = OneCpu("G0/a", "G1/b", groups=["G0", "G1"]).wake("a", "b").put(G0=(1, 3.8), G1=(2, 4.8))
    yields = 0
    while cpu.running == "a":
        yields += 1
        cpu.run_until(yields * 5 / 1000)
        cpu.yield_to("b")
    assert (yields, cpu.now, cpu.v("G0"), cpu.V(), cpu.v("a")) == (200, 1, 2, 2, 560)


def test_t27_yield_across_groups():
    cpu = OneCpu("G0/a", "G1/b", groups=["G0", "G1"]).wake("a", "b").run_until(0.005)
    cpu.yield_()
    assert (cpu.v("G0"), cpu.V(), cpu.running) == (0.005, 0.0025, "b")


def test_t28_hint_in_a_tree_of_vms_runs_another_vm_first():
    groups = ["M", "M/S1", "S1/L1", "L1/c0", "L1/c1", "M/S2", "S2/L2", "L2/d0"]
    cpu = OneCpu("c0/a0", "c1/a1", "d0/b0", groups=groups).wake("a0", "a1", "b0").run_until(0.5)
    cpu.yield_to("a1")
    assert (cpu.v("a0"), cpu.v("S1"), cpu.V("M"), cpu.running) == (2.8, 0.5, 0.25, "b0")
    assert (cpu.next("M"), cpu.next("L1")) == ("S1", "c1")
    cpu.run_until(7)
    assert cpu.switches == [(0, "a0"), (0.5, "b0"), (4, "a1"), (7, "b0")]


def test_t29_blocking_hints_at_the_own_group():
    cpu = OneCpu("G/a0", "G/a1", "H/b0", groups=["G", "H"]).wake("a0", "a1", "b0").run_until(7.5)
    assert cpu.switches == [(0, "a0"), (3, "b0"), (6, "a1")]
    cpu.block()
    assert not cpu.se("a1")["on_rq"]
    assert (cpu.v("G"), cpu.v("H"), cpu.V(), cpu.running, cpu.next()) == (4.5, 3, 3.75, "b0", "G")


# Sleep, delay, wake


def delayed_sleeper() -> OneCpu:
    cpu = OneCpu("A", "B").wake("A", "B").run_until(1.5)
    cpu.block()
    return cpu


def test_t30_delayed_dequeue_woken_in_time():
    cpu = delayed_sleeper()
    assert (cpu.v("A"), cpu.V(), cpu.running) == (1.5, 0.75, "B")
    assert (cpu.nr_running, int(cpu.queue()["h_nr_runnable"])) == (2, 1)
    assert cpu.run_until(2).do("wake", "A") == 2
    assert (cpu.v("A"), cpu.d("A"), cpu.running) == (1.5, 2.8, "B")
    cpu.run_until(5)
    assert cpu.switches[1:] == [(1.5, "B"), (5, "A")]


def test_t31_delayed_dequeue_completed_by_the_pick():
    cpu = delayed_sleeper().run_until(5)
    assert (cpu.v("B"), cpu.d("B"), cpu.running, cpu.nr_running) == (3.5, 6.3, "B", 1)
    assert (bool(cpu.se("A")["on_rq"]), cpu.vlag("A")) == (False, 0)
    cpu.run_until(8).wake("A")
    assert (cpu.v("A"), cpu.d("A"), cpu.running) == (6.5, 9.3, "A")


def test_t32_nobody_left_but_the_delayed():
    cpu = delayed_sleeper().run_until(1.7)
    cpu.block()
    assert (cpu.running, cpu.nr_running) == ("idle", 0)


def test_t33_a_sleeper_keeps_what_it_is_owed():
    cpu = OneCpu("A", "B").wake("A", "B").run_until(3.5)
    cpu.block()
    assert (bool(cpu.se("B")["on_rq"]), cpu.vlag("B")) == (False, 1.25)
    cpu.run_until(20.4).wake("B")
    assert (cpu.v("A"), cpu.v("B"), cpu.d("B"), cpu.V(), cpu.running) == (19.9, 17.4, 20.2, 18.65, "B")
    cpu.run_until(24)
    assert cpu.switches[-2:] == [(20.4, "B"), (24, "A")]


def wake_with_lag(cpu: OneCpu, name: str, lag: float) -> OneCpu:
    cpu.se(name)["vlag"] = round(lag * MSEC)
    return cpu.wake(name)


@pytest.mark.parametrize(("lag", "v", "average"), [(1, 8, 9), (-1, 12, 11)])
def test_t34_lag_is_inflated_so_that_it_is_right_after_joining(lag, v, average):
    cpu = wake_with_lag(OneCpu("A", "B").wake("A").put(A=(10, 12.8)), "B", lag)
    assert (cpu.v("B"), cpu.V()) == (v, average)


def test_t34_lag_inflation_with_weights():
    cpu = OneCpu("A", weighted("C", 2048), weighted("B", 512)).wake("A", "C").put(A=(10, 12.8), C=(10, 12.8))
    wake_with_lag(cpu, "B", 1.5)
    assert (cpu.v("B"), cpu.V()) == (8.25, 9.75)


def test_t35_no_preemption_of_a_protected_task():
    cpu = OneCpu("A", "B").wake("A").run_until(1.5).wake("B")
    assert (cpu.v("B"), cpu.d("B"), cpu.running) == (1.5, 4.3, "A")
    assert cpu.run_until(3).switches[-1] == (3, "B")


def test_t36_positive_lag_preempts():
    cpu = wake_with_lag(OneCpu("A", "B").wake("A").run_until(1.5), "B", 0.5)
    assert (cpu.v("B"), cpu.d("B"), cpu.V(), cpu.running) == (0.5, 3.3, 1.0, "B")


@pytest.mark.parametrize(("slice_ns", "deadline", "vprot"), [(2_800_000, 5.3, 2.8), (500_000, 3.0, 1.5)])
def test_t37_a_short_slice_that_is_not_picked_shortens_the_protection(slice_ns, deadline, vprot):
    cpu = OneCpu("A", "C", {"id": "B", "slice_ns": slice_ns}).wake("A", "C").put(A=(1, 2.8), C=(4, 6.8)).wake("B")
    assert (cpu.v("B"), cpu.d("B"), cpu.running, cpu.vprot("A")) == (2.5, deadline, "A", vprot)


def test_t38_a_short_slice_preempts_if_eligible():
    short = {"id": "B", "slice_ns": 500_000}
    cpu = OneCpu("A", short).wake("A").put(A=(1, 2.8)).wake("B")
    assert (cpu.d("B"), cpu.running, cpu.vprot("A")) == (1.5, "B", 1)
    cpu = wake_with_lag(OneCpu("A", short).wake("A").put(A=(1, 2.8)), "B", -0.3)
    assert (cpu.v("B"), cpu.running, cpu.vprot("A")) == (1.6, "A", 1.5)


def test_t39_fork_starts_with_half_a_slice():
    cpu = OneCpu("A", "child").wake("A").run_until(10.5)
    cpu.do("fork", "child")
    assert (cpu.v("A"), cpu.d("A"), cpu.v("child"), cpu.d("child"), cpu.running) == (10.5, 11.8, 10.5, 11.9, "A")
    assert cpu.run_until(11).running == "child"


# Weights of groups


def set_shares(cpu: OneCpu, group: str, weight: int):
    cpu.follow(cpu.player.operation({"t": round(cpu.now * MSEC), "op": "shares", "group": group, "weight": weight}))


def test_t41_reweight_of_a_waiting_group():
    cpu = OneCpu("A", "G/b", groups=["G"]).wake("A", "b").put(G=(1, 3.8))
    set_shares(cpu, "G", 512)
    assert (cpu.V(), cpu.v("G"), cpu.d("G")) == (0.5, 1.5, 7.1)


@pytest.mark.parametrize(
    ("fixed", "v", "d", "average"), [(False, -0.666667, 4.933333, 0.444444), (True, -0.5, 5.1, 0.5)]
)
def test_t42_reweight_of_the_running_group(fixed, v, d, average):
    cpu = OneCpu("G/a", "B", groups=["G"]).wake("a", "B").put(B=(1, 3.8))
    if fixed:
        cpu.world["sched_tunables"]["reweight"] = REWEIGHT_FIXED
    set_shares(cpu, "G", 512)
    assert (cpu.v("G"), cpu.d("G"), cpu.V()) == pytest.approx((v, d, average), abs=2e-6)


def test_t43_reweight_of_the_running_group_amplifies_lag_and_ends_protection():
    origin = 1.048576
    cpu = OneCpu("G0/a", "G1/b", groups=["G0", "G1"])
    cpu.do("fork", "a")
    cpu.do("fork", "b")
    cpu.run_until(60.5)
    assert cpu.running == "a"
    for weight, v, average in ((1000, 29.580941, 29.262450), (1024, 29.732721, 29.342072)):
        set_shares(cpu, "G0", weight)
        assert (cpu.v("G0"), cpu.V()) == pytest.approx((v + origin, average + origin), abs=1e-9)
    assert cpu.vlag("G0") == -0.311026
    assert cpu.run_until(61).switches[-1] == (61, "b")
