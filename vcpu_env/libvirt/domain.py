"""One domain's XML as the fields of a VM."""

import re
from dataclasses import dataclass
from pathlib import Path

from vcpu_env.libvirt.found import Findings, Found
from vcpu_env.libvirt.known import CPU, CPUTUNE, DOMAIN, FEATURES, UNREAD
from vcpu_env.libvirt.paravirt import Paravirt
from vcpu_env.libvirt.tree import Element, LibvirtError, cpu_set, parse_xml, read_text

MAX_VCPUS = 64
MOST_CPUS = 256
MAX_QUOTA_US = 17_592_186_044_415
VHOST_NS = 8_000
"""CPU time of an IOThread for a request, as of the vhost worker of the shipped scenario host-io [assumed]."""
SHARES = {2: (1, 10_000), 1: (2, 262_144)}
"""What libvirt lets <shares> be, by the version of the host's cgroups."""
LARGEST_WEIGHT = 10_000

Pin = tuple[Element, tuple[int, ...]]


@dataclass(frozen=True)
class Domain:
    """A domain as a scenario has it.

    Attributes:
        file, line: where its name is.
        vm: fields of the VM; which program it runs is not in its XML.
        partition: the path of the cgroup that it lies in, "/machine" unless the XML says another.
        pins: every element that names CPUs of the host, with these.
        rows: what became of each element.
    """

    file: str
    line: int
    name: str
    vm: dict[str, object]
    partition: tuple[str, ...]
    pins: tuple[Pin, ...]
    rows: tuple[Found, ...]


def read_domain(path: Path, cgroup_version: int) -> Domain:
    """The domain in a file.

    Args:
        cgroup_version: of the host, 1 or 2: what <shares> mean.

    Raises:
        LibvirtError: it cannot be read, or libvirt would not start it.
    """
    tree = parse_xml(read_text(path, "a domain's XML"), str(path), "domain")
    return _Reader(tree, cgroup_version).read()


