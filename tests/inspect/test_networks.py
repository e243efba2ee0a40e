"""Decisions of a network explained: what it says is what the network computes, and the run goes on as without it."""

import numpy as np
import pytest

from tests.helpers.command_line import refused
from tests.helpers.learned import policy_for
from tests.helpers.recordings import MSEC, STORM, TO_NS, machine
from tests.helpers.worlds import differing
from vcpu_env.envs.compiled.observe import feature_names
from vcpu_env.envs.config import EnvConfig
from vcpu_env.envs.register import id_of
from vcpu_env.inspect.diff import part
from vcpu_env.inspect.explain import explain
from vcpu_env.inspect.explain_command import by_number, by_time
from vcpu_env.inspect.explain_text import text
from vcpu_env.inspect.outcome import under
from vcpu_env.inspect.recorder import record
from vcpu_env.inspect.standing import answer_by_policy
from vcpu_env.nets.play import PolicyMachine
from vcpu_env.policy.named import policy_named
from vcpu_env.scenario import apply_overrides

HORIZON_NS = 1 * MSEC
WIDE, JOINT = "vcpu_env/WideYield-v0", "vcpu_env/JointYield-v0"
SCRATCH = {"yield_view", "candidate", "decision_kind", "decision_cpu", "decision_by_kick", "answer"}


def by_hand(learned, told) -> np.ndarray:
    """The outputs of a network of two layers, from the inputs that were told."""
    count = learned.about.config.nr_candidates
    inputs = dict.fromkeys(feature_names(count), 0.0) | told["inputs"]
    for i, choice in enumerate(c for c in told["choices"] if "vcpu" in c):
        inputs |= {f"{name}[{i}]": value for name, value in choice["inputs"].items()} | {f"present[{i}]": 1.0}
    hidden, last = learned.weights.actor
    x = np.tanh(np.array(list(inputs.values())) @ hidden.weight + hidden.bias)
    return x @ last.weight + last.bias


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("environment", [WIDE, JOINT, "vcpu_env/CandidateChoice-v0"])
def test_scores_are_the_networks_and_the_best_or_the_drawn_is_taken(environment, deterministic):
    learned = policy_for(environment, deterministic=deterministic)
    stand = by_number(PolicyMachine(STORM, learned, 1), 40, TO_NS)
    told = explain(stand, learned.name, horizon_ns=HORIZON_NS)["network"]
    outputs = by_hand(learned, told)
    scores = [choice["score"] for choice in told["choices"]]
    assert told["asked"] and scores == pytest.approx(outputs[: len(scores)], abs=2e-3)
    assert sum(choice["chance"] for choice in told["choices"]) == pytest.approx(1.0, abs=1e-3)
    allowed = [choice["score"] if choice["allowed"] else -np.inf for choice in told["choices"]]
    assert told["drawn"] != deterministic and told["choices"][told["took"]]["allowed"]
    if deterministic:
        assert told["took"] == int(np.argmax(allowed))
    if environment != "vcpu_env/CandidateChoice-v0":
        offset = learned.weights.sizes[0]
        said = [row["score"] for row in told["boosts"]]
        assert said == pytest.approx(outputs[offset:], abs=2e-3)
        if deterministic:
            assert told["boost"] == int(np.argmax(said))


def test_who_stands_and_is_answered_goes_on_as_if_nothing_had_been():
    learned = policy_for(WIDE, 2, deterministic=False, rule="vee21")
    plain = PolicyMachine(STORM, learned, 1)
    plain.run_until(TO_NS)
    stand = by_number(PolicyMachine(STORM, learned, 1), 30, TO_NS)
    assert answer_by_policy(stand) is not None
    stand.run_until(TO_NS)
    assert differing(stand.world, plain.world, SCRATCH) == set() and stand.decisions == plain.decisions > 30


def test_where_the_network_is_not_asked_its_rule_answers():
    learned = policy_for(WIDE, config=EnvConfig(nr_candidates=4, decision_filter="every_nth:7"))
    machine_ = PolicyMachine(STORM, learned, 1)
    asked = [explain(by_number(machine_.fork(), n, TO_NS), "net", horizon_ns=HORIZON_NS)["network"] for n in (1, 2, 8)]
    assert [told["asked"] for told in asked] == [True, False, True]


def test_from_the_same_state():
    """A rule against a network, and the other way round; a network against itself says the same."""
    learned, stock = policy_for(WIDE), policy_named("stock")
    stand = by_number(PolicyMachine(STORM, learned, 1), 25, TO_NS)
    before = stand.world.words.copy()
    told = explain(stand, learned.name, [stock, learned], HORIZON_NS)
    assert (stand.world.words == before).all()
    assert told["against"]["stock"]["network"] is None
    seen, again = told["network"]["inputs"], told["against"]["net"]["network"]["inputs"]
    assert again == {name: value for name, value in seen.items() if name != "elapsed"}  # since its last decision
    ruled = by_number(machine("stock"), 25, TO_NS)
    other = under(ruled, learned)
    assert isinstance(other, PolicyMachine) and other.world["kvm_params"]["track"][0] != 0
    said = explain(ruled, "stock", [learned], HORIZON_NS)
    assert said["network"] is None and said["against"]["net"]["network"]["asked"]
    words = text(said)
    assert "From the same state under net" in words and "The network (vcpu_env/WideYield-v0; series-v2 answers" in words
    assert words.count("<- taken") == 2


def test_before_it_takes_over_stock_decides():
    scenario = apply_overrides(STORM, ["run.policy_from_ns=8_000_000"])
    learned = policy_for(WIDE)
    early = by_number(PolicyMachine(scenario, learned, 1), 1, TO_NS)
    assert early.now_ns < 8 * MSEC and explain(early, "stock", horizon_ns=HORIZON_NS)["network"] is None
    late = by_time(PolicyMachine(scenario, learned, 1), 8 * MSEC, None, TO_NS)
    assert explain(late, "net", horizon_ns=HORIZON_NS)["network"]["asked"]


def test_its_name_is_in_recordings_and_it_parts_from_its_rule():
    learned = policy_for(WIDE)
    assert record(PolicyMachine(STORM, learned, 1), 8 * MSEC, 9 * MSEC).policy == "net"
    parted = part(PolicyMachine(STORM, learned, 1), machine("series-v2"), TO_NS)
    assert parted is not None and parted.at_decision


def test_networks_of_penalties_are_refused(tmp_path):
    path = tmp_path / "penalty.npz"
    policy_for(id_of("PenaltyScale")).save(path)
    said = refused("explain", "dedup-1vm-2vcpu", "--yield", 1, "--policy", path)
    assert said == f"--policy: value '{path}' chooses penalties only (allowed: networks that choose a candidate)"
