"""Learned policies: their file, and machines in which they decide."""

import json

import numpy as np
import pytest

from tests.helpers.learned import network_for, policy_for
from tests.helpers.small_env import FLAT, MSEC, SMALL, STACKED
from tests.twin.random_policy import random_policy
from vcpu_env.envs.compiled.step import advance, look, take_action
from vcpu_env.envs.config import EnvConfig
from vcpu_env.envs.start import equip
from vcpu_env.machine import Machine
from vcpu_env.nets import network
from vcpu_env.nets.learned import KINDS, PART, Description, LearnedPolicy
from vcpu_env.nets.packing import pack
from vcpu_env.nets.play import PolicyMachine
from vcpu_env.nets.rollout import action_key, put_action, show_policy
from vcpu_env.nets.weights import CHECKSUM, UNCHECKED_VERSION, Layer, PolicyWeights, sealed
from vcpu_env.scenario import apply_overrides

END_NS = 6 * MSEC
CHOOSING = [name for name in KINDS if "Penalty" not in name]


def always_the_rule(environment: str) -> LearnedPolicy:
    """A network of zeros but for the biases of "as the rule" and the series' own penalty."""
    config = EnvConfig()
    weights = network_for(environment, config)
    bias = np.zeros(sum(weights.sizes), np.float32)
    bias[1] = 1.0
    if "Joint" in environment:
        bias[weights.sizes[0] + config.penalty_levels.index(1.0)] = 1.0
    layer = Layer(np.zeros((weights.nr_inputs, len(bias)), np.float32), bias)
    described = Description(name="rule", environment=environment, config=config)
    return LearnedPolicy(described, PolicyWeights(actor=(layer,), head="categorical", sizes=weights.sizes))


@pytest.mark.parametrize("environment", ["vcpu_env/CandidateChoice-v0", "vcpu_env/JointYield-v0"])
def test_a_network_that_leaves_it_to_the_rule_is_the_rule(environment):
    learned, plain = PolicyMachine(SMALL, always_the_rule(environment), 3), Machine(SMALL, "series-v2", 3)
    for machine in (learned, plain):
        machine.run_until(20 * MSEC)
    assert learned.decisions > 50
    assert learned.counters() == plain.counters()


@pytest.mark.parametrize("step_ns", [20 * MSEC, MSEC])
def test_a_network_takes_over_when_its_rule_does(step_ns):
    """Before that the host runs stock; from then on with the rule's patches and settings."""
    scenario = apply_overrides(SMALL, ["run.policy_from_ns=8_000_000", "run.warmup_ns=10_000_000"])
    policy = always_the_rule("vcpu_env/CandidateChoice-v0")
    learned, plain, stock = (
        PolicyMachine(scenario, policy, 3),
        Machine(scenario, "series-v2", 3),
        Machine(scenario, "stock", 3),
    )
    for end_ns in range(step_ns, 20 * MSEC + 1, step_ns):
        learned.run_until(end_ns)
        if end_ns < 8 * MSEC:
            assert learned.decisions == 0
    for machine in (plain, stock):
        machine.run_until(20 * MSEC)
    assert learned.decisions > 20 and learned.world["kvm_params"]["track"][0] != 0
    assert learned.counters() == plain.counters() != stock.counters()


