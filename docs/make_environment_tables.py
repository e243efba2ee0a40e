"""Writes the tables in docs/environments: ``python docs/make_environment_tables.py``.

A table lies between ``<!-- begin NAME -->`` and ``<!-- end -->`` and comes from the code that it describes. The table
of rates is measured, in simulated time and so without noise, only with ``--rates``: that takes some minutes.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gymnasium

from vcpu_env import list_scenarios, load_scenario
from vcpu_env.envs import host_env
from vcpu_env.envs.action import boosts
from vcpu_env.envs.compiled.observe import CANDIDATE_FEATURES, FEATURES, Feature
from vcpu_env.envs.compiled.tuner import CONSTANTS, TUNER_FEATURES
from vcpu_env.envs.config import EnvConfig
from vcpu_env.envs.register import IDS, id_of

PAGES = Path(__file__).parent / "environments"
BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MS = 1_000_000
NEVER = "every_nth:1_000_000_000_000"


def table(columns: str, alignment: str, rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    return "\n".join([columns, alignment, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def page_name(name: str) -> str:
    """The page of an environment."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() + ".md"


def environment(name: str) -> Any:
    """The environment of a page, as made without arguments."""
    return gymnasium.make(id_of(name)).unwrapped


def spaces_table(name: str) -> str:
    """The table that begins a page."""
    env = environment(name)
    box = env.observation_space
    low = "-1" if (box.low < 0).any() else "0"
    rows = [
        ("Action space", f"`{env.action_space}`"),
        ("Observation space", f"`Box({box.shape}, float32)`, within {low}..1"),
        ("Import", f'`gymnasium.make("{id_of(name)}")` after `import vcpu_env`'),
        ("Batched", f'`gymnasium.make_vec("{id_of(name)}", num_envs=64)`'),
    ]
    return table("| | |", "|---|---|", rows)


def arguments_table(name: str) -> str:
    """The keyword arguments, with the defaults of this environment."""
    env = environment(name)
    first = [
        ("`scenario`", f"`'{env.scenario}'`", "a shipped scenario, a TOML file, a `Scenario`, or a list to draw from"),
        ("`rule`", f"`'{env.rule.name}'`", "policy that answers what the agent does not: a name or a `Policy`"),
        ("`render_mode`", "`None`", '`"ansi"`, `"rgb_array"` or `"human"`'),
    ]
    rows = [
        (f"`{field}`", f"`{show(getattr(env.config, field))}`", str(info.description))
        for field, info in EnvConfig.model_fields.items()
    ]
    return table("| argument | default | meaning |", "|---|---|---|", first + rows)


def show(value: Any) -> str:
    """A default as one would write it."""
    return f"{value:_}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def boosts_table(name: str) -> str:
    """The values of the action's second dimension."""
    env = environment(name)
    rows = [(i, f"`{boost}`") for i, (boost, _, _) in enumerate(boosts(env.kind, env.config.penalty_levels))]
    return table("| value | boost |", "|---:|---|", rows)


def constants_table(_: str) -> str:
    """The numbers of HostTuner's action."""
    return table("| number | constant |", "|---:|---|", ((i, f"`{name}`") for i, name in enumerate(CONSTANTS)))


def feature_table(features: tuple[Feature, ...], first: int, per_candidate: bool = False) -> str:
    """Features with their places in the observation."""
    rows = []
    for i, feature in enumerate(features, first):
        place = f"{i} + {len(features)} i" if per_candidate else i
        end = f"{feature.low:g}..1"
        rows.append((place, f"`{feature.name}`", feature.group, feature.meaning, feature.unit, feature.scaling, end))
    return table("| index | name | group | meaning | unit | scaling | range |", "|---:|---|---|---|---|---|---|", rows)


def ids_table(_: str) -> str:
    """The environments, one a line."""
    rows = []
    for name in IDS:
        env, cls = environment(name), getattr(host_env, f"{name}Env")
        summary = (cls.__doc__ or "").partition("\n")[0]
        shape = env.observation_space.shape[0]
        rows.append((f"[`{id_of(name)}`]({page_name(name)})", summary, f"`{env.action_space}`", shape))
    return table("| id | decides | action space | features |", "|---|---|---|---:|", rows)


def reference_table(name: str) -> str:
    """What players earn, as ``python -m agents.reference`` measured it."""
    measured = json.loads((PAGES / "reference.json").read_text())[id_of(name)]
    rows = [
        (
            row["player"],
            f"{row['earned']:.3f}",
            f"{row['gain']:+.3f} ± {row['gain_error']:.3f}" if index else "",
            f"{row['gain'] / abs(measured['rows'][0]['earned']):+.1%}" if index else "",
            f"{row['signal']:+.2f}" if index else "",
            f"{row['alone']:+.2f}" if index else "",
            "" if row["decisions"] is None else f"{row['decisions']:,.0f}",
        )
        for index, row in enumerate(measured["rows"])
    ]
    columns = "| player | return | more than the rule | | signal | unpaired | decisions |"
    count, length = measured["rows"][0]["episodes"], measured["horizon_ns"] / MS
    what = f"{count} episodes of {length:g} ms of `{measured['scenario']}`, Linux {measured['kernel']}:\n\n"
    return what + table(columns, "|---|---:|---:|---:|---:|---:|---:|", rows)


