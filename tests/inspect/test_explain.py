"""An explanation says what the machine does: the same decision, the same verdicts, the same outcome."""

import json

import pytest

from tests.helpers.command_line import call, refused
from tests.helpers.recordings import FROM_NS, STORM, TO_NS, machine, storm
from tests.helpers.worlds import differing
from vcpu_env.inspect.explain import explain
from vcpu_env.inspect.explain_command import by_number, by_time
from vcpu_env.inspect.explain_text import text
from vcpu_env.inspect.outcome import follow, outcome, under
from vcpu_env.inspect.standing import answer_by_policy, decisions
from vcpu_env.inspect.yields import yields
from vcpu_env.policy.named import policy_named

HORIZON_NS = 3_000_000


def number_of(index: int, policy: str) -> int:
    """Which decision of the run the `index`-th one of the recording is."""
    return int(storm(policy).start["engine"]["decisions"][0]) + 1 + index


@pytest.mark.parametrize("policy", ["stock", "series-v2", "strict-borrow"])
def test_who_stands_and_is_answered_goes_on_as_if_nothing_had_been(policy):
    stand = by_number(machine(policy), number_of(5, policy), TO_NS)
    answer_by_policy(stand)
    stand.run_until(TO_NS)
    scratch = {"yield_view", "candidate", "decision_kind", "decision_cpu", "decision_by_kick", "answer"}
    assert differing(stand.world, storm(policy).end, scratch) == set()


@pytest.mark.parametrize("policy", ["stock", "series-v2"])
@pytest.mark.parametrize("index", [0, 7, 30])
def test_it_says_what_was_recorded(policy, index):
    found = [y for y in yields(storm(policy)) if not y.hypercall][index]
    told = explain(by_number(machine(policy), number_of(index, policy), TO_NS), policy, horizon_ns=HORIZON_NS)
    assert (told["vcpu"], told["time_ns"], told["cpu"]) == (found.vcpu, found.time_ns, found.cpu)
    assert told["yield"] == found.number == number_of(index, policy)
    assert told["waits_for"]["awaited"] == found.awaited and told["hit"] == found.hit
    said = [(row["vcpu"], row["verdict"]) for row in told["siblings"]]
    assert said == [(v, what) for v, what in found.siblings if what != "self"]
    came = told["outcome"]
    assert came["attempts"] == found.attempts
    if found.target >= 0:
        done = came["yield_to"]
        assert (done["target"], done["target_cpu"]) == (found.target, found.target_cpu)
        assert (done["penalty_ns"], done["no_penalty_because"]) == (found.penalty_ns, found.skip)
        least = min(
            level["lag_ns"] for row in told["siblings"] if row["vcpu"] == found.target for level in row["levels"]
        )
        assert least == found.chain_lag_ns


def test_the_own_policy_again_is_no_other_one():
    """From one state under the policy itself: the same outcome."""
    stand = by_number(machine("series-v2"), number_of(12, "series-v2"), TO_NS)
    again = under(stand, policy_named("series-v2"))
    assert outcome(follow(again, HORIZON_NS)) == outcome(follow(stand, HORIZON_NS))


def test_another_policy_leaves_the_machine_alone():
    stand = by_number(machine("vee21"), number_of(3, "vee21"), TO_NS)
    before = stand.world.words.copy()
    told = explain(stand, "vee21", [policy_named("stock"), policy_named("series-v2")], HORIZON_NS)
    assert (stand.world.words == before).all()
    assert list(told["against"]) == ["stock", "series-v2"]
    other = under(stand, policy_named("stock"))
    assert other.world["kvm_params"]["filter"][0] != stand.world["kvm_params"]["filter"][0]
    assert other.world["deboost_params"]["rate_limit_ns"][0] == 6_000_000  # what vee21 had set is taken back


def test_the_first_one_of_a_vcpu_from_a_moment_on():
    found = yields(storm())
    later = [y for y in found if y.vcpu == 3 and y.time_ns >= 10_000_000]
    stand = by_time(machine(), 10_000_000, 3, TO_NS)
    assert stand.now_ns == later[0].time_ns
    assert by_time(machine(), 10_000_000, None, TO_NS).now_ns == min(
        y.time_ns for y in found if y.time_ns >= 10_000_000
    )


def test_words():
    stand = by_number(machine(), number_of(7, "series-v2"), TO_NS)
    told = explain(stand, "series-v2", [policy_named("stock")], HORIZON_NS)
    said = text(json.loads(json.dumps(told)) | {"against": told["against"]})
    assert said.startswith(f"yield {decisions(stand)} of storm under series-v2, seed 1, Linux 6.19, at ")
    for part in ("spins for", "really waits for", "The scan", "yield_to(", "From the same state under stock"):
        assert part in said
    assert said.count("<- awaited") == 1


SHORT = ("dedup-1vm-2vcpu", "--set", "run.warmup_ns=15_000_000", "--set", "run.duration_ns=5_000_000")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--yield: missing (allowed: --yield or --at)"),
        (["--yield", 1, "--at", 3], "--yield: given with --at (allowed: --yield or --at)"),
        (["--yield", 1, "--vcpu", "vm:0"], "--vcpu: given with --yield (allowed: with --at)"),
        (["--at", 21], "--at: value 21 (allowed: 0..20 ms, within the run)"),
        (["--at", 3, "--vcpu", "vm:2"], "--vcpu: value 'vm:2' (allowed: vm:0..vm:1)"),
        (["--at", 3, "--vcpu", "x:2"], "--vcpu: value 'x:2' (allowed: VM:INDEX, of the VMs vm)"),
        (["--yield", 1_000_000], "--yield: value 1000000 (allowed: 1.."),
        (["--yield", 1, "--policy", "balance"], "--policy: value 'balance' places vCPUs from time 0 on"),
        (["--yield", 1, "--against", "stock,nobody-knows"], "policy: value 'nobody-knows'"),
        (["--yield", 1, "--policy", "model.npz"], "policy: model.npz: cannot be read (No such file or directory)"),
    ],
)
def test_mistakes_are_named(arguments, said):
    assert refused("explain", *SHORT, *arguments).startswith(said)


def test_the_command_prints_text_and_json(tmp_path):
    path = tmp_path / "storm.toml"
    path.write_text(
        'name = "storm"\n[host]\ncpus = 3\nplacement = "one_per_cpu"\nnoise = "none"\n'
        '[[vms]]\nname = "vm"\ncount = 2\nvcpus = 6\nworkload = "dedup"\n'
        f"[run]\nwarmup_ns = {FROM_NS}\nduration_ns = {STORM.run.duration_ns}\n"
    )
    code, printed, errors = call("explain", path, "--seed", 1, "--yield", 3, "--against", "series-v2", "--json")
    assert (code, errors) == (0, [])
    told = json.loads(printed)
    assert (told["yield"], told["policy"], list(told["against"])) == (3, "stock", ["series-v2"])
    code, printed, errors = call("explain", path, "--seed", 1, "--at", 9, "--vcpu", "vm-1:2")
    assert (code, errors) == (0, []) and printed.splitlines()[2].startswith("CPU 2/vm-1 on CPU ")
    code, printed, errors = call("diff", path, "--seed", 1, "--policy", "stock", "--policy", "series-v2", "--json")
    parted = json.loads(printed)
    assert (code, errors) == (0, []) and parted["explained"]["yield"] == parted["parted"]["yield"]