class _Reader:
    """Goes through one domain, element by element."""

    def __init__(self, tree: Element, cgroup_version: int):
        self.tree, self.cgroup_version = tree, cgroup_version
        tree.check_children(DOMAIN)
        if tree.attributes.get("type", "kvm") != "kvm":
            tree.refuse(f"type '{tree.attributes['type']}'", "kvm")
        name = tree.one("name")
        if name is None or not name.text:
            tree.refuse("name missing", "<name>...</name>")
        self.line, self.name = name.line, re.sub(r"[^A-Za-z0-9_.-]", "-", name.text)[:64].lstrip("_.-") or "vm"
        self.found = Findings(self.name)
        if self.name != name.text:
            self.found.approximated(name, f"'{self.name}', as names are here")
        self.vm: dict[str, object] = {"name": self.name}
        self.pins: list[Pin] = []
        self.everywhere: tuple[int, ...] | None = None

    def read(self) -> Domain:
        """All of it."""
        self.read_vcpus()
        iothreads = self.read_iothreads()
        cputune = self.tree.one("cputune")
        if cputune is not None:
            cputune.check_children(CPUTUNE)
            self.read_shares(cputune)
            self.read_quotas(cputune)
        self.read_pins(cputune, iothreads)
        self.read_schedulers(cputune, iothreads)
        self.read_cpu()
        if (features := self.tree.one("features")) is not None:
            features.check_children(FEATURES)
        self.vm |= Paravirt(self.tree, self.count, self.found).read()
        self.vm["emulator_threads"] = 1
        self.found.approximated("emulator", "emulator_threads = 1, a main loop that wakes 100 times a second")
        partition = self.read_partition()
        self.read_rest(cputune)
        return Domain(
            self.tree.file, self.line, self.name, self.vm, partition, tuple(self.pins), tuple(self.found.rows)
        )

    def read_vcpus(self) -> None:
        """How many vCPUs there are, and how many of them are on."""
        vcpu = self.tree.one("vcpu")
        self.most = 1 if vcpu is None else vcpu.integer(1, 4096)
        self.count = self.most
        if vcpu is not None:
            if "current" in vcpu.attributes:
                self.count = vcpu.integer(1, self.most, "current")
            if "cpuset" in vcpu.attributes:
                self.everywhere = self.pin(vcpu)
            placement = vcpu.attributes.get("placement", "static")
            if placement not in ("static", "auto"):
                vcpu.refuse(f"placement '{placement}'", "static, auto")
            if placement == "auto":
                self.found.without(vcpu, "what numad would advise is not known: vCPUs run anywhere", "placement auto")
        states = self.tree.one("vcpus")
        if states is not None:
            enabled = [state for state in states.all("vcpu") if state.attributes.get("enabled", "yes") == "yes"]
            self.count = len(enabled) or self.count
        if self.count > MAX_VCPUS:
            (vcpu or self.tree).refuse(f"{self.count} vCPUs", f"1..{MAX_VCPUS}")
        self.vm["vcpus"] = self.count
        self.found.used("vcpu", "vcpus", str(self.count))

    def read_iothreads(self) -> list[int]:
        """The ids of the IOThreads."""
        element, ids = self.tree.one("iothreads"), self.tree.one("iothreadids")
        named = [entry.integer(1, 4096, "id") for entry in ids.all("iothread")] if ids is not None else []
        count = max(len(named), 0 if element is None else element.integer(0, 4096))
        if count > MAX_VCPUS:
            (element or self.tree).refuse(f"{count} IOThreads", f"0..{MAX_VCPUS}")
        if not count:
            return []
        self.vm |= {"iothreads": count, "vhost_ns": VHOST_NS}
        self.found.approximated("iothreads", f"iothreads, vhost_ns = {VHOST_NS}: any of them takes any request")
        return named + [i for i in range(1, 2 * count + 1) if i not in named][: count - len(named)]

    def pin(self, element: Element) -> tuple[int, ...]:
        """The CPUs that an element names."""
        cpus = cpu_set(element)
        if cpus[-1] >= MOST_CPUS:
            element.refuse(f"CPU {cpus[-1]}", f"CPUs 0..{MOST_CPUS - 1}")
        self.pins.append((element, cpus))
        return cpus

    def read_pins(self, cputune: Element | None, iothreads: list[int]) -> None:
        """Which CPUs vCPUs, emulator and IOThreads may use: their own, or those of <vcpu cpuset>."""
        children = cputune.children if cputune is not None else []
        own: dict[str, dict[int, tuple[int, ...]]] = {"vcpupin": {}, "emulatorpin": {}, "iothreadpin": {}}
        for element in (child for child in children if child.tag in own):
            key = {"vcpupin": "vcpu", "iothreadpin": "iothread"}.get(element.tag, "")
            thread = element.integer(0, 4096, key) if key else 0
            if thread in own[element.tag]:
                element.refuse(f"a second one{f' of {key} {thread}' if key else ''}", "one")
            if element.tag == "vcpupin" and thread >= self.most:
                element.refuse(f"vcpu {thread}", f"0..{self.most - 1}")
            if element.tag == "iothreadpin" and thread not in iothreads:
                element.refuse(f"iothread {thread}", ", ".join(map(str, iothreads)) or "none, there are no iothreads")
            own[element.tag][thread] = self.pin(element)
        if own["vcpupin"] or self.everywhere:
            self.vm["pinning"] = [own["vcpupin"].get(i, self.everywhere) for i in range(self.count)]
            self.found.used("vcpupin" if own["vcpupin"] else "vcpu cpuset", "pinning")
        if (emulator := own["emulatorpin"].get(0, self.everywhere)) is not None:
            self.vm["emulator_cpus"] = emulator
            self.found.used("emulatorpin" if own["emulatorpin"] else "vcpu cpuset", "emulator_cpus")
        if iothreads and (own["iothreadpin"] or self.everywhere):
            self.vm["iothread_cpus"] = [own["iothreadpin"].get(i, self.everywhere) for i in iothreads]
            self.found.used("iothreadpin" if own["iothreadpin"] else "vcpu cpuset", "iothread_cpus")

    def read_shares(self, cputune: Element) -> None:
        """<shares>: cpu.weight itself on cgroup v2; on v1 cpu.shares, of which systemd makes 100 of 1024."""
        shares = cputune.one("shares")
        if shares is None:
            return
        value = shares.integer(*SHARES[self.cgroup_version])
        weight = value if self.cgroup_version == 2 else max(1, min(LARGEST_WEIGHT, value * 100 // 1024))
        self.vm["weight"] = weight
        self.found.used(shares, f"weight = {weight} (cgroup v{self.cgroup_version})", str(value))

    def read_quotas(self, cputune: Element) -> None:
        """Quotas and periods of each vCPU, the domain, the emulator, each IOThread; 0 and below: none."""
        for prefix, field in (("", "vcpu_"), ("global_", ""), ("emulator_", "emulator_"), ("iothread_", "iothread_")):
            quota, period = cputune.one(f"{prefix}quota"), cputune.one(f"{prefix}period")
            quota_us, period_us = -1, 100_000
            if quota is not None:
                quota_us = quota.integer(-MAX_QUOTA_US, MAX_QUOTA_US)
                if 0 < quota_us < 1000:
                    quota.refuse(f"value {quota_us}", f"up to 0, or 1000..{MAX_QUOTA_US}")
            if period is not None:
                period_us = period.integer(0, 1_000_000)
                if 0 < period_us < 1000:
                    period.refuse(f"value {period_us}", "0, or 1000..1000000")
            if quota is not None and quota_us > 0:
                self.vm |= {f"{field}quota_us": quota_us, f"{field}period_us": period_us or 100_000}
                self.found.used(quota, f"{field}quota_us, {field}period_us", str(quota_us))
            elif quota is not None or period is not None:
                self.found.without(quota or period or cputune, "no limit", "" if quota is None else quota.text)

    def read_schedulers(self, cputune: Element | None, iothreads: list[int]) -> None:
        """Scheduling classes of vCPUs, emulator and IOThreads."""
        covered: set[int] = set()
        own: list[dict[str, object]] = []
        for element in cputune.children if cputune is not None else ():
            if element.tag not in ("vcpusched", "iothreadsched", "emulatorsched"):
                continue
            scheduler = element.get("scheduler")
            if scheduler not in ("fifo", "rr", "batch", "idle"):
                element.refuse(f"scheduler '{scheduler}'", "batch, idle, fifo, rr")
            sched: dict[str, object] = {"scheduler": scheduler}
            if scheduler in ("fifo", "rr"):
                sched["priority"] = element.integer(1, 99, "priority")
            if element.tag == "emulatorsched":
                self.vm["emulatorsched"] = sched
                self.found.used(element, "emulatorsched", scheduler)
                continue
            threads = cpu_set(element, "vcpus" if element.tag == "vcpusched" else "iothreads")
            if element.tag == "iothreadsched":
                self.read_iothreadsched(element, sched, threads, iothreads)
                continue
            if again := covered & set(threads):
                element.refuse(f"vcpus {min(again)} given twice", "once")
            if threads[-1] >= self.most:
                element.refuse(f"vcpus {threads[-1]}", f"0..{self.most - 1}")
            covered |= set(threads)
            if on := [vcpu for vcpu in threads if vcpu < self.count]:
                own.append(({} if len(on) == self.count else {"vcpus": on}) | sched)
        if own:
            self.vm["vcpusched"] = own
            self.found.used("cputune/vcpusched", "vcpusched")

    def read_iothreadsched(
        self, element: Element, sched: dict[str, object], threads: tuple[int, ...], iothreads: list[int]
    ) -> None:
        """One class for all IOThreads: what differs between them is left out."""
        for thread in threads:
            if thread not in iothreads:
                allowed = ", ".join(map(str, iothreads)) or "none, there are no iothreads"
                element.refuse(f"iothreads {thread}", allowed)
        if set(threads) == set(iothreads):
            self.vm["iothreadsched"] = sched
            self.found.used(element, "iothreadsched", str(sched["scheduler"]))
        else:
            self.found.without(element, "only some IOThreads: any of them takes any request", str(sched["scheduler"]))

    def read_cpu(self) -> None:
        """Topology and model: a topology that is not that of the vCPUs is refused."""
        cpu = self.tree.one("cpu")
        if cpu is None:
            return
        cpu.check_children(CPU)
        topology = cpu.one("topology")
        if topology is not None:
            product = 1
            for level in ("sockets", "dies", "clusters", "cores", "threads"):
                if level in topology.attributes:
                    product *= topology.integer(1, 4096, level)
            if product != self.most:
                topology.refuse(f"{product} vCPUs", f"{self.most}, as <vcpu> says")
            self.found.without(topology, "guests' schedulers take all vCPUs for equal cores")
        for child in cpu.children:
            if child.tag != "topology":
                self.found.without(child, "changes nothing that is simulated")

    def read_partition(self) -> tuple[str, ...]:
        """The cgroup above the domain's own."""
        resource = self.tree.one("resource")
        partition = resource.one("partition") if resource is not None else None
        if partition is None:
            return ("machine",)
        parts = tuple(part for part in partition.text.split("/") if part)
        if not parts or not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", part) for part in parts):
            partition.refuse(f"value '{partition.text[:60]}'", "a path of cgroups, as /machine/production")
        self.found.used(partition, "group", partition.text)
        return parts

    def read_rest(self, cputune: Element | None) -> None:
        """What nothing here reads."""
        for child in cputune.children if cputune is not None else ():
            if child.tag in ("cachetune", "memorytune", "energytune"):
                self.found.without(child, "caches have no size here")
        for child in self.tree.children:
            if child.tag in UNREAD:
                self.found.without(child, UNREAD[child.tag])
            elif ":" in child.tag and child.tag != "qemu:commandline":
                self.found.without(child, "not libvirt's own")


def check_names(domains: list[Domain]) -> None:
    """Refuse two domains of one name.

    Raises:
        LibvirtError: there are.
    """
    seen: dict[str, Domain] = {}
    for domain in domains:
        if domain.name in seen:
            other = seen[domain.name].file
            raise LibvirtError(
                f"{domain.file}:{domain.line}: name: '{domain.name}' given twice (allowed: once; also in {other})"
            )
        seen[domain.name] = domain
