"""The score: on a fake machine, its command line, its files, the page made of them, one case of the real machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from baselines import leaderboard, score, submission
from baselines.cells import CellError
from baselines.experiment import ExperimentError
from baselines.policies import choose_policies, reads_privileged
from baselines.store import Store
from baselines.submission import SubmissionError, read_submission, write_submission
from baselines.suite import load_suite
from tests.helpers.evaluation import FAKE
from tests.helpers.paths import DOCS, ROOT
from vcpu_env.base.files import checksum_of_data
from vcpu_env.executors.make import make_executor
from vcpu_env.policy.named import POLICIES

KNOWN = "tests.helpers.fake_machine:POLICIES"
SUITE = """split = "train"
seeds = 4
first_seed = 0
[[cases]]
name = "files"
scenario = "dbench-2vm"
[[cases]]
name = "mixed-7.3"
scenario = "mixed-2vm"
set = ["host.kernel=7.3"]
"""
LAUNCH = f"""
import baselines.score as s
if __name__ == "__main__":
    s.MACHINE, s.POLICIES = "{FAKE}", "{KNOWN}"
    s.main()
"""


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SUITE)
    return load_suite(str(path))


def scored(suite, directory, policy="series-v2"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "POLICIES", KNOWN)
        return score.score(policy, suite, Store(directory, resume=True), make_executor("inline"), FAKE)


def test_stock_scores_nothing(suite, tmp_path):
    result = scored(suite, tmp_path / "store", "stock")
    assert (result.score, result.gain, result.penalty, result.harmed_cases) == (0.0, 0.0, 0.0, [])


def test_a_gain_a_harm_and_what_they_count(suite, tmp_path):
    """The fake machine gives series-v2 a fifth more, and up to 2 % by chance; ipi a tenth less."""
    good, bad = (scored(suite, tmp_path / "store", name) for name in ("series-v2", "ipi"))
    assert 20.0 <= good.score == good.gain <= 22.4 and good.score_low <= good.score <= good.score_high
    assert good.penalty == 0.0 and good.harmed_cases == []
    assert -10.0 <= bad.score < bad.gain <= -8.2 and bad.penalty == pytest.approx(bad.gain - bad.score, abs=0.02)
    assert bad.harmed_cases == ["files", "mixed-7.3"]


def test_stock_is_run_once_and_a_score_twice_costs_nothing(suite, tmp_path):
    runs = [scored(suite, tmp_path / "store", name).cells_run for name in ("ipi", "series-v2", "series-v2")]
    assert runs == [16, 8, 0]


def test_a_policy_without_a_meaning_on_a_kernel_is_stock_there(suite, tmp_path, monkeypatch):
    source = choose_policies(["series-v2"], POLICIES)
    only = [source[0], type(source[1])("series-v2", kernels=frozenset({"6.19"}))]
    monkeypatch.setattr(score, "choose_policies", lambda names, known: only)
    result = scored(suite, tmp_path / "store")
    assert [case.change for case in result.cases][1] == 0.0
    assert 9.5 <= result.score <= 10.7  # half of the cases gain 20 to 22.4 %


def test_stock_that_does_nothing_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SUITE.replace('"dbench-2vm"', '"dbench-2vm"\nset = ["vms.0.params.stalled=1"]'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("baselines.experiment.guest_plans", lambda scenario: [])
        suite = load_suite(str(path))
    with pytest.raises(CellError, match=r"VM 'vm-1' completes nothing under stock with seed 0 \(allowed: a longer"):
        scored(suite, tmp_path / "store")


def launch(*arguments, cwd):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LAUNCH, *arguments]
    run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    return run.returncode, run.stdout, run.stderr


def test_the_command_prints_one_number(suite, tmp_path):
    code, output, errors = launch("series-v2", "--suite", "mine.toml", "-o", "result.json", cwd=tmp_path)
    assert code == 0, errors
    assert output.count("\n") == 1 and 20.0 <= float(output) <= 22.4
    assert "vcpu-bench v1, suite mine" in errors and "mixed-7.3" in errors
    data = json.loads((tmp_path / "result.json").read_text())
    assert data["score"] == float(output)
    code, again, _ = launch("series-v2", "--suite", "mine.toml", "--json", cwd=tmp_path)
    kept = json.loads(again)
    assert code == 0 and kept["cells_run"] == 0 and kept["cases"] == data["cases"]


@pytest.mark.parametrize(
    ("arguments", "line"), [([], "full        32     8      test"), (["--suite", "quick"], "quota")]
)
def test_suites_and_cases_are_listed(arguments, line):
    listed = CliRunner().invoke(score.app, ["--list", *arguments])
    assert listed.exit_code == 0 and any(text.strip().startswith(line) for text in listed.output.splitlines())


def test_a_wrong_policy_ends_with_one_line(tmp_path):
    code, output, errors = launch("stok", cwd=tmp_path)
    assert (code, output) == (2, "") and errors.splitlines()[-1].startswith("error: policy: value 'stok' (did you mean")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "POLICY: missing (allowed:"),
        (["stock", "--suite", "hidden"], "suite: value 'hidden' (allowed: with --secret FILE)"),
        (["stock", "--suite", "quik"], "suite: value 'quik' ("),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(ExperimentError) as error:
        CliRunner().invoke(score.app, arguments, catch_exceptions=False)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_secret_belongs_to_the_hidden_suite(tmp_path):
    with pytest.raises(ExperimentError, match=r"^secret: given with suite 'quick' \(allowed: with --suite hidden\)$"):
        score.chosen_suite("quick", tmp_path, None)


@pytest.fixture
def handed_in(suite, tmp_path, monkeypatch):
    """A file of results of a suite that counts as shipped."""
    for module in (submission, leaderboard):
        monkeypatch.setattr(module, "suite_of", lambda path, result: suite)
    monkeypatch.setattr(leaderboard, "ORDER", ("mine",))
    path = tmp_path / "result.json"
    write_submission(path, scored(suite, tmp_path / "store"))
    return path


def changed(path, seal=True, **fields):
    data = json.loads(path.read_text()) | fields
    if seal:
        data.pop("digest")
        data["digest"] = checksum_of_data(data)
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


@pytest.mark.parametrize(
    ("fields", "seal", "message"),
    [
        ({"protocol": "vcpu-bench v0"}, True, "protocol: value 'vcpu-bench v0' (allowed: 'vcpu-bench v1')"),
        ({"protocol": None}, True, "says no protocol"),
        ({"digest": None}, False, "digest: missing"),
        ({"score": 99.0}, False, "digest: value '"),
        ({"score": 99.0}, True, "score: value 99.0 (allowed: 2"),
        ({"gain": 99.0}, True, "gain: value 99.0 (allowed: 2"),
        ({"suite_digest": "0" * 32}, True, "suite_digest: value '0000"),
        ({"seeds": [0, 5]}, True, "case 'files': not 5 seeds of 2 VMs"),
        ({"cases": []}, True, "cases: "),
        ({"more": 1}, True, "more: unknown field"),
    ],
)
def test_a_bad_file_of_results_is_one_line(handed_in, fields, seal, message):
    changed(handed_in, seal, **fields)
    with pytest.raises(SubmissionError) as error:
        read_submission(handed_in)
    assert str(error.value).startswith(f"{handed_in}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_what_is_no_file_of_results(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(SubmissionError, match="allowed: a file "):
        read_submission(path)
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_submission(tmp_path / "none.json")


def test_results_of_an_unknown_suite(suite, tmp_path):
    write_submission(tmp_path / "result.json", scored(suite, tmp_path / "store"))
    with pytest.raises(SubmissionError, match=r"suite: value 'mine' \(allowed: full, "):
        read_submission(tmp_path / "result.json")


def test_a_round_trip_and_its_page(handed_in, suite, tmp_path):
    better = scored(suite, tmp_path / "store", "oracle")
    results = [read_submission(handed_in), better]
    lines = leaderboard.page(results).splitlines()
    table = [line for line in lines if line.startswith(("|  | `oracle` | oracle", "| 1 | `series-v2` | named"))]
    assert len(table) == 2 and "`oracle`" in table[0]
    assert "| score on 6.19 | score on 7.3 |" in "\n".join(lines)
    assert any(line.startswith("| files | +4") for line in lines)


def test_the_shipped_page_is_made_of_the_shipped_results():
    results = [read_submission(path) for path in sorted(leaderboard.SUBMISSIONS.glob("*.json"))]
    assert len({result.policy.name for result in results}) >= 10
    assert (DOCS / "leaderboard.md").read_text() == leaderboard.page(results)


@pytest.mark.slow
def test_a_shipped_result_is_what_comes_out_today(tmp_path):
    """The cheapest cases of a result that was handed in, on the real machine: bit for bit."""
    cheap = ("ferret", "intel-ipiv", "linux-7.3-vcpu-quota", "null-control")
    recorded = {case.case: case for case in read_submission(leaderboard.SUBMISSIONS / "full-ipi.json").cases}
    full = load_suite("full")
    suite = replace(full, cases=tuple(case for case in full.cases if case.variant in cheap))
    again = score.score("ipi", suite, Store(tmp_path / "store", resume=True), make_executor("process")).cases
    assert again == [recorded[case.case] for case in again] and len(again) == len(cheap)


@pytest.mark.parametrize(
    ("text", "oracle"),
    [
        ("def choose_target(view):\n    return view.awaited\n", True),
        ("from vcpu_env.policy.oracles import ORACLES\n", True),
        ("from vcpu_env.policy import oracles\n", True),
        ('def choose_target(view):\n    return getattr(view, "awaited")\n', True),
        ('"""Nobody is awaited here."""\ndef choose_target(view):\n    return view.vcpu  # awaited\n', False),
    ],
)
def test_a_rule_that_knows_what_no_host_knows_is_an_oracle(text, oracle):
    assert reads_privileged(text) is oracle
