"""The series with other constants, as a file and as a policy."""

import numpy as np
import pytest

from baselines.constants import constants_in_text
from baselines.policies import PolicyError, choose_policies
from tests.helpers.at_once import at_once
from tests.helpers.small_env import HOST_TUNER, MSEC, make
from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import load_scenario

OWN = 'name = "own"\n'
OTHER = """name = "other"
penalty_scale = 0.25
cap_scales = [2, 1, 1, 1, 1, 0.5]
rate_limit_ns = 1_000_000
ipi_window_ns = 7_000_000
relaxed_boost = false
"""


def world_of(text: str):
    return Machine(at_once(load_scenario("dbench-1vm-2vcpu")), constants_in_text(text).policy(), 0).world


@pytest.mark.core
def test_what_is_left_out_is_the_series_own():
    mine, series = world_of(OWN), Machine(at_once(load_scenario("dbench-1vm-2vcpu")), "series-v2", 0).world
    for struct in ("deboost_params", "kvm_params"):
        for field in series[struct].dtype.names:
            if field not in ("cap_num", "cap_den"):
                assert np.array_equal(mine[struct][field], series[struct][field]), field
    params, own = mine["deboost_params"], series["deboost_params"]
    assert np.array_equal(params["cap_num"] * own["cap_den"], own["cap_num"] * params["cap_den"])


@pytest.mark.core
def test_every_constant_arrives():
    world = world_of(OTHER)
    deboost, kvm = world["deboost_params"][0], world["kvm_params"][0]
    assert (deboost["penalty_scale_q16"], deboost["rate_limit_ns"]) == (16384, 1_000_000)
    assert (kvm["ipi_window_ns"], kvm["enable_relaxed_boost"]) == (7_000_000, 0)
    caps = deboost["cap_num"] / deboost["cap_den"]
    assert caps.tolist() == [5.0, 6.0, 4.0, 2.5, 2.0, 0.75, 1.0]


def test_an_action_of_host_tuner_sets_the_same_constants():
    pytest.importorskip("cmaes")
    from agents.tune import constants_of, constants_toml

    action = [-0.5, 0.3, -1, 0, 0.1, 0.2, 1, -0.4, 0.25, -1.0]
    env = make(HOST_TUNER)
    env.reset(seed=0)
    env.step(np.array(action, np.float32))
    by_env, mine = env.machine.world, world_of(constants_toml(constants_of(np.float32(action).tolist())))
    for struct, field in (("deboost_params", "penalty_scale_q16"), ("deboost_params", "rate_limit_ns"),
                          ("kvm_params", "ipi_window_ns"), ("kvm_params", "enable_relaxed_boost")):  # fmt: skip
        assert by_env[struct][field] == pytest.approx(mine[struct][field], rel=1e-4), field
    caps = [world["deboost_params"]["cap_num"][0] / world["deboost_params"]["cap_den"][0] for world in (by_env, mine)]
    assert caps[0] == pytest.approx(caps[1], rel=1e-3)


def test_as_a_policy_of_the_evaluation(tmp_path):
    path = tmp_path / "tuned.toml"
    path.write_text(OTHER)
    source = choose_policies([str(path)], POLICIES)[1]
    path.write_text(OWN)
    changed = choose_policies([str(path)], POLICIES)[1]
    assert source.label == "other" and source.digest != changed.digest
    machine = source.machine(at_once(load_scenario("dbench-1vm-2vcpu")), 0, Machine)
    machine.run_until(MSEC)
    assert machine.world["deboost_params"]["rate_limit_ns"][0] == 1_000_000


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\npenalty = 1', r"x.toml: penalty: unknown field \(did you mean 'penalty_scale'\?\)"),
        ('name = "x"\ncap_scales = [1, 2]', r"cap_scales: value \[1.0, 2.0\] \(allowed: 6 numbers above 0"),
        ('name = "x"\nrate_limit_ns = -1', r"rate_limit_ns: value -1 \(allowed: integer 0..1099511627776\)"),
        ("rate_limit_ns = 1", r"name: missing"),
        ("name = ", r"policy: .*x.toml: Invalid value"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=message) as caught:
        choose_policies([str(path)], POLICIES)
    assert "\n" not in str(caught.value)


@pytest.mark.core
@pytest.mark.parametrize("name", ["model.zip", "model.pkl", "model.pt"])
def test_what_may_be_pickled_is_refused_unread(name):
    with pytest.raises(PolicyError, match=rf"policy: value '{name}' may hold pickled code \(allowed: FILE.npz"):
        choose_policies([name], POLICIES)


@pytest.mark.core
def test_files_of_the_host_are_settings():
    text = OWN + (
        '"/sys/module/kvm/parameters/halt_poll_ns" = 7\n"/sys/kernel/debug/sched/features" = "NO_RUN_TO_PARITY"\n'
        '"/sys/kernel/debug/sched/preempt" = "lazy"\n"/sys/kernel/debug/sched/vcpu_debooster_enabled" = 0\n'
    )
    world = world_of(text)
    assert world["kvm_params"]["halt_poll_ns"][0] == 7 and world["sched_features"]["RUN_TO_PARITY"][0] == 0
    assert world["sched_tunables"]["preempt_lazy"][0] == 1 and world["deboost_params"]["vcpu_debooster_enabled"][0] == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"/sys/module/kvm/parameters/halt_pol_ns" = 7', "did you mean '/sys/module/kvm/parameters/halt_poll_ns'"),
        ('"/sys/module/kvm/parameters/halt_poll_ns" = -1', "halt_poll_ns: value -1 (allowed: 0..4294967295)"),
        ('"/sys/module/kvm/parameters/halt_poll_ns" = [1]', "halt_poll_ns: value [1] (allowed: a number or a text)"),
    ],
)
def test_files_that_cannot_be_written(line, said):
    with pytest.raises(ValueError) as error:
        constants_in_text(OWN + line)
    assert said in str(error.value) and "\n" not in str(error.value)
