"""What the guest kernels' own work costs; tags as in `scenario.host`."""

from pydantic import Field

from vcpu_env.scenario.host import CostNs, Part


class GuestCosts(Part):
    """Guest kernel work, in nanoseconds of the vCPU that does it."""

    switch_ns: CostNs = Field(default=1500, description="context switch: half a measured round trip [measured]")
    kernel_thread_ns: CostNs = Field(
        default=5000, description="work of a kernel thread that a RESCHEDULE IPI woke, without switches [assumed]"
    )
    futex_ns: CostNs = Field(default=1000, description="slow path of a futex or rwsem before it sleeps [assumed]")
    wake_ns: CostNs = Field(default=500, description="waking a thread, without its IPI [assumed]")
    timer_ns: CostNs = Field(default=2500, description="the guest's tick [assumed]")
    call_ns: CostNs = Field(default=700, description="handler of a cross-call, per caller [assumed]")
    reschedule_ns: CostNs = Field(default=300, description="handler of a RESCHEDULE IPI [assumed]")
    io_ns: CostNs = Field(default=2000, description="handler of a device's interrupt [assumed]")
    notice_ns: CostNs = Field(
        default=100, description="cache-line transfer to a spinner whose lock was released [assumed]"
    )
