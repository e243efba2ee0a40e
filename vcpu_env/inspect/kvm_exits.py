"""The VM exits of a recording by reason, with the time until the vCPU entered again, as ``perf kvm stat report``."""

import math
from collections import defaultdict
from collections.abc import Iterator

from vcpu_env.base.trace_ring import KVM_ENTRY, KVM_EXIT
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import EXITS


def exit_times(recording: Recording) -> dict[str, list[int]]:
    """Of each reason, the times (ns) from exit to entry of those exits after which the vCPU entered again."""
    times: dict[str, list[int]] = defaultdict(list)
    left: dict[int, tuple[int, str]] = {}
    for time_ns, kind, _, who, a, _, _, _ in recording.entries:
        if kind == KVM_EXIT:
            left[who] = time_ns, EXITS[a]
        elif kind == KVM_ENTRY and who in left:
            begin_ns, reason = left.pop(who)
            times[reason].append(time_ns - begin_ns)
    return dict(times)


def exits(recording: Recording) -> Iterator[str]:
    """The table."""
    times = exit_times(recording)
    count, total_ns = sum(map(len, times.values())), sum(map(sum, times.values()))
    yield "\n\nAnalyze events for all VMs, all VCPUs:\n\n"
    yield "             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time \n\n"
    for reason, found in sorted(times.items(), key=lambda row: -len(row[1])):
        mean = sum(found) / len(found)
        spread = math.sqrt(sum((ns - mean) ** 2 for ns in found) / (len(found) - 1) / len(found)) if found[1:] else 0
        of_all, of_time = 100 * len(found) / count, 100 * sum(found) / max(1, total_ns)
        yield (
            f"{reason:>20} {len(found):10} {of_all:8.2f}% {of_time:8.2f}% "
            f"{min(found) / 1e3:9.2f}us {max(found) / 1e3:9.2f}us {mean / 1e3:9.2f}us "
            f"( +- {100 * spread / mean if mean else 0:6.2f}% )\n"
        )
    yield f"\nTotal Samples:{count}, Total events handled time:{total_ns / 1e3:.2f}us.\n\n"
