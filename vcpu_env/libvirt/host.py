"""The host's side: CPUs from ``virsh capabilities`` or ``lscpu -J``, KVM's module parameters."""

import json
import re
from pathlib import Path
from typing import Any

from vcpu_env.libvirt.found import Findings
from vcpu_env.libvirt.tree import Element, LibvirtError, cpu_set, parse_xml, read_text
from vcpu_env.scenario.topology import check_table, parse_topology

WHAT = "the output of virsh capabilities, or of lscpu -J"


class HostFacts:
    """What is known of a host, as fields of a scenario.

    Attributes:
        cpus: how many CPUs it has; 0: not known.
        host, kvm: fields of these parts of a scenario.
        found: what became of what was read.
    """

    def __init__(self) -> None:
        self.cpus = 0
        self.host: dict[str, object] = {}
        self.kvm: dict[str, object] = {}
        self.found = Findings("host")

    def read_capabilities(self, path: Path) -> None:
        """CPUs and vendor.

        Raises:
            LibvirtError: the file has them not.
        """
        content, file = read_text(path, WHAT), str(path)
        if content.lstrip()[:1] == b"<":
            self.of_virsh(parse_xml(content, file, "capabilities"))
            return
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            raise LibvirtError(f"{file}: neither XML nor JSON (allowed: {WHAT})") from None
        if isinstance(data, dict) and isinstance(data.get("cpus"), list):
            self.of_cpu_list(data["cpus"], file)
        elif isinstance(data, dict) and isinstance(data.get("lscpu"), list):
            self.of_summary(data["lscpu"], file)
        else:
            raise LibvirtError(f"{file}: neither lscpu nor cpus in it (allowed: {WHAT})")

    def of_virsh(self, tree: Element) -> None:
        """Cells, cores and caches as libvirt lists them."""
        host = tree.one("host") or tree.refuse("host missing", "<host>")
        cpu, topology = host.one("cpu"), host.one("topology")
        vendor = cpu.one("vendor") if cpu is not None else None
        if vendor is not None:
            self.set_vendor(vendor.text)
        cells = topology.one("cells") if topology is not None else None
        if cells is None:
            host.refuse("topology/cells missing", "<topology><cells>")
        llc_of = self.llcs(host)
        rows: dict[int, tuple[object, object, object]] = {}
        for cell in cells.all("cell"):
            node = cell.integer(0, 4095, "id")
            for cpus in cell.all("cpus"):
                for entry in cpus.all("cpu"):
                    number = entry.integer(0, 4095, "id")
                    if number in rows:
                        entry.refuse(f"id {number} given twice", "once")
                    core = cpu_set(entry, "siblings") if "siblings" in entry.attributes else (number,)
                    socket = entry.attributes.get("socket_id", "0")
                    rows[number] = (core, llc_of.get(number, ("socket", socket)), node)
        self.set_table(rows, tree.file)

    @staticmethod
    def llcs(host: Element) -> dict[int, tuple[str, str]]:
        """The bank of the largest shared cache that each CPU is in."""
        cache = host.one("cache")
        banks = [] if cache is None else cache.all("bank")
        last = max((bank.attributes.get("level", "") for bank in banks), default="")
        found: dict[int, tuple[str, str]] = {}
        for bank in banks:
            if bank.attributes.get("level") == last and last >= "3":
                found |= dict.fromkeys(cpu_set(bank, "cpus"), ("bank", bank.attributes.get("id", "")))
        return found

    def of_cpu_list(self, cpus: list[Any], file: str) -> None:
        """``lscpu -J -e``: a row a CPU."""
        rows: dict[int, tuple[object, object, object]] = {}
        for row in cpus:
            if not isinstance(row, dict) or "cpu" not in row or not {"core", "socket"} <= row.keys():
                raise LibvirtError(f"{file}: cpus: an entry without cpu, core, socket (allowed: lscpu -J -e)")
            caches = next((str(row[name]) for name in row if name.startswith("l1d")), "")
            llc = caches.rpartition(":")[2] or str(row["socket"])
            try:
                number = int(row["cpu"])
            except (TypeError, ValueError):
                raise LibvirtError(f"{file}: cpus: cpu {row['cpu']!r:.40} (allowed: an integer)") from None
            rows[number] = ((row["socket"], row["core"]), llc, row.get("node", row["socket"]))
        self.set_table(rows, file)

    def of_summary(self, fields: list[Any], file: str) -> None:
        """``lscpu -J``: counts of sockets, cores and threads."""
        values = dict(_flat(fields))
        if "Vendor ID" in values:
            self.set_vendor(values["Vendor ID"])
        counts = []
        for name in ("Socket(s)", "Core(s) per socket", "Thread(s) per core"):
            text = values.get(name, "")
            if not re.fullmatch(r"[1-9]\d{0,3}", text, re.ASCII):
                raise LibvirtError(f"{file}: {name}: value '{text:.40}' (allowed: a number, as lscpu -J prints it)")
            counts.append(int(text))
        sockets, cores, threads = counts
        caches = re.search(r"\((\d{1,4}) instances?\)", values.get("L3 cache", ""))
        llcs = max(1, int(caches[1]) // sockets) if caches else 1
        if cores % llcs:
            llcs = 1
        self.set_topology(regular(sockets, llcs, cores // llcs, threads), file)

    def set_vendor(self, text: str) -> None:
        """Whose PAUSE-loop exits the host has."""
        svm = "AMD" in text or "Hygon" in text
        self.kvm["ple"] = "svm" if svm else "vmx"
        self.found.used("vendor", f"kvm.ple = '{self.kvm['ple']}'", text)

    def set_topology(self, text: str, file: str) -> None:
        """A regular host."""
        try:
            self.cpus = len(parse_topology(text))
        except ValueError as error:
            raise LibvirtError(f"{file}: topology {text} (allowed: {error})") from None
        self.host["topology"] = text
        self.found.used("topology", "host.topology", text)

    def set_table(self, rows: dict[int, tuple[object, object, object]], file: str) -> None:
        """Any host: numbers of cores, caches and nodes in the order in which they come."""
        if sorted(rows) != list(range(len(rows))) or not rows:
            raise LibvirtError(f"{file}: CPUs {sorted(rows)[:8]} (allowed: 0, 1, ... without gaps)")
        numbers: list[dict[object, int]] = [{}, {}, {}]
        table = []
        for cpu in range(len(rows)):
            core, llc, node = rows[cpu]
            keys = (core, (node, llc), node)
            table.append([numbered.setdefault(key, len(numbered)) for numbered, key in zip(numbers, keys, strict=True)])
        try:
            checked = check_table(table)
        except ValueError as error:
            raise LibvirtError(f"{file}: topology{error}") from None
        nodes, llcs, cores = (len(numbers[i]) for i in (2, 1, 0))
        if not llcs % nodes and not cores % llcs and not len(rows) % cores:
            text = regular(nodes, llcs // nodes, cores // llcs, len(rows) // cores)
            if parse_topology(text) == checked:
                self.set_topology(text, file)
                return
        self.cpus = len(rows)
        self.host["cpu_topology"] = [list(entry) for entry in checked]
        self.found.used("topology", "host.cpu_topology", f"{len(rows)} CPUs")

    def read_parameters(self, path: Path) -> None:
        """``grep . /sys/module/kvm*/parameters/*``: a line a parameter, path and value.

        Raises:
            LibvirtError: a line is something else, or a value is wrong.
        """
        text = read_text(path, "the output of grep . /sys/module/kvm*/parameters/*").decode("utf-8", "replace")
        on: dict[str, bool] = {}
        for number, line in enumerate(text.splitlines(), 1):
            match = re.fullmatch(r"/sys/module/(kvm|kvm_intel|kvm_amd)/parameters/(\w+):\s*(\S*)", line.strip())
            if match is None:
                if line.strip():
                    raise LibvirtError(
                        f"{path}:{number}: no parameter (allowed: /sys/module/kvm/parameters/NAME:VALUE)"
                    )
                continue
            module, name, value = match.groups()
            field = (OF_AMD if module == "kvm_amd" else OF_KVM).get(name)
            if field is not None:
                if not re.fullmatch(r"\d{1,10}", value, re.ASCII):
                    raise LibvirtError(f"{path}:{number}: {name}: value '{value[:40]}' (allowed: 0..4294967295)")
                self.kvm[field] = int(value)
                self.found.used(name, f"kvm.{field}", value)
            elif name in ("enable_apicv", "enable_ipiv", "avic"):
                on[name] = value in ("Y", "1")
                self.found.used(name, "kvm.apicv", value)
            else:
                self.found.without(name, "changes nothing that is simulated", value)
        self.set_apicv(on)

    def set_apicv(self, on: dict[str, bool]) -> None:
        """Which interrupt hardware is in use."""
        if on.get("avic"):
            self.kvm |= {"ple": "svm", "apicv": "avic"}
        elif on.get("enable_apicv"):
            self.kvm["apicv"] = "ipiv" if on.get("enable_ipiv") else "apicv"


OF_KVM = {
    name: name
    for name in (
        *("halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start", "halt_poll_ns_shrink"),
        *("ple_gap", "ple_window", "ple_window_grow", "ple_window_shrink", "ple_window_max"),
    )
}
"""Parameters of kvm and kvm_intel that are fields of a scenario's `kvm`, under the same names."""

OF_AMD = {
    "pause_filter_thresh": "ple_gap",
    "pause_filter_count": "ple_window",
    "pause_filter_count_grow": "ple_window_grow",
    "pause_filter_count_shrink": "ple_window_shrink",
    "pause_filter_count_max": "ple_window_max",
}
"""Those of kvm_amd."""


def regular(sockets: int, llcs: int, cores: int, threads: int) -> str:
    """The name of a topology whose parts are all alike; each number counts what is in one of the next larger things."""
    parts = ((sockets, "s"), (llcs, "l"), (cores, "c"), (threads, "t"))
    return "".join(f"{number}{letter}" for number, letter in parts if number > 1 or letter == "c")


def _flat(fields: list[Any], depth: int = 8) -> list[tuple[str, str]]:
    """Names and values of lscpu's fields, those within others too."""
    found: list[tuple[str, str]] = []
    for entry in fields:
        if isinstance(entry, dict):
            if isinstance(entry.get("field"), str):
                found.append((entry["field"].removesuffix(":"), str(entry.get("data", ""))))
            if depth and isinstance(entry.get("children"), list):
                found += _flat(entry["children"], depth - 1)
    return found