def decide_in_python(policy: LearnedPolicy, scenario, seed: int, end_ns: int):
    """The same machine, each decision taken here."""
    about, weights = policy.about, policy.weights
    machine = Machine(scenario, about.rule, seed)
    equip(machine, policy.kind, about.config)
    w, state = machine.world.handle, machine.world["env_state"]
    layout, packed = pack(weights)
    features = weights.nr_inputs // about.frame_stack
    frames, new = np.zeros(weights.nr_inputs, np.float32), np.empty(features, np.float32)
    mask, action = np.empty(sum(weights.sizes), np.int8), np.empty(weights.nr_dims, np.float32)
    scratch = np.empty(network.scratch_size(layout), np.float32)
    with np.errstate(over="ignore"):
        key, count = np.int64(action_key(seed, 0)), 0
    advance(w, end_ns)
    while state["at_decision"][0]:
        look(w)
        show_policy(w, new, mask)
        frames = np.concatenate([frames[features:], new])
        network.act(layout, packed, frames, mask, key, count, about.deterministic, scratch, action)
        put_action(w, action, weights.head != "categorical")
        take_action(w)
        advance(w, end_ns)
        count += 1
    return machine, count


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("environment", KINDS)
def test_the_machine_decides_as_python_would(environment, stack):
    scenario = STACKED if "Penalty" in environment else FLAT
    end_ns = 200 * MSEC if "Penalty" in environment else END_NS
    policy = policy_for(environment, stack)
    machine = PolicyMachine(scenario, policy, 2)
    expected, count = decide_in_python(policy, scenario, 2, end_ns)
    for part in (end_ns // 3, end_ns // 2, end_ns):
        machine.run_until(part)
    assert machine.decisions == count > 3
    assert machine.counters() == expected.counters()


def test_what_is_drawn_is_what_python_would_draw():
    drawn, likeliest = (policy_for("vcpu_env/WideYield-v0", deterministic=choice) for choice in (False, True))
    machine, other = PolicyMachine(FLAT, drawn, 2), PolicyMachine(FLAT, likeliest, 2)
    expected, count = decide_in_python(drawn, FLAT, 2, END_NS)
    machine.run_until(END_NS)
    other.run_until(END_NS)
    assert machine.decisions == count > 3
    assert machine.counters() == expected.counters() != other.counters()


def test_a_fork_has_the_same_future():
    machine = PolicyMachine(FLAT, policy_for("vcpu_env/WideYield-v0", 2, deterministic=False), 1)
    machine.run_until(3 * MSEC)
    fork = machine.fork()
    for each in (machine, fork):
        each.run_until(END_NS)
    assert machine.counters() == fork.counters() and machine.decisions == fork.decisions


def test_drawn_actions_depend_on_the_seed_alone():
    policy = policy_for("vcpu_env/WideYield-v0", deterministic=False)
    runs = [PolicyMachine(FLAT, policy, seed) for seed in (1, 1, 2)]
    for run in runs:
        run.run_until(END_NS)
    first, again, other = (run.counters() for run in runs)
    assert first == again != other


@pytest.mark.core
@pytest.mark.parametrize("environment", KINDS)
def test_what_is_saved_is_loaded(environment, tmp_path):
    policy = policy_for(environment, summary="a test", rule="stock", masked=False)
    path = tmp_path / "policy.npz"
    policy.save(path)
    loaded = LearnedPolicy.load(path)
    assert loaded.about == policy.about and loaded.name == "net"
    for mine, its in zip(pack(policy.weights), pack(loaded.weights), strict=True):
        assert np.array_equal(mine, its)


def damaged(tmp_path, **changes):
    """A file whose description has been changed."""
    policy = policy_for("vcpu_env/WideYield-v0")
    parts = policy.weights.parts()
    about = json.loads(policy.about.model_dump_json()) | changes
    path = tmp_path / "policy.npz"
    np.savez(path, **sealed(parts | {PART: json.dumps(about)}))
    return path


@pytest.mark.core
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"policy.npz: format: value 2 \(allowed: integer 1..1\)"),
        (
            {"layout": "0123456789ab"},
            r"layout: value '0123456789ab' of observations and actions \(allowed: [0-9a-f]{12}",
        ),
        (
            {"environment": "vcpu_env/WideYield-v1"},
            r"environment: value 'vcpu_env/WideYield-v1' \(allowed: vcpu_env/Cand",
        ),
        ({"frame_stack": 2}, r"weights: value for 86 features \(allowed: 172\)"),
        ({"rule": "series-v9"}, r"rule: value 'series-v9' \(did you mean"),
        ({"colour": 1}, r"colour: unknown field"),
        (
            {"environment": "vcpu_env/CandidateChoice-v0", "layout": ""},
            r"weights: value for actions \[6, 13\] \(allowed: \[6\]\)",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        LearnedPolicy.load(damaged(tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.core
@pytest.mark.parametrize("text", ["7", "[" * 5000, "{", "null\n"])
def test_a_description_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "policy.npz"
    np.savez(path, **sealed(policy_for("vcpu_env/WideYield-v0").weights.parts() | {PART: text}))
    with pytest.raises(ValueError, match=r"policy.npz: description: value .* \(allowed: a JSON object\)") as caught:
        LearnedPolicy.load(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.core
def test_other_files_are_refused(tmp_path):
    path = tmp_path / "policy.npz"
    random_policy(1).save(path)
    with pytest.raises(ValueError, match=r"policy.npz: description: value missing"):
        LearnedPolicy.load(path)
    content = damaged(tmp_path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="policy.npz: damaged, or not a policy"):
        LearnedPolicy.load(path)
    np.savez(path, format_version=1, actor=np.array([{}], object))
    with pytest.raises(ValueError, match="policy.npz: damaged, or not a policy"):
        LearnedPolicy.load(path)


@pytest.mark.core
def test_a_changed_part_is_refused(tmp_path):
    """Whatever is changed, the file's own checks of bytes included, the checksum is of another content."""
    policy = policy_for("vcpu_env/WideYield-v0")
    parts = sealed(policy.weights.parts() | {PART: policy.about.model_dump_json()})
    for name in parts.keys() - {"format_version"}:
        changed = np.array(parts[name])
        flat = changed.reshape(-1)
        flat[0] = flat[0] + 1 if changed.dtype.kind in "if" else "x" + str(flat[0])[1:]
        np.savez(tmp_path / "policy.npz", **parts | {name: changed})
        with pytest.raises(ValueError, match=r"policy.npz: damaged: its checksum is of another content"):
            LearnedPolicy.load(tmp_path / "policy.npz")


@pytest.mark.core
def test_a_file_of_an_older_version_is_read_and_said(tmp_path, capsys):
    policy = policy_for("vcpu_env/WideYield-v0")
    parts = policy.weights.parts() | {PART: policy.about.model_dump_json(), "format_version": UNCHECKED_VERSION}
    path = tmp_path / "old.npz"
    np.savez(path, **parts)
    assert LearnedPolicy.load(path).digest == policy.digest
    assert capsys.readouterr().err == f"{path}: has no checksum (written by version 0.1); read as it is\n"
    np.savez(path, **sealed(parts))
    with pytest.raises(ValueError, match=f"part: value '{CHECKSUM}'"):
        LearnedPolicy.load(path)
