"""What the guest kernels' own work costs; tags as in `scenario.host`."""

from pydantic import Field

from vcpu_env.scenario.host import Part


class GuestCosts(Part):
    """Guest kernel work, in nanoseconds of the vCPU that does it."""

    switch_ns: int = Field(default=1500, ge=0, description="context switch: half a measured round trip [measured]")
    kernel_thread_ns: int = Field(
        default=5000, ge=0, description="work of a kernel thread that a RESCHEDULE IPI woke, without switches [assumed]"
    )
    futex_ns: int = Field(default=1000, ge=0, description="slow path of a futex or rwsem before it sleeps [assumed]")
    wake_ns: int = Field(default=500, ge=0, description="waking a thread, without its IPI [assumed]")
    timer_ns: int = Field(default=2500, ge=0, description="the guest's tick [assumed]")
    call_ns: int = Field(default=700, ge=0, description="handler of a cross-call, per caller [assumed]")
    reschedule_ns: int = Field(default=300, ge=0, description="handler of a RESCHEDULE IPI [assumed]")
    io_ns: int = Field(default=2000, ge=0, description="handler of a device's interrupt [assumed]")
    notice_ns: int = Field(
        default=100, ge=0, description="cache-line transfer to a spinner whose lock was released [assumed]"
    )
