"""Short recordings in words."""

# ruff: noqa: E501

from vcpu_env.fit.events import Event, parse_events

FTRACE = """\
# tracer: nop
#
          <idle>-0       [001] dNh3.   100.000001: sched_waking: comm=a b pid=7 prio=120 target_cpu=001
          <idle>-0       [001] d..2.   100.000002: sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=a b next_pid=7 next_prio=120
             a b-7  (    6) [001] d..2.   100.000010: sched_waking: comm=w-2 pid=8 prio=120 target_cpu=000
             a b-7       [001] d.h..   100.000011: reschedule_entry: vector=253
             a b-7       [001] .....   100.000012: sys_enter_futex: whatever
             a b-7       [001] d..1.   100.000013: tlb_flush: pages:1 reason:remote IPI send (4)
             a b-7       [001] d..1.   100.000014: tlb_flush: pages:1 reason:local shootdown (2)
             a b-7       [001] d..2.   100.000020: sched_switch: prev_comm=a b prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=swapper/1 next_pid=0 next_prio=120
"""


def events_of(text: str) -> list[Event]:
    return parse_events(text.splitlines())
