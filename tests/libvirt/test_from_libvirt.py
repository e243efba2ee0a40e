"""Hosts as libvirt describes them, made scenarios: what of them is used, and what is refused."""

import json

import pytest

from tests.helpers.command_line import call, refused
from tests.helpers.paths import ROOT
from vcpu_env.libvirt.domain import read_domain
from vcpu_env.libvirt.host import HostFacts
from vcpu_env.libvirt.scenario import scenario_text, workload_of
from vcpu_env.libvirt.tree import LibvirtError, parse_xml
from vcpu_env.scenario import load_scenario

DOMAINS = sorted((ROOT / "tests/libvirt/domains").glob("*.xml"))


def domain(name: str, cgroup_version: int = 2):
    return read_domain(ROOT / f"tests/libvirt/domains/{name}.xml", cgroup_version)


def scenario(*names: str, facts: HostFacts | None = None):
    domains = [domain(name) for name in names]
    return scenario_text(domains, facts or HostFacts(), workload_of(domains, [], "kbuild"), "host")[1]


def test_there_are_twenty_domains():
    assert len(DOMAINS) >= 20
    sources = (ROOT / "tests/libvirt/domains/SOURCES.md").read_text()
    assert all(path.name in sources for path in DOMAINS)


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_every_element_is_used_or_listed(path):
    """Those of the domain itself, and those of what is read: each is in the list, or in an entry about its parts."""
    found = read_domain(path, 2)
    listed = {row.what.split()[0] for row in found.rows}
    read_together = {"vcpupin", "emulatorpin", "iothreadpin"}
    with_a_quota = {element.replace("period", "quota") for element in listed}
    tree = parse_xml(path.read_bytes(), str(path), "domain")
    for element in tree.children:
        inner = element.children if element.tag in ("cputune", "features", "cpu", "resource") else [element]
        for child in inner:
            about = child.path.replace("period", "quota")
            of_sets = child.tag in read_together and child.tag in listed
            within = any(what.startswith(f"{child.path}/") for what in listed)
            known = child.tag in ("name", "vcpus", "iothreadids", "qemu:commandline") or of_sets or within
            assert known or child.path in listed or about in with_a_quota, child.path


def test_a_realtime_guest():
    """Pins to sets, a quota of the emulator alone, FIFO for all vCPUs, or for some."""
    (vm,) = scenario("realtime").vms
    assert vm.pinning == ((4, 5), (4, 5), (6,), (7,)) and vm.emulator_cpus == (0, 1) and vm.iothread_cpus == ((0, 1),)
    assert (vm.emulator_quota_us, vm.emulator_period_us) == (50_000, 100_000)
    assert (vm.vcpu_quota_us, vm.quota_us, vm.iothreads, vm.weight) == (-1, -1, 1, 2048)
    (fifo,) = vm.vcpusched
    assert (fifo.vcpus, fifo.scheduler, fifo.priority) == (None, "fifo", 1)
    (partly,) = scenario("realtime-partly").vms[0].vcpusched
    assert (partly.vcpus, partly.scheduler, partly.priority) == ((2, 3, 4, 5), "fifo", 1)


def test_classes_of_other_threads(tmp_path):
    """The emulator's, the IOThreads' where all have one; what only some have is left out, and said."""
    path = tmp_path / "a.xml"
    for iothreads, used in (("1-2", True), ("2", False)):
        path.write_text(
            "<domain><name>a</name><vcpu>2</vcpu><iothreads>2</iothreads><cputune>"
            "<vcpusched vcpus='1' scheduler='rr' priority='3'/><emulatorsched scheduler='fifo' priority='2'/>"
            f"<iothreadsched iothreads='{iothreads}' scheduler='batch'/></cputune></domain>"
        )
        read = read_domain(path, 2)
        assert read.vm["vcpusched"] == [{"vcpus": [1], "scheduler": "rr", "priority": 3}]
        assert read.vm["emulatorsched"] == {"scheduler": "fifo", "priority": 2}
        assert read.vm.get("iothreadsched") == ({"scheduler": "batch"} if used else None)
        assert any("some IOThreads" in row.how for row in read.rows) != used


def test_pins_of_the_manual():
    """vCPUs that are off are left out; who has no pin of its own has that of <vcpu cpuset>."""
    (vm,) = scenario("documented-cputune").vms
    assert vm.vcpus == 2 and vm.pinning == ((1, 3, 4), (0, 1)) and vm.emulator_cpus == (1, 2, 3)
    assert vm.iothread_cpus == ((5, 6), (1, 2, 4, 6), (1, 2, 4, 6), (7, 8))
    assert scenario("vagrant-nested").vms[0].pinning[:2] == ((0, 1, 2, 3), tuple(range(16)))


