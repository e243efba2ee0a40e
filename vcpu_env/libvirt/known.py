"""The elements of a domain that libvirt knows, and why those that nothing here reads change nothing."""


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


CPUTUNE = names("""
    shares period quota global_period global_quota emulator_period emulator_quota iothread_period iothread_quota
    vcpupin emulatorpin iothreadpin vcpusched emulatorsched iothreadsched cachetune memorytune energytune
""")
CPU = names("model vendor topology cache maxphysaddr feature numa arch")
HYPERV = names("""
    relaxed vapic spinlocks vpindex runtime synic stimer reset vendor_id frequencies reenlightenment tlbflush ipi
    evmcs avic emsr_bitmap xmm_input
""")
KVM = names("hidden hint-dedicated poll-control pv-ipi dirty-ring")
FEATURES = names("""
    acpi apic pae hap viridian privnet hyperv kvm xen pvspinlock pmu vmport gic smm ioapic hpt vmcoreinfo htm nested-hv
    capabilities ccf-assist cfpc sbbc ibs tcg async-teardown ras ps2 aia msrs
""")

MEMORY = "memory has no size and no node here"
IDENTITY = "says who it is, not how it runs"
DEVICES = "devices answer in the times that the workload has"
LIFE = "VMs do not start again by themselves"

UNREAD = {
    **dict.fromkeys(("uuid", "genid", "hwuuid", "title", "description", "metadata", "sysinfo"), IDENTITY),
    **dict.fromkeys(("memory", "maxMemory", "currentMemory", "memoryBacking", "memtune", "numatune"), MEMORY),
    **dict.fromkeys(("devices", "blkiotune", "throttlegroups", "defaultiothread"), DEVICES),
    **dict.fromkeys(("on_poweroff", "on_reboot", "on_crash", "on_lockfailure", "pm"), LIFE),
    **dict.fromkeys(("os", "bootloader", "bootloader_args", "idmap"), "guests boot as boot_ns says"),
    **dict.fromkeys(("seclabel", "keywrap", "launchSecurity"), "what protects a guest costs nothing here"),
    "clock": "guests have one tick, hz, and no other timers",
    "perf": "counting costs nothing here",
}
"""Elements of a domain, and why they have no effect."""

READ = ("name", "vcpu", "vcpus", "iothreads", "iothreadids", "cputune", "resource", "features", "cpu")
DOMAIN = frozenset((*UNREAD, *READ))
