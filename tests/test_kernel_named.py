"""Whatever prints results of a host says which kernel it had: pages, cards, reports, environments."""

import json
import re
from dataclasses import replace

import gymnasium
import pytest

from tests.helpers.paths import DOCS, ROOT
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import apply_overrides, load_scenario

NAMES_A_KERNEL = re.compile(r"(?<![\d.+-])6\.19\b|(?:Linux |v|kernel )7\.3\b")

NO_RESULTS = {
    "docs/agents.md", "docs/cold-start.md", "docs/commands.md", "docs/environments/tenants.md", "docs/fitting.md",
    "docs/index.md", "docs/reference.md", "docs/rt-app.md", "docs/scenarios.md", "docs/trace.md", "docs/trust.md",
    "docs/workloads.md",
}  # fmt: skip
"""Pages on which no host's results are: lists, formats, commands, what programs need."""

PAGES = sorted(
    page
    for pattern in ("README.md", "docs/**/*.md", "experiments/*/README.md", "agents/models/*.md")
    for page in ROOT.glob(pattern)
    if page.relative_to(ROOT).as_posix() not in NO_RESULTS
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_of_results_names_its_kernel(page):
    assert NAMES_A_KERNEL.search(page.read_text()), "say of which kernel these results are"


def test_exempted_pages_exist():
    assert not [page for page in NO_RESULTS if not (ROOT / page).exists()]


@pytest.mark.parametrize("card", sorted((ROOT / "agents/models").glob("*.json")), ids=lambda card: card.stem)
def test_cards_say_what_agents_were_trained_and_scored_on(card):
    page = card.with_suffix(".md").read_text()
    assert len(re.findall(r"Linux 6\.19", page)) >= 2
    about = json.loads(card.read_text())
    assert about.get("trained_kernels", ["6.19"]) == about.get("scored_kernels", ["6.19"]) == ["6.19"]


def test_reference_returns_carry_their_kernel():
    for measured in json.loads((DOCS / "environments/reference.json").read_text()).values():
        assert measured["kernel"] in ("6.19", "7.3")


def test_an_environment_carries_its_kernel():
    for kernel in ("6.19", "7.3"):
        scenario = apply_overrides(load_scenario("dedup-2vm"), [f"host.kernel={kernel}"])
        env = gymnasium.make("vcpu_env/CandidateChoice-v2", scenario=scenario)
        assert env.unwrapped.metadata["kernels"] == [kernel]
        env.close()


def test_a_network_carries_the_kernels_that_it_was_trained_on(tmp_path):
    shipped = LearnedPolicy.load(ROOT / "agents/models/wide-es-0.npz")
    assert shipped.about.kernels == ("6.19",)
    other = replace(shipped, about=shipped.about.model_copy(update={"kernels": ("6.19", "7.3")}))
    other.save(tmp_path / "other.npz")
    assert LearnedPolicy.load(tmp_path / "other.npz").about.kernels == ("6.19", "7.3")
    assert other.digest == shipped.digest  # it does the same


def test_hints_and_governor_need_no_port():
    assert {POLICIES[name].on_7_3 for name in ("pvsched", "pvsched-preempt-off", "steal-governor")} == {"as it is"}
