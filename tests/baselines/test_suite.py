"""Suites: what the shipped ones promise, and what is refused."""

import itertools

import pytest

from baselines import suite
from baselines.experiment import ExperimentError
from baselines.kinds import kinds, union
from baselines.suite import ORDER, list_suites, load_suite, suites_page
from tests.helpers.paths import DOCS
from vcpu_env.scenario import ScenarioError, list_scenarios
from vcpu_env.scenario.splits import split_of

GOOD = """split = "train"
seeds = 4
first_seed = 0
[[cases]]
name = "a"
scenario = "dedup-2vm"
"""


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_the_page_is_of_the_shipped_suites():
    assert sorted(ORDER) == list_suites()
    assert (DOCS / "suites.md").read_text() == suites_page()


def test_the_test_suite_has_kinds_that_nothing_could_be_tuned_on():
    train, validation, full = (
        union([case.scenario for case in load_suite(name).cases]) for name in ("train", "validation", "full")
    )
    new = {axis for axis in full if set(full[axis]) - set(train[axis]) - set(validation[axis])}
    assert new == set(full) - {"kernel"}
    assert set(full["kernel"]) == set(train["kernel"]) == {"6.19", "7.3"}


def test_what_is_quick_is_of_the_train_suites_kinds():
    quick, train = (union([case.scenario for case in load_suite(name).cases]) for name in ("quick", "train"))
    assert all(set(quick[axis]) <= set(train[axis]) for axis in train)


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("quick", {"train"}),
        ("train", {"train"}),
        ("validation", {"train", "validation"}),
        ("full", {"test", "diagnostic"}),
    ],
)
def test_no_scenario_of_another_split(name, splits):
    found = {case.scenario.name for case in load_suite(name).cases} & set(list_scenarios())
    assert {split_of(scenario) for scenario in found} <= splits


def test_seeds_of_suites_do_not_meet():
    ranges = [load_suite(name).seeds for name in ("train", "validation", "full")]
    assert sorted(ranges, key=lambda seeds: seeds.start) == ranges
    assert all(one.stop <= other.start for one, other in itertools.pairwise(ranges))
    assert all(seeds.stop <= 100_000 for seeds in ranges)  # where validations of trainings begin


def test_a_suite_of_ones_own(tmp_path):
    mine = load_suite(written(tmp_path, GOOD + 'set = ["host.cgroups=libvirt", "host.hz=250"]\n'))
    assert (mine.name, mine.split, list(mine.seeds)) == ("mine", "train", [0, 1, 2, 3])
    assert str(mine.cases[0]) == "dedup-2vm [a]"
    found = kinds(mine.cases[0].scenario)
    assert (found["cgroups"], found["tick"], found["guest"]) == (("libvirt",), ("250 Hz",), ("PV Linux",))


def test_the_digest_follows_what_is_run_and_nothing_else(tmp_path):
    digest = load_suite(written(tmp_path, GOOD)).digest
    assert load_suite(written(tmp_path, "# a comment\n" + GOOD)).digest == digest
    for old, new in (("seeds = 4", "seeds = 5"), ("first_seed = 0", "first_seed = 1"), ("dedup", "dbench")):
        assert load_suite(written(tmp_path, GOOD.replace(old, new))).digest != digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('split = "train"', 'split = "tests"', "suite mine: split: value 'tests' ("),
        ("seeds = 4", "seeds = 2", "suite mine: seeds: value 2 ("),
        ("seeds = 4\n", "", "suite mine: seeds: missing"),
        ("first_seed = 0", 'first_seed = "x"', "suite mine: first_seed: value 'x' ("),
        ("[[cases]]", "more = 1\n[[cases]]", "suite mine: more: unknown field"),
        ("dedup-2vm", "dedup-2", "scenario: value 'dedup-2' ("),
        (GOOD, "split = ", "suite: value '"),
        ('name = "a"', 'name = "a"\nset = ["host.hz=1"]', "host.hz: value 1 ("),
        ('name = "a"', 'name = "a"\nscenario = "vips-2vm"\n[[cases]]\nname = "a"', "suite mine: cases: name 'a' given"),
    ],
)
def test_a_wrong_suite_is_one_line(tmp_path, old, new, message):
    with pytest.raises((ExperimentError, ScenarioError)) as error:
        load_suite(written(tmp_path, GOOD.replace(old, new)))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_suite_that_is_not_there():
    with pytest.raises(ExperimentError, match=r"^suite: value 'fulll' \(.*did you mean 'full'\?\)$"):
        load_suite("fulll")
    with pytest.raises(ExperimentError, match=r"^suite: value 'none.toml' \(allowed: a file that can be read"):
        suite.load_suite("none.toml")