def test_quotas_and_partitions():
    made = scenario("production-partition", "engineering-partition", "capped-plan")
    billing, scratch, small = made.vms
    assert (billing.quota_us, billing.period_us) == (250_000, 100_000)
    assert (billing.vcpu_quota_us, billing.vcpu_period_us, billing.weight) == (40_000, 50_000, 200)
    assert (small.vcpu_quota_us, small.vcpu_period_us, small.weight) == (25_000, 100_000, 512)
    parents = {group.name: group.parent for group in made.groups}
    assert (
        parents["machine-engineering-testing"] == "machine-engineering" and parents["machine-production"] == "machine"
    )
    assert (billing.group, scratch.group, small.group) == (
        "machine-production",
        "machine-engineering-testing",
        "machine",
    )


@pytest.mark.parametrize(
    ("name", "version", "weight"),
    [("capped-plan", 2, 512), ("capped-plan", 1, 50), ("cloud-offering", 1, 390), ("nova-shared", 1, 100)],
)
def test_shares(name, version, weight):
    """cpu.weight as it stands on cgroup v2; of cpu.shares on v1 systemd makes 100 of 1024."""
    assert domain(name, version).vm["weight"] == weight


def test_paravirtual_features():
    """-cpu host has all that KVM has, a named model what is asked for; "dedicated" means native locks."""
    passed, dedicated, named, off, windows, asked, one = (
        domain(name).vm
        for name in (
            *("virt-install", "hana-slice", "nova-shared", "template-node-pinned", "kubevirt-windows", "gpu-laptop"),
            "capped-plan",
        )
    )
    assert passed | {"lock": "pvqspinlock", "pv_tlb_flush": True, "pv_sched_yield": True, "ipi_mode": "pv"} == passed
    assert dedicated["lock"] == "fifo" and "pv_tlb_flush" not in dedicated and "pv_sched_yield" not in dedicated
    assert named["lock"] == off["lock"] == one["lock"] == "tas" and named["steal_time"] == "reported"
    assert windows["pv_tlb_flush"] is True and windows["ipi_mode"] == "pv" and "pv_sched_yield" not in windows
    assert asked["lock"] == "pvqspinlock" and asked["pv_tlb_flush"] is True and "ipi_mode" not in asked
    assert "ipi_mode" not in domain("windows-server").vm or domain("windows-server").vm["pv_tlb_flush"] is True


CAPABILITIES = """<capabilities><host><cpu><arch>x86_64</arch><vendor>AMD</vendor></cpu><topology><cells num='2'>
{cells}</cells></topology><cache>{banks}</cache></host></capabilities>"""


