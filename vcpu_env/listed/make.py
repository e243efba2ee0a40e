"""Makes the files of `vcpu_env.listed` from what there is: ``python -m vcpu_env.listed.make``."""

from collections.abc import Callable

from vcpu_env.guest.workloads import WORKLOADS
from vcpu_env.listed import file_of
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import list_scenarios, load_scenario
from vcpu_env.scenario.splits import programs, size_of_vms, split_of

NOTES = {"as it is": "", "ported": " (on kernel 7.3: ported)", "no meaning": " (on kernel 6.19 only)"}


def scenarios() -> list[tuple[str, str]]:
    """Shipped scenarios: how large they are, what runs there, whether agents may train on them."""
    found = []
    for name in list_scenarios():
        scenario = load_scenario(name)
        vms = f"{size_of_vms(scenario)} of {programs(scenario)} on {scenario.host.cpus} CPUs"
        found.append((name, f"{vms} ({split_of(name)})"))
    return found


def policies() -> list[tuple[str, str]]:
    """Policies, and what they are on kernel 7.3."""
    return [(policy.name, policy.summary + NOTES[policy.on_7_3]) for policy in POLICIES.values()]


def workloads() -> list[tuple[str, str]]:
    """Workloads, and what their work is counted in."""
    return [(w.name, f"{w.summary} (counted in {w.unit})") for w in WORKLOADS.values()]


MADE: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "scenarios": scenarios, "policies": policies, "workloads": workloads,
}  # fmt: skip


def text_of(kind: str) -> str:
    """What the file of a kind has to hold."""
    return "".join(f"{name}\t{what}\n" for name, what in MADE[kind]())


if __name__ == "__main__":
    for made in MADE:
        file_of(made).write_text(text_of(made), "utf-8")