def curve_table(name: str) -> str:
    """What learners gain, as ``python docs/make_curves.py`` measured it: how far they have come, and the picture."""
    kept = json.loads((PAGES / "curves.json").read_text())
    rows = []
    for learner, curve in kept.items():
        if curve["environment"] != id_of(name):
            continue
        last = curve["points"][-1]
        gain, error = last["gain"], last["error"]
        rows.append(
            (
                learner.partition(",")[0],
                f"`{curve['command']}`",
                f"{last['seconds']:,}",
                f"{last['decisions']:,}",
                f"{gain:+.3f} ± {error:.3f}",
                f"{gain / error:+.1f}",
            )
        )
    columns = "| learner | command | CPU seconds | decisions | gain over the rule | in standard errors |"
    picture = f"![Gain over the rule by CPU seconds](curves/{name}.svg)\n\n"
    return picture + table(columns, "|---|---|---:|---:|---:|---:|", rows)


def clients_table(_: str) -> str:
    """Libraries that run the environments, as ``python docs/make_clients.py`` found them."""
    rows = []
    for name, client in json.loads((PAGES / "clients.json").read_text()).items():
        if client["version"] is None:
            rows.append((name, "not installed", client["runs"], f"`{client['command']}`", "", ""))
            continue
        rate = client["steps_per_s"]
        steps = "" if rate is None else f"{rate:,.0f}"
        rows.append((name, client["version"], client["runs"], f"`{client['command']}`", client["glue"], steps))
    return table(
        "| library | version | what runs | example | glue | steps a CPU second |", "|---|---|---|---|---:|---:|", rows
    )


BLOCKS: dict[str, Callable[[str], str]] = {
    "spaces": spaces_table,
    "arguments": arguments_table,
    "boosts": boosts_table,
    "constants": constants_table,
    "ids": ids_table,
    "features": lambda _: feature_table(FEATURES, 0),
    "candidate_features": lambda _: feature_table(CANDIDATE_FEATURES, len(FEATURES), per_candidate=True),
    "reference": reference_table,
    "curve": curve_table,
    "clients": clients_table,
    "tuner_features": lambda _: feature_table(TUNER_FEATURES, 0),
}


def decisions(name: str, scenario: str, horizon_ns: int, decision_filter: str, counted: str) -> float:
    """Decisions per simulated second, all answered as the rule would."""
    env = gymnasium.make(
        id_of(name), scenario=scenario, horizon_ns=horizon_ns, decision_filter=decision_filter,
        warm_starts=1, jitter_ns=0, rule="series-v2",
    ).unwrapped  # fmt: skip
    action: Any = 1 if name == "CandidateChoice" else [0.0]
    env.reset(seed=0)
    over = False
    while not over:
        _, _, _, over, info = env.step(action)
    totals = info["episode_totals"]
    count = totals["decisions"] + (totals["unasked"] if counted == "all" else 0)
    return count * 1e9 / horizon_ns


def rates_row(scenario: str) -> tuple[str, ...]:
    """A line of the table of rates."""
    rates = (
        decisions("CandidateChoice", scenario, 100 * MS, NEVER, "all"),
        decisions("CandidateChoice", scenario, 50 * MS, "same_rq", "asked"),
        decisions("PenaltyScale", scenario, 500 * MS, "every_spin", "asked"),
    )
    return (scenario, *(f"{rate:,.0f}" for rate in rates))


def overcommitted(name: str) -> bool:
    """Whether a shipped scenario has more vCPUs than CPUs."""
    scenario = load_scenario(name)
    return sum(vm.vcpus for vm in scenario.expanded_vms) > scenario.host.cpus


def rates_table(_: str) -> str:
    """Decisions per simulated second of every shipped scenario with overcommit."""
    columns = "| scenario | target decisions | of them with `same_rq` | penalty decisions |"
    return table(columns, "|---|---:|---:|---:|", map(rates_row, filter(overcommitted, list_scenarios())))


def filled(page: Path, blocks: dict[str, Callable[[str], str]]) -> str:
    """A page with its tables as they are now; those not in `blocks` stay."""
    names = {page_name(name): name for name in IDS}

    def fill(match: re.Match[str]) -> str:
        before, block, after = match.groups()
        return before + blocks[block](names.get(page.name, "")) + after if block in blocks else match[0]

    return BLOCK.sub(fill, page.read_text())


if __name__ == "__main__":
    wanted = BLOCKS | {"rates": rates_table} if "--rates" in sys.argv[1:] else BLOCKS
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(filled(path, wanted))
