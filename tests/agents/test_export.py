"""Export: the trees, the C code and the rule of the evaluation decide alike."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sklearn")

from agents.c_code import c_number
from agents.config import ConfigError
from agents.export import compiled_decisions, costs, export, first, load
from agents.records import SIBLING, SPINNER, RecordingMachine, Records, decisions_of
from agents.tree import agreement, distil, fit
from baselines.policies import choose_policies
from tests.helpers.learned import network_for, policy_for
from tests.helpers.small_env import FLAT, MSEC, SMALL
from vcpu_env.envs.config import EnvConfig
from vcpu_env.machine import Machine
from vcpu_env.nets.learned import Description, LearnedPolicy
from vcpu_env.nets.play import PolicyMachine
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import apply_overrides, load_scenario

WIDE = "vcpu_env/WideYield-v0"


@pytest.fixture(scope="module")
def many() -> tuple[LearnedPolicy, Records]:
    """A policy that chooses candidates and boosts, and 100,000 of its decisions."""
    config, scenario = EnvConfig(), apply_overrides(load_scenario("dedup-2vm"), ["run.duration_ns=2_000_000_000"])
    policy = LearnedPolicy(Description(name="net", environment=WIDE, config=config), network_for(WIDE, config, seed=4))
    return policy, decisions_of(policy, [scenario], 100_000, 1)


def test_recording_changes_nothing():
    policy = policy_for(WIDE)
    recorder, plain = RecordingMachine(FLAT, policy, 1), PolicyMachine(FLAT, policy, 1)
    records = recorder.record(40 * MSEC, 100_000, 1, 4)
    plain.run_until(40 * MSEC)
    assert recorder.counters() == plain.counters()
    assert len(records.counts) == plain.decisions > 50
    assert (records.actions[:, 0] < 2 + records.counts).all()
    assert (records.counts == np.minimum(records.spinners[:, SPINNER.index("nr_candidates")], 4)).all()
    flags = records.siblings[..., SIBLING.index("preempted")]
    assert set(np.unique(flags)) == {0, 1}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_c_decides_as_the_tree(many, tmp_path):
    policy, records = many
    assert len(records.counts) == 100_000
    tree, code, _ = export(policy, first(records, 50_000), 24, tmp_path)
    decided = tree.decide(records)
    assert np.array_equal(compiled_decisions(code, tree, records), decided)
    assert len({tuple(action) for action in decided.tolist()}) > 3
    assert agreement(tree, records) > 0.5
    counted = costs(code, tree, records)
    if counted is not None:
        assert 5 < counted[0] <= counted[1] < 2000


def test_the_rule_decides_as_the_tree(many, tmp_path):
    policy, records = many
    tree, _, rule = export(policy, first(records, 20_000), 24, tmp_path)
    loaded = choose_policies([f"{rule}:TREE"], POLICIES)[1].load()
    assert loaded.name == "net-tree" and loaded.patches == POLICIES["series-v2"].patches
    scope: dict = {}
    exec(rule.read_text().replace("@njit", ""), scope)
    decided = tree.decide(records)
    for n in range(0, 100_000, 97):
        view = SimpleNamespace(
            **dict(zip(SPINNER, records.spinners[n].tolist(), strict=True)), boost=0, penalty_scale_q16=65536
        )
        for field, column in zip(SIBLING, records.siblings[n].T, strict=True):
            setattr(view, field, column.tolist())
        answer, boost = scope["choose_target"](view), decided[n, 1]
        assert (answer, view.boost, view.penalty_scale_q16) == (
            decided[n, 0],
            scope["BOOSTS"][boost],
            scope["SCALES"][boost],
        )
    machine = Machine(SMALL, loaded, 0)
    machine.run_until(40 * MSEC)
    assert machine.counters()["decisions"] > 10


def test_a_policy_of_one_number_is_exported_too(tmp_path):
    policy = policy_for("vcpu_env/CandidateChoice-v0")
    records = RecordingMachine(SMALL, policy, 0).record(20 * MSEC, 5_000, 1, 4)
    tree, code, _ = export(policy, records, 8, tmp_path)
    assert tree.decide(records).shape == (len(records.counts), 2)
    assert "boost says" not in code.read_text()


@pytest.mark.core
def test_a_tree_finds_a_rule_that_is_one():
    rng = np.random.default_rng(0)
    rows = rng.integers(-1000, 1000, (4000, 3))
    labels = np.where(rows[:, 1] <= 17, 2, np.where(rows[:, 2] <= -5, 0, 1))
    tree = fit(rows, labels, 3, (("spinner", "a"), ("spinner", "b"), ("sibling", "c")))
    assert np.array_equal(tree.decide(rows), labels)
    assert tree.used == [("sibling", "c"), ("spinner", "b")]


@pytest.mark.core
def test_branches_that_answer_alike_are_one():
    rows = np.arange(100)[:, None]
    labels = (rows[:, 0] % 10 == 0).astype(int)
    tree = fit(rows, labels, 50, (("spinner", "a"),))
    inner = [node for node, feature in enumerate(tree.features) if feature >= 0]
    for node in inner:
        left, right = tree.lefts[node], tree.rights[node]
        if tree.features[left] == tree.features[right] == -1:
            assert tree.labels[left] != tree.labels[right]


@pytest.mark.core
def test_what_never_happens_needs_no_tree():
    records = Records(
        np.zeros((20, len(SPINNER)), np.int64), np.zeros((20, 2, len(SIBLING)), np.int64), np.ones(20, np.int64),
        np.tile([2, 6], (20, 1)),
    )  # fmt: skip
    tree = distil(records, 11, 8)
    assert (tree.decide(records) == [2, 6]).all()
    nobody = Records(*(array[:1] * 0 for array in vars(records).values()))
    assert (tree.decide(nobody) == [1, 0]).all()


@pytest.mark.core
def test_constants_in_c():
    assert [c_number(n) for n in (5, -(2**31), 2**31 - 1, 2**31)] == [
        "5", "-2147483648LL", "2147483647", "2147483648LL",
    ]  # fmt: skip


def test_what_cannot_be_exported_is_refused(tmp_path):
    path = tmp_path / "policy.npz"
    with pytest.raises(ConfigError, match=r"policy: value '.*' \(allowed: a file that can be read; No such file"):
        load(str(path))
    policy_for("vcpu_env/PenaltyScale-v2").save(path)
    with pytest.raises(ConfigError, match=r"chooses penalties \(allowed: policies that choose candidates\)"):
        load(str(path))
    policy_for(WIDE, rule="unserved-hint").save(path)
    with pytest.raises(ConfigError, match=r"rule unserved-hint has a target rule \(allowed: a kernel's own loop\)"):
        load(str(path))
    path.write_bytes(b"no policy")
    with pytest.raises(ConfigError, match=r"policy: .*policy.npz: damaged, or not a policy"):
        load(str(path))
