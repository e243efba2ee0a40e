"""Files of results: what a policy did on a suite, with all that is needed to check it and to run it again."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from baselines.cells import source_id
from baselines.hidden import hidden_suite, rounds
from baselines.policies import PolicySource
from baselines.scoring import DIGITS, CaseScore, Total
from baselines.statistics import RATIO_FLOOR, Estimate
from baselines.suite import PROTOCOL, Suite, list_suites, load_suite
from vcpu_env import __version__
from vcpu_env.base.errors import InputError, shown
from vcpu_env.base.files import checksum, checksum_of_data, write_whole
from vcpu_env.scenario.errors import error_lines
from vcpu_env.scenario.host import Part

LARGEST_BYTES = 10_000_000
Digest = Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]
Ratio = Annotated[float, Field(ge=RATIO_FLOOR, le=1000)]


class SubmissionError(InputError):
    """A file of results that cannot be used."""


class PolicyFacts(Part):
    """Which policy it was."""

    name: str = Field(min_length=1, max_length=100)
    summary: str = Field(max_length=1000)
    digest: Digest = Field(description="of what the policy is")
    kind: str = Field(description="named, rule, constants or learned")
    oracle: bool = Field(description="sees what no host can see")


class CaseFacts(Part):
    """What it did in one case: ratios to stock by seed, and by seed and VM; the rest follows from them."""

    case: str
    scenario: str
    vms: list[str] = Field(min_length=1)
    ratios: list[Ratio]
    vm_ratios: list[list[Ratio]]
    change: float
    worst_vm: str
    worst_vm_change: float
    harmed: list[str]

    def score(self) -> CaseScore:
        """The case with its arrays."""
        return CaseScore(
            self.case, self.scenario, tuple(self.vms), np.array(self.ratios), np.array(self.vm_ratios, ndmin=2)
        )


class Submission(Part):
    """A file of results."""

    protocol: str
    suite: str
    suite_digest: Digest
    commitment: str = ""
    source: Digest = Field(description="of the simulator")
    version: str
    policy: PolicyFacts
    score: float = Field(description="per cent")
    score_low: float
    score_high: float
    gain: float = Field(description="per cent, without the penalty for harm")
    penalty: float = Field(description="points that harm costs")
    harmed_cases: list[str]
    worst_vm: str
    worst_vm_change: float = Field(description="per cent")
    seeds: tuple[int, int] = Field(strict=False, description="the first, and how many")
    seconds: float = Field(ge=0, description="wall time")
    cpu_seconds: float = Field(ge=0, description="of all processes, in user mode")
    cells_run: int = Field(ge=0, description="that were not in the store")
    cases: list[CaseFacts] = Field(min_length=1)

    @functools.cached_property
    def total(self) -> Total:
        """The score, made again from the ratios."""
        return Total([case.score() for case in self.cases])


@dataclass(frozen=True)
class Effort:
    """What a score has cost: wall time, CPU time of all processes in user mode, and runs that were not in the store."""

    seconds: float
    cpu_seconds: float
    cells_run: int


def percent(value: float) -> float:
    """A relative change in per cent, as it is printed."""
    return round(100.0 * value, 2) + 0.0


def submission(suite: Suite, policy: PolicySource, cases: Sequence[CaseScore], effort: Effort) -> Submission:
    """The results of a policy on a suite."""
    scored = Total(cases)
    worst = scored.worst
    return Submission(
        protocol=PROTOCOL,
        suite=suite.name,
        suite_digest=suite.digest,
        commitment=suite.commitment,
        source=source_id(),
        version=__version__,
        policy=PolicyFacts(
            name=policy.label,
            summary=policy.summary,
            digest=checksum(policy.digest.encode()),
            kind=policy.kind,
            oracle=policy.oracle,
        ),
        **percents("score", scored.interval),
        gain=percent(scored.gain),
        penalty=percent(scored.penalty),
        harmed_cases=[case.case for case in scored.harmed],
        worst_vm=f"{worst.case}:{worst.vms[worst.worst_vm]}",
        worst_vm_change=percent(scored.worst_vm_change),
        seeds=(suite.seeds.start, len(suite.seeds)),
        seconds=round(effort.seconds, 1),
        cpu_seconds=round(effort.cpu_seconds, 1),
        cells_run=effort.cells_run,
        cases=[case_facts(case) for case in cases],
    )


def percents(name: str, value: Estimate) -> dict[str, Any]:
    """An estimate as three fields."""
    return {name: percent(value.value), f"{name}_low": percent(value.low), f"{name}_high": percent(value.high)}


def case_facts(case: CaseScore) -> CaseFacts:
    """A case as it is written."""
    return CaseFacts(
        case=case.case,
        scenario=case.scenario,
        vms=list(case.vms),
        ratios=[round(float(ratio), DIGITS) for ratio in case.ratios],
        vm_ratios=[[round(float(ratio), DIGITS) for ratio in row] for row in case.vm_ratios],
        change=percent(case.change_of_all),
        worst_vm=case.vms[case.worst_vm],
        worst_vm_change=percent(float(case.vm_changes[case.worst_vm])),
        harmed=[case.vms[vm] for vm in case.harmed],
    )


def as_json(result: Submission) -> str:
    """The text of a file of results, which ends with a digest of all before it: a line a field, and a line a case."""
    data = result.model_dump(mode="json")
    lines = {key: json.dumps(value) for key, value in (data | {"digest": checksum_of_data(data)}).items()}
    lines["cases"] = "[\n  " + ",\n  ".join(map(json.dumps, data["cases"])) + "\n ]"
    return "{\n " + ",\n ".join(f'"{key}": {text}' for key, text in lines.items()) + "\n}\n"


def write_submission(path: Path, result: Submission) -> None:
    """Write a file of results.

    Raises:
        SubmissionError: it cannot be written.
    """
    try:
        write_whole(path, as_json(result).encode())
    except OSError as error:
        raise SubmissionError(f"output: value '{path}' (allowed: a file to write; {error.strerror})") from None


def read_submission(path: Path) -> Submission:
    """Read a file of results and check that it is whole, of this protocol and suite, and that its score is its own.

    Raises:
        SubmissionError: in one line.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise SubmissionError(f"{path}: larger than {LARGEST_BYTES} bytes (allowed: a file of results)")
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise SubmissionError(f"{path}: no JSON (allowed: a file of results)") from None
    if not isinstance(data, dict) or "protocol" not in data:
        raise SubmissionError(f"{path}: says no protocol (allowed: a file that baselines.score wrote with -o)")
    if data["protocol"] != PROTOCOL:
        raise SubmissionError(f"{path}: protocol: value {shown(data['protocol'])} (allowed: '{PROTOCOL}')")
    if (digest := data.pop("digest", None)) is None:
        raise SubmissionError(f"{path}: digest: missing (allowed: the digest that baselines.score wrote)")
    if digest != checksum_of_data(data):
        raise SubmissionError(f"{path}: digest: value {shown(digest)} is of another content")
    try:
        result = Submission(**data)
    except ValidationError as error:
        raise SubmissionError(f"{path}: {error_lines(Submission, error)[0]}") from None
    check(path, result)
    return result


