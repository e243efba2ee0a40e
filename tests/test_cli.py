"""The console script: what it prints, its exit codes, and one line for every mistake."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command_line import NOTICE, call, refused
from tests.helpers.paths import GOLDEN
from vcpu_env.guest.workloads import WORKLOADS
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import list_scenarios

SCHED_TRACE = GOLDEN / "v2" / "switch_off_and_on.jsonl.gz"
KVM_TRACE = GOLDEN / "kvm" / "dy_runnable_sources_base.jsonl.gz"
FUNCTIONS = GOLDEN / "v2" / "function_vectors.jsonl.gz"
SHORT = [
    "--set",
    "run.warmup_ns=1_000_000",
    "--set",
    "run.duration_ns=2_000_000",
    "--set",
    "host.placement=one_per_cpu",
]


def trace(path: Path) -> list[dict]:
    with gzip.open(path, "rt") as text:
        return [json.loads(line) for line in text]


def write(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("kind", "names"),
    [("scenarios", list_scenarios()), ("policies", list(POLICIES)), ("workloads", list(WORKLOADS))],
)
def test_list(kind, names):
    code, out, errors = call("list", kind)
    assert (code, errors) == (0, [])
    assert [line.split()[0] for line in out.splitlines()] == names


def test_list_of_something_else():
    assert refused("list", "vms").startswith("kind: value 'vms' (allowed: scenarios, policies, workloads")


def test_simulate_json():
    code, out, errors = call("simulate", "dbench-1vm-2vcpu", "--policy", "series-v2", "--seed", 3, "--json", *SHORT)
    assert (code, errors) == (0, [])
    counted = json.loads(out)
    assert counted["time_ns"] == 2_000_000
    assert counted["vms"][0]["workload"] == "dbench" and counted["vms"][0]["work_units"] > 0
    again = call("simulate", "dbench-1vm-2vcpu", "--policy", "series-v2", "--seed", 3, "--json", *SHORT)
    assert again[1] == out


def test_simulate_table():
    code, out, errors = call("simulate", "dbench-1vm-2vcpu", *SHORT)
    assert (code, errors) == (0, [])
    assert {"kvm", "sched", "vms", "host"} <= {line.strip() for line in out.splitlines()}
    assert "work_units" in out


def test_simulate_a_file(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[host]\ncpus = 1\n[[vms]]\nname = "a"\nvcpus = 2\nworkload = "dedup"\n')
    code, out, errors = call("simulate", file, "--json", *SHORT)
    assert (code, errors) == (0, [])
    assert json.loads(out)["vms"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dbench-2"], "scenario: value 'dbench-2' (a .toml file or a shipped name; did you mean 'dbench-2vm'?)"),
        (["none.toml"], "scenario: value 'none.toml' (allowed: a file that can be read; No such file or directory)"),
        (["dbench-2vm", "--policy", "serie"], "policy: value 'serie' (did you mean 'series-v"),
        (["dbench-2vm", "--seed", "-1"], "seed: value -1 (allowed: 0..2147483647)"),
        (["dbench-2vm", "--set", "host.hz=251"], "host.hz: value 251 (allowed: 100, 250, 300, 1000)"),
        (["dbench-2vm", "--set", "host.hertz=250"], "host.hertz: unknown field (did you mean 'hz'?)"),
        (["dbench-2vm", "--set", "host.hz"], "set: value 'host.hz' (allowed: KEY=VALUE, as host.hz=250)"),
        (["dbench-2vm", "--set", "vms.*.workload=games"], "workload: value 'games' (allowed: dbench, dedup, vips"),
        (["dbench-2vm", "--set", "vms.*.params.client=3"], "params.client: unknown parameter of dbench (allowed: "),
    ],
)
def test_bad_input_of_simulate(arguments, message):
    assert message in refused("simulate", *arguments)


def test_unknown_option_is_code_2():
    code, out, errors = call("simulate", "dbench-2vm", "--polcy", "stock")
    assert (code, out) == (2, "")
    assert not any("Traceback" in line for line in errors)


@pytest.mark.parametrize("path", [SCHED_TRACE, KVM_TRACE, FUNCTIONS], ids=["scheduler", "kvm", "functions"])
def test_replay_matches(path):
    assert call("replay", "--check", path) == (0, "matched 1 of 1\n", [])


def test_replay_names_the_field_that_differs(tmp_path):
    lines = trace(SCHED_TRACE)
    entities = [entity for line in lines[1:] for entity in line["e"].values()]
    entity = next(entity for entity in reversed(entities) if "vruntime" in entity)
    entity["vruntime"] += 1
    altered = write(tmp_path / "altered.jsonl", lines)
    code, out, errors = call("replay", "--check", SCHED_TRACE, altered)
    assert (code, errors) == (1, [])
    mismatch, total = out.splitlines()
    assert mismatch.startswith(f"{altered}: ") and "vruntime" in mismatch
    assert total == "matched 1 of 2"


def test_replay_names_the_kvm_field_that_differs(tmp_path):
    lines = trace(KVM_TRACE)
    lines[-1]["last_boosted"] += 1
    code, out, errors = call("replay", "--check", write(tmp_path / "altered.jsonl", lines))
    assert (code, errors) == (1, [])
    assert "last_boosted" in out and out.endswith("matched 0 of 1\n")


def test_replay_writes_what_it_checks(tmp_path):
    assert call("replay", SCHED_TRACE, KVM_TRACE, "-o", tmp_path / "out") == (0, "", [])
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["dy_runnable_sources_base.jsonl", "switch_off_and_on.jsonl"]
    assert call("replay", "--check", *written) == (0, "matched 2 of 2\n", [])
    code, out, _ = call("replay", SCHED_TRACE)
    assert (code, out) == (0, written[1].read_text())


def test_replay_of_a_truncated_file(tmp_path):
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(SCHED_TRACE.read_bytes()[:-200])
    assert refused("replay", "--check", cut).startswith(f"{cut}: cannot be read (")
    short = write(tmp_path / "short.jsonl", trace(SCHED_TRACE)[:-3])
    code, out, _ = call("replay", "--check", short)
    assert code == 1 and "records" in out


def test_replay_of_a_missing_file(tmp_path):
    assert "No such file" in refused("replay", "--check", tmp_path / "none.jsonl.gz")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"[1, 2]\n", b'{"a": 1}\n', b'{"scenario": {}}\n', b'{"scenario": 5}\n', b"\xff\xfe\x00"]
    + [b'{"scenario": {"hz": 1000, "tasks": [5]}}\n', b'{"scenario": {"mode": [], "vcpus": {}}}\n'],
)
@pytest.mark.parametrize("name", ["foreign.jsonl", "foreign.jsonl.gz"])
def test_replay_of_a_foreign_file(tmp_path, name, content):
    foreign = tmp_path / name
    foreign.write_bytes(content)
    for arguments in (["--check", foreign], [foreign]):
        assert refused("replay", *arguments).startswith(f"{foreign}: ")


def test_replay_of_a_foreign_gzip_file(tmp_path):
    foreign = tmp_path / "foreign.jsonl.gz"
    with gzip.open(foreign, "wt") as file:
        file.write('{"fn": "gran"}\n')
    assert refused("replay", "--check", foreign).startswith(f"{foreign}: ")


def test_several_files_need_a_purpose():
    assert refused("replay", SCHED_TRACE, KVM_TRACE).startswith("FILE: 2 files (allowed ")


def test_bench_of_an_unknown_scenario():
    assert "did you mean 'dbench-2vm'?" in refused("bench", "--quick", "--scenario", "dbench-2")


@pytest.mark.parametrize(
    "arguments", [["simulate", "dbench-2vm", "--policy", "x"], ["replay", "--check", "none.jsonl"]], ids=" ".join
)
def test_as_a_process(arguments):
    """The error's line goes to the error stream, with no traceback."""
    command = [sys.executable, "-m", "vcpu_env", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if not line.startswith(NOTICE)]
    assert (done.returncode, done.stdout, len(errors)) == (2, "", 1)
    assert errors[0].startswith("error: ")
