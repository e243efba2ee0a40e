"""Topologies as scenarios write them, and the scheduling domains that a kernel makes of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.domain_host import chain, cpus_of, ring
from tests.helpers.smp_driver import Host
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.domain_types import SD_NUMA, SD_PREFER_SIBLING, SD_SHARE_CPUCAPACITY, SD_SHARE_LLC
from vcpu_env.kernel.topology import MC, NUMA, PKG, SMT, Cpu, domains_of
from vcpu_env.scenario.topology import check_table, parse_topology

pytestmark = pytest.mark.core


def host(topology: str) -> Host:
    return Host(len(parse_topology(topology)), [Task()], topology=topology)


def domain(kernel: Host, cpu: int, level: int) -> dict[str, int]:
    sd = kernel["sched_domain"][chain(kernel, cpu)[level]]
    return {name: int(sd[name]) for name in sd.dtype.names or ()}


def test_siblings_are_numbered_as_on_x86():
    table = parse_topology("2s2l2c2t")
    assert len(table) == 16
    assert [core for core, _, _ in table] == [*range(8)] * 2
    assert [llc for _, llc, _ in table] == [0, 0, 1, 1, 2, 2, 3, 3] * 2
    assert [node for _, _, node in table] == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    "text", ["", "c", "0c", "8", "8c3t", "8c0t", "2s", "8t", "-1c", "257c", "2s128c2t", "8C", "٨c", "8c\n"]
)
def test_what_is_no_topology(text):
    with pytest.raises(ValueError, match="as 16c, 8c2t"):
        parse_topology(text)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], ": 0 CPUs (allowed: 1..256)"),
        ([(0, 0, 0)] * 3, ".2: third CPU of core 0 (allowed: up to 2)"),
        ([(0, 0, 0), (0, 1, 0)], ".1: core 0 in llc 1 (allowed: 0, where its other CPU is)"),
        ([(0, 0, 0), (1, 0, 1)], ".1: llc 0 in node 1 (allowed: 0, where its other CPUs are)"),
        ([(0, 0)], ".0: value [0, 0] (allowed: [core, llc, node], each 0..255)"),
        ([(0, 0, -1)], ".0: value [0, 0, -1] (allowed: [core, llc, node], each 0..255)"),
    ],
)
def test_tables_that_no_host_has(table, message):
    with pytest.raises(ValueError) as error:
        check_table(table)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("topology", "levels"),
    [
        ("1c", []),
        ("16c", [(MC, 16)]),
        ("1c2t", [(SMT, 2)]),
        ("8c2t", [(SMT, 2), (MC, 16)]),
        ("2s8c", [(MC, 8), (NUMA, 16)]),
        ("2s8c2t", [(SMT, 2), (MC, 16), (NUMA, 32)]),
        ("2l8c", [(MC, 8), (PKG, 16)]),
        ("2s2l4c2t", [(SMT, 2), (MC, 8), (PKG, 16), (NUMA, 32)]),
        ("4l1c", [(PKG, 4)]),
        ("4s1c", [(NUMA, 4)]),
    ],
)
def test_levels_without_the_degenerate(topology, levels):
    domains = domains_of([Cpu(*place) for place in parse_topology(topology)])
    for own in domains.chains:
        assert [(level, len(span)) for level, span in own] == levels


def test_parameters_of_one_cache():
    """The table of v6.19 for 16 CPUs: every 16 to 32 ms while idle, 16 times as seldom while busy."""
    only = domain(host("16c"), 3, 0)
    assert (only["min_interval_ms"], only["max_interval_ms"], only["balance_interval_ms"]) == (16, 32, 16)
    assert (only["imbalance_pct"], only["cache_nice_tries"]) == (117, 1)
    assert only["flags"] == SD_SHARE_LLC | SD_PREFER_SIBLING
    assert (only["newidle_ratio"], only["newidle_call"], only["newidle_success"]) == (512, 512, 256)


def test_parameters_of_all_levels():
    smt, mc, pkg, numa = (domain(host("2s2l4c2t"), 0, level) for level in range(4))
    assert [sd["min_interval_ms"] for sd in (smt, mc, pkg, numa)] == [2, 8, 16, 32]
    assert [sd["imbalance_pct"] for sd in (smt, mc, pkg, numa)] == [110, 117, 117, 117]
    assert [sd["cache_nice_tries"] for sd in (smt, mc, pkg, numa)] == [0, 1, 1, 2]
    assert smt["flags"] == SD_SHARE_CPUCAPACITY | SD_SHARE_LLC | SD_PREFER_SIBLING
    assert mc["flags"] == SD_SHARE_LLC | SD_PREFER_SIBLING
    assert (pkg["flags"], numa["flags"]) == (SD_PREFER_SIBLING, SD_NUMA)


@pytest.mark.parametrize(
    ("topology", "allowed"), [("2s4c", 1), ("2s8c", 1), ("2s8c2t", 2), ("2s16c2t", 4), ("2s2l8c", 2), ("4s4l4c", 4)]
)
def test_allowed_numa_imbalance(topology, allowed):
    """An eighth of a node that is one cache; as many tasks as a node has caches otherwise."""
    kernel = host(topology)
    assert kernel["sched_domain"]["imb_numa_nr"][chain(kernel, 0)[-1]] == allowed


def test_groups_of_a_core_cache_and_node():
    kernel = host("2s2c2t")
    smt, mc, numa = chain(kernel, 5)  # node 0, core 1, second thread
    assert [cpus_of(kernel, "sched_group", g) for g in ring(kernel, smt)] == [[5], [1]]
    assert [cpus_of(kernel, "sched_group", g) for g in ring(kernel, mc)] == [[1, 5], [0, 4]]
    assert [cpus_of(kernel, "sched_group", g) for g in ring(kernel, numa)] == [[0, 1, 4, 5], [2, 3, 6, 7]]
    flags, cores = kernel["sched_group"]["flags"], kernel["sched_group"]["cores"]
    assert [int(flags[ring(kernel, sd)[0]]) for sd in (smt, mc, numa)] == [0, 11, SD_SHARE_LLC | SD_PREFER_SIBLING]
    assert [int(cores[ring(kernel, sd)[0]]) for sd in (smt, mc, numa)] == [1, 1, 2]
    assert kernel["rq"]["sibling"].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert (kernel["rq"]["llc"].tolist(), kernel["rq"]["node"].tolist()) == ([0, 0, 1, 1] * 2, [0, 0, 1, 1] * 2)
    assert kernel["sched_domain_shared"]["weight"].tolist() == [4, 4]


@st.composite
def tables(draw):
    """Any host: nodes of caches of cores of one or two threads, unequal, its CPUs numbered anyhow."""
    places = []
    core = llc = 0
    for node in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 3))):
            for _ in range(draw(st.integers(1, 3))):
                places += [(core, llc, node)] * draw(st.integers(1, 2))
                core += 1
            llc += 1
    return draw(st.permutations(places))


@settings(max_examples=60)
@given(table=tables())
def test_domains_of_any_host(table):
    """Every domain is its groups, every CPU is in its own group, and each domain lies within the next."""
    kernel = Host(len(table), [Task()], cpus=[Cpu(*place) for place in check_table(table)])
    for cpu in range(len(table)):
        inner = {cpu}
        for sd in chain(kernel, cpu):
            span = set(cpus_of(kernel, "sched_domain", sd))
            groups = [cpus_of(kernel, "sched_group", g) for g in ring(kernel, sd)]
            assert inner < span and set(groups[0]) >= inner and cpu in groups[0]
            assert sorted(sum(groups, [])) == sorted(span)
            inner = span
        assert len(inner) == len(table)
        shared = kernel["sched_domain_shared"][kernel["rq"]["llc"][cpu]]
        cache = kernel["span_cpu"]["cpu"][shared["first"] : shared["first"] + shared["weight"]].tolist()
        assert cache == sorted(i for i, place in enumerate(table) if place[1] == table[cpu][1])
        assert kernel["span_cpu"]["cpu"][kernel["rq"]["position"][cpu]] == cpu