def virsh(threads: int = 2) -> str:
    """Two nodes of two caches of two cores."""
    cells, cores = "", 8
    for node in range(2):
        cpus = [cpu for cpu in range(cores * threads) if cpu % cores // 4 == node]
        rows = "".join(
            f"<cpu id='{cpu}' socket_id='{node}' core_id='{cpu % cores}' siblings='"
            + ",".join(str(cpu % cores + cores * i) for i in range(threads))
            + "'/>"
            for cpu in cpus
        )
        cells += f"<cell id='{node}'><memory unit='KiB'>1</memory><cpus num='{len(cpus)}'>{rows}</cpus></cell>"
    banks = "".join(f"<bank id='{i}' level='3' cpus='{2 * i}-{2 * i + 1},{2 * i + 8}-{2 * i + 9}'/>" for i in range(4))
    return CAPABILITIES.format(cells=cells, banks=banks if threads == 2 else "")


LSCPU = {
    "lscpu": [
        {"field": "Vendor ID:", "data": "GenuineIntel"},
        {"field": "CPU(s):", "data": "64", "children": [{"field": "Socket(s):", "data": "2"}]},
        {"field": "Core(s) per socket:", "data": "16"},
        {"field": "Thread(s) per core:", "data": "2"},
        {"field": "L3 cache:", "data": "44 MiB (2 instances)"},
    ]
}
ODD = {
    "cpus": [{"cpu": cpu, "node": 0, "socket": 0, "core": cpu // 2, "l1d:l1i:l2:l3": "0:0:0:0"} for cpu in (0, 1, 2)]
}


def facts_of(tmp_path, text: str) -> HostFacts:
    path = tmp_path / "host"
    path.write_text(text)
    facts = HostFacts()
    facts.read_capabilities(path)
    return facts


def test_the_hosts_side(tmp_path):
    facts = facts_of(tmp_path, virsh())
    assert facts.host == {"topology": "2s2l2c2t"} and facts.kvm == {"ple": "svm"} and facts.cpus == 16
    assert facts_of(tmp_path, virsh(1)).host == {"topology": "2s4c"}
    facts = facts_of(tmp_path, json.dumps(LSCPU))
    assert facts.host == {"topology": "2s16c2t"} and facts.kvm == {"ple": "vmx"}
    made = scenario("hana-slice", facts=facts)
    assert made.host.cpus == 64 and made.vms[0].pinning[0] == (4, 36)
    assert facts_of(tmp_path, json.dumps(ODD)).host == {"cpu_topology": [[0, 0, 0], [0, 0, 0], [1, 0, 0]]}


def test_parameters(tmp_path):
    path = tmp_path / "parameters"
    path.write_text(
        "/sys/module/kvm/parameters/halt_poll_ns:50000\n/sys/module/kvm_intel/parameters/ple_gap:0\n"
        "/sys/module/kvm_intel/parameters/enable_apicv:Y\n/sys/module/kvm_intel/parameters/enable_ipiv:N\n"
        "/sys/module/kvm_intel/parameters/ept:Y\n"
    )
    facts = HostFacts()
    facts.read_parameters(path)
    assert facts.kvm == {"halt_poll_ns": 50_000, "ple_gap": 0, "apicv": "apicv"}
    path.write_text("/sys/module/kvm_amd/parameters/pause_filter_count:2000\n/sys/module/kvm_amd/parameters/avic:1\n")
    facts = HostFacts()
    facts.read_parameters(path)
    assert facts.kvm == {"ple_window": 2000, "ple": "svm", "apicv": "avic"}


def of(inner: str, vcpus: int = 2) -> str:
    return f"<domain type='kvm'><name>a</name><vcpu>{vcpus}</vcpu>{inner}</domain>"


def tune(inner: str) -> str:
    return of(f"<cputune>{inner}</cputune>")


ENTITY = '<!DOCTYPE domain [<!ENTITY secret SYSTEM "file:///etc/passwd">]><domain><name>&secret;</name></domain>'

BAD = {
    ENTITY: "1: document type or entity (allowed: none; entities are not read)",
    "<domain><name>&secret;</name></domain>": "1: no XML: undefined entity (allowed: <domain>)",
    "<domain><name>a</domain>": "1: no XML: mismatched tag (allowed: <domain>)",
    "": "1: no XML: no element found (allowed: <domain>)",
    "<network/>": "1: <network> (allowed: <domain>)",
    "<domain type='xen'><name>a</name></domain>": "1: domain: type 'xen' (allowed: kvm)",
    "<domain/>": "1: domain: name missing (allowed: <name>...</name>)",
    of("<devics/>"): "1: devics: unknown element (did you mean 'devices'?)",
    tune("<vcpupins/>"): "1: cputune/vcpupins: unknown element (did you mean 'vcpupin'?)",
    of("<features><kvm><hiden/></kvm></features>"): "1: features/kvm/hiden: unknown element (did you mean 'hidden'?)",
    of("<vcpu>3</vcpu>"): "1: vcpu: given twice (allowed: once)",
    of("", 0): "1: vcpu: value '0' (allowed: 1..4096)",
    of("", 65): "1: vcpu: 65 vCPUs (allowed: 1..64)",
    of("<cpu><topology sockets='1' cores='4'/></cpu>"): "1: cpu/topology: 4 vCPUs (allowed: 2, as <vcpu> says)",
    tune("<vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='0' cpuset='1'/>"): (
        "1: cputune/vcpupin: a second one of vcpu 0 (allowed: one)"
    ),
    tune("<vcpupin vcpu='2' cpuset='0'/>"): "1: cputune/vcpupin: vcpu 2 (allowed: 0..1)",
    tune("<vcpupin vcpu='0'/>"): "1: cputune/vcpupin: attribute cpuset missing (allowed: <vcpupin cpuset='...'>)",
    tune("<vcpupin vcpu='0' cpuset='3-1'/>"): (
        "1: cputune/vcpupin: cpuset '3-1' (allowed: a range that rises, not 3-1)"
    ),
    tune("<vcpupin vcpu='0' cpuset='1,^1'/>"): "1: cputune/vcpupin: cpuset '1,^1' is empty (allowed: at least one CPU)",
    tune("<vcpupin vcpu='0' cpuset='all'/>"): "1: cputune/vcpupin: cpuset 'all' (allowed: CPUs, as 0-3,^2,8)",
    tune("<emulatorpin cpuset='9999'/>"): "1: cputune/emulatorpin: CPU 9999 (allowed: CPUs 0..255)",
    tune("<iothreadpin iothread='1' cpuset='0'/>"): (
        "1: cputune/iothreadpin: iothread 1 (allowed: none, there are no iothreads)"
    ),
    tune("<shares>20000</shares>"): "1: cputune/shares: value '20000' (allowed: 1..10000)",
    tune("<quota>500</quota>"): "1: cputune/quota: value 500 (allowed: up to 0, or 1000..17592186044415)",
    tune("<period>10</period>"): "1: cputune/period: value 10 (allowed: 0, or 1000..1000000)",
    tune("<vcpusched vcpus='0' scheduler='fifo'/>"): (
        "1: cputune/vcpusched: attribute priority missing (allowed: <vcpusched priority='...'>)"
    ),
    tune("<vcpusched vcpus='0' scheduler='deadline'/>"): (
        "1: cputune/vcpusched: scheduler 'deadline' (allowed: batch, idle, fifo, rr)"
    ),
    tune("<vcpusched vcpus='0' scheduler='rr' priority='100'/>"): (
        "1: cputune/vcpusched: priority '100' (allowed: 1..99)"
    ),
    tune("<vcpusched vcpus='0-2' scheduler='idle'/>"): "1: cputune/vcpusched: vcpus 2 (allowed: 0..1)",
    tune("<vcpusched vcpus='0' scheduler='idle'/><vcpusched vcpus='0-1' scheduler='batch'/>"): (
        "1: cputune/vcpusched: vcpus 0 given twice (allowed: once)"
    ),
    tune("<iothreadsched iothreads='1' scheduler='batch'/>"): (
        "1: cputune/iothreadsched: iothreads 1 (allowed: none, there are no iothreads)"
    ),
    of("<features><pvspinlock state='maybe'/></features>"): "1: features/pvspinlock: state 'maybe' (allowed: on, off)",
    of("<resource><partition>/</partition></resource>"): (
        "1: resource/partition: value '/' (allowed: a path of cgroups, as /machine/production)"
    ),
    "<domain>" * 40: "1: too many elements (allowed: 20000, 32 in each other)",
}


@pytest.mark.parametrize(("text", "line"), BAD.items())
def test_refused(tmp_path, text, line):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(LibvirtError) as error:
        read_domain(path, 2)
    assert str(error.value) == f"{path}:{line}"


def test_refused_on_the_command_line(tmp_path):
    """Exit code 2, one line; nothing is written."""
    first, second, huge = tmp_path / "a.xml", tmp_path / "b.xml", tmp_path / "huge.xml"
    first.write_text(tune("<vcpupin vcpu='0' cpuset='40'/>"))
    second.write_text(of(""))
    huge.write_text(of(" " * (1 << 20)))
    capabilities, out = tmp_path / "host.xml", tmp_path / "out.toml"
    capabilities.write_text(virsh())
    for arguments, line in (
        ([first, second], f"{second}:1: name: 'a' given twice (allowed: once; also in {first})"),
        ([huge], f"{huge}: more than 1 MiB (allowed: a domain's XML)"),
        ([tmp_path], f"{tmp_path}: cannot be read (allowed: a domain's XML; Is a directory)"),
        (
            [first, "--capabilities", capabilities],
            f"{first}:1: cputune/vcpupin: CPU 40 (allowed: CPUs 0..15, as the host has)",
        ),
        (
            [second, "--workload", "b=dedup"],
            "--workload: value 'b=dedup' (allowed: VM=NAME or NAME, with VM of a)",
        ),
    ):
        assert refused("from-libvirt", *arguments, "-o", out) == line
    assert not out.exists()


def test_the_command(tmp_path):
    """The scenario that it writes loads, and its list fits 80 columns."""
    out = tmp_path / "host.toml"
    code, text, _ = call("from-libvirt", *DOMAINS, "--workload", "dedup", "--workload", "web01=dbench", "-o", out)
    assert code == 0 and max(map(len, text.splitlines()[:-1])) <= 80
    made = load_scenario(out)
    assert {vm.name: vm.workload for vm in made.vms}["web01"] == "dbench" and made.vms[0].workload == "dedup"
    assert len(made.vms) == len(DOMAINS) and made.host.cgroups == "libvirt"