def check(path: Path, result: Submission) -> None:
    """Refuse results of another suite, or whose numbers do not follow from its ratios."""
    suite = suite_of(path, result)
    if suite is not None:
        if result.suite_digest != suite.digest:
            raise SubmissionError(f"{path}: suite_digest: value '{result.suite_digest}' (allowed: '{suite.digest}')")
        if [case.case for case in result.cases] != [case.variant for case in suite.cases]:
            raise SubmissionError(f"{path}: cases: not those of suite '{suite.name}'")
    for case in result.cases:
        shape = [len(row) for row in case.vm_ratios]
        if shape != [len(case.vms)] * result.seeds[1] or len(case.ratios) != result.seeds[1]:
            raise SubmissionError(f"{path}: case '{case.case}': not {result.seeds[1]} seeds of {len(case.vms)} VMs")
    for field, value in (("score", result.total.score), ("gain", result.total.gain)):
        if abs(getattr(result, field) - percent(value)) > 0.01:
            raise SubmissionError(
                f"{path}: {field}: value {getattr(result, field)} (allowed: {percent(value)}, as its ratios give)"
            )


def suite_of(path: Path, result: Submission) -> Suite | None:
    """The suite that results are of; none if it is hidden and its secret not yet revealed."""
    if result.suite in list_suites():
        return load_suite(result.suite)
    known = rounds()
    if result.suite != "hidden" or result.commitment not in known:
        raise SubmissionError(
            f"{path}: suite: value {shown(result.suite)} (allowed: {', '.join(list_suites())}, or a known hidden one)"
        )
    secret = known[result.commitment].get("secret")
    return hidden_suite(bytes.fromhex(secret)) if secret else None
