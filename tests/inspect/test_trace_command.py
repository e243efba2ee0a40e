"""``vcpu-env trace``: what it writes, and one line for every mistake."""

import json

import pytest

from tests.helpers.command_line import call, refused

SHORT = ("dedup-1vm-2vcpu", "--set", "run.warmup_ns=15_000_000", "--set", "run.duration_ns=5_000_000")


@pytest.mark.parametrize("end", ["jsonl", "pftrace", "ftrace", "html", "dat", "data"])
def test_a_window_is_written(end, tmp_path):
    out = tmp_path / f"run.{end}"
    code, printed, errors = call("trace", *SHORT, "--for", 2, "-o", out)
    assert (code, printed) == (0, "") and len(errors) == 1 and errors[0].startswith(f"{out}: ")
    assert out.stat().st_size > 1000 and list(tmp_path.iterdir()) == [out]
    again = refused("trace", *SHORT, "-o", out)
    assert again == f"-o: '{out}' exists (allowed: a new file, or --force)"
    assert call("trace", *SHORT, "--for", 2, "-o", out, "--force")[0] == 0


def test_lines_are_printed_and_groups_chosen():
    code, printed, errors = call("trace", *SHORT, "--format", "jsonl", "--events", "sched", "--from", 16, "--for", 1.5)
    head, *rest = [json.loads(line) for line in printed.splitlines()]
    assert (code, errors, head["from_ns"], head["to_ns"]) == (0, [], 16_000_000, 17_500_000)
    assert {line["event"] for line in rest} <= {"sched_switch", "sched_waking", "sched_tick"} and rest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", 30], "--from: value 30 (allowed: 0..20 ms, within the run)"),
        (["--from", 20], "--from: value 20 (allowed: ms before the run's end, 20)"),
        (["--from", -1], "--from: value -1 (allowed: 0..20 ms, within the run)"),
        (["--from", "nan"], "--from: value nan (allowed: 0..20 ms, within the run)"),
        (["--from", 18, "--for", 3], "--for: value 3 (allowed: 0..2 ms, within the run)"),
        (["--for", 0], "--for: value 0 (allowed: ms above 0)"),
        (["--seed", -1], "seed: value -1 (allowed: 0..2147483647)"),
        (
            ["--format", "pcap"],
            "--format: value 'pcap' (allowed: html, perfetto, jsonl, ftrace, trace-cmd, perf, timehist, latency, exits "
            "without --at)",
        ),
        (["--events", "net"], "--events: value 'net' (allowed: sched, kvm, yield, guest, irq, lock)"),
        (["--policy", "stok"], "policy: value 'stok'"),
        (["-o", "/nowhere/x.jsonl"], "-o: value '/nowhere/x.jsonl' (allowed: a file in a directory to write to)"),
        (
            ["--format", "debug"],
            "--format: value 'debug' (allowed: html, perfetto, jsonl, ftrace, trace-cmd, perf, timehist, latency, ",
        ),
        (["--at", 3], "--format: value 'jsonl' (allowed: schedstat, debug, kvm_stat, openmetrics with --at)"),
        (["--at", 3, "--from", 1], "--at: given with --from or --for (allowed: an instant or a window)"),
        (["--at", 21, "--format", "debug"], "--at: value 21 (allowed: 0..20 ms, within the run)"),
        (["--beside", "stock"], "--beside: given with jsonl (allowed: with html)"),
        (
            ["--format", "html", "--beside", "stock"],
            "--beside: value 'stock' is shown anyway (allowed: another policy)",
        ),
        (["--open"], "--open: given with jsonl (allowed: with html, perfetto)"),
        (["--open", "--format", "html"], "--open: given without -o (allowed: with a file)"),
        (["--limit", 10], "--limit: value 10 (allowed: from "),
    ],
)
def test_mistakes_are_named(arguments, said):
    formatted = ["--format", "jsonl"] if "--format" not in arguments else []
    assert refused("trace", *SHORT, *formatted, *arguments).startswith(said)


def test_a_format_is_needed(tmp_path):
    assert refused("trace", *SHORT, "-o", tmp_path / "run.txt").startswith(
        "--format: missing (allowed: html, perfetto, "
    )


@pytest.mark.parametrize("format_", ["schedstat", "debug", "kvm_stat", "openmetrics"])
def test_an_instant_is_printed(format_):
    code, printed, errors = call("trace", *SHORT, "--at", 16, "--format", format_)
    assert (code, errors) == (0, []) and len(printed.splitlines()) > 3


def test_groups_go_with_jsonl(tmp_path):
    said = refused("trace", *SHORT, "-o", tmp_path / "run.pftrace", "--events", "sched")
    assert said == "--events: given with perfetto (allowed: with jsonl)"
