"""Replay of scripted KVM scenarios: the machine's own functions answer, the script says what yield_to() returns.

`replay_kvm` plays a scenario (`kvm_scenario`) and yields one record per op, in the format of the traces recorded from
the kernel's code: a vCPU appears in ``v`` only when it changed. `compare_kvm` finds where two traces part,
`check_function_line` checks recorded calls of the pause-loop window and halt polling functions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.base.world import World
from vcpu_env.kvm import halt_poll, ipi, on_spin, ple, preempt
from vcpu_env.kvm.types import FILTER_SERIES, TRACK_V2, kvm_arrays, kvm_init
from vcpu_env.trace.kvm_scenario import MODES, SETTABLE, SHORTHANDS, check_scenario

SHOWN = {
    "ready": "ready",
    "preempted": "preempted",
    "in_kernel": "preempted_in_kernel",
    "blocking": "blocking",
    "in_spin_loop": "in_spin_loop",
    "dy_eligible": "dy_eligible",
    "parked": "parked",
}
IPI_SHOWN = {
    "receiver": "last_ipi_receiver",
    "sender": "last_ipi_sender",
    "pending": "pending_ipi",
    "time": "ipi_time_ns",
}
DERIVED_FROM = ["apicv", "pir_pending", "event", "nmi", "pv_unhalted", "async_pf"]
ROW = [*SHOWN.values(), *IPI_SHOWN.values(), *DERIVED_FROM]


class Replay:
    """One VM under a script. Each method ``op_<name>`` plays an op and returns the fields of its record."""

    def __init__(self, scenario: dict):
        check_scenario(scenario)
        self.n = scenario["n"]
        series = scenario["mode"] == "v2"
        self.world = World(kvm_arrays(1, self.n))
        kvm_init(
            self.world,
            [self.n],
            filter=FILTER_SERIES if series else 0,
            track=TRACK_V2 if series else 0,
            relaxed_round=int(series),
            ipi_tracking_enabled=scenario["ipi_tracking"],
            enable_relaxed_boost=scenario["relaxed"],
            ipi_window_ns=scenario["ipi_window_ns"],
        )
        self.series = series
        self.w = self.world.handle
        self.vcpus = self.world["kvm_vcpu"]
        self.params = self.world["kvm_params"][0]
        self.yield_ret = [1] * self.n
        self.rows: list[tuple | None] = [None] * self.n
        self.shown: list[dict] = [{}] * self.n

    def changed(self) -> dict[str, dict]:
        """The vCPUs that differ from when last asked, as records show them."""
        changed = {}
        for i, row in enumerate(self.vcpus[ROW].tolist()):
            if row == self.rows[i]:
                continue
            self.rows[i] = row
            values = dict(zip(ROW, row, strict=True))
            shown = {key: values[field] for key, field in SHOWN.items()}
            shown["pending_irq"] = int(on_spin.kvm_arch_dy_has_pending_interrupt(self.w, i))
            shown["dy_runnable"] = int(on_spin.vcpu_dy_runnable(self.w, i))
            shown["ipi"] = {key: values[field] for key, field in IPI_SHOWN.items()}
            if shown != self.shown[i]:
                self.shown[i] = changed[str(i)] = shown
        return changed

    def record(self, i: int, t: int, op: str, fields: dict) -> dict:
        last_boosted = int(self.world["kvm"]["last_boosted_vcpu"][0])
        return {"i": i, "t": t, "op": op, **fields, "last_boosted": last_boosted, "v": self.changed()}

    def has_task(self, vcpu: int) -> bool:
        return not (self.vcpus["pid_busy"][vcpu] or self.vcpus["no_task"][vcpu])

    def op_on_spin(self, op: dict) -> dict:
        me, now, kernel = op["me"], op["t"], int(op.get("kernel", 1))
        if self.vcpus["parked"][me]:
            return {"me": me, "skip": 1}
        scripted = {int(vcpu): list(rets) for vcpu, rets in op.get("yr", {}).items()}
        attempts: list[list[int]] = []
        elig: list[list[int]] = []
        target, ret = NIL, 0
        started = on_spin.on_spin_begin(self.w, me, kernel)
        while started and (target := int(on_spin.scan_advance(self.w, me, now))) != NIL:
            scan_round = int(self.vcpus["scan_round"][me])
            eligible = bool(on_spin.kvm_vcpu_eligible_for_directed_yield(self.w, target))
            elig.append([target, int(eligible), scan_round])
            if not eligible:
                continue
            ret = 0
            if self.has_task(target):
                rets = scripted.get(target, [self.yield_ret[target]])
                ret = rets.pop(0) if len(rets) > 1 else rets[0]
            attempts.append([target, ret, scan_round])
            on_spin.on_spin_result(self.w, me, target, ret)
        parked = int(ret > 0 and bool(op.get("park", 0)))
        if started and not parked:
            on_spin.on_spin_finish(self.w, me)
        return {
            "me": me,
            "attempts": attempts,
            "elig": elig,
            "target": attempts[-1][0] if ret > 0 else NIL,
            "rounds": int(self.vcpus["scan_round"][me]),
            "parked": parked,
            "kernel": kernel,
        }

    def op_resume(self, op: dict) -> dict:
        if not self.vcpus["parked"][op["me"]]:
            return {"me": op["me"], "skip": 1}
        on_spin.on_spin_finish(self.w, op["me"])
        return {"me": op["me"]}

    def op_pv_yield(self, op: dict) -> dict:
        me, to = op["me"], op["to"]
        called = int(on_spin.sched_yield_begin(self.w, me, to, op.get("alone", 0)) and self.has_task(to))
        ret = self.yield_ret[to] if called else 0
        on_spin.sched_yield_result(self.w, me, ret)
        return {"me": me, "called": called, "ok": int(ret > 0)}

    def op_send_ipi(self, op: dict) -> dict:
        src, mode, shorthand = op["src"], op.get("mode", "fixed"), op.get("shorthand", "none")
        if not self.series or op.get("pv"):
            return {"src": src, "delivered": -2}
        everyone = range(self.n)
        reached = {"none": op["dst"], "self": [src], "all": everyone, "others": [i for i in everyone if i != src]}
        accepted = [i for i in reached[shorthand] if mode not in ("fixed", "lowest") or self.vcpus["apic_enabled"][i]]
        if mode == "lowest":
            accepted = accepted[:1]
        sender = NIL if op.get("from") == "device" else src
        receiver = accepted[-1] if accepted else NIL
        ipi.track_delivery(self.w, sender, receiver, len(accepted), MODES[mode], SHORTHANDS[shorthand], op["t"])
        return {"src": src, "delivered": len(accepted)}

    def op_eoi(self, op: dict) -> dict:
        if not op.get("pv"):
            ipi.kvm_clear_ipi_on_eoi(self.w, op["vcpu"], op["t"])
        return {"vcpu": op["vcpu"]}

    def op_reset(self, op: dict) -> dict:
        clear = ipi.kvm_vcpu_reset_ipi_context if op.get("full") else ipi.kvm_vcpu_clear_ipi_context
        clear(self.w, op["vcpu"])
        return {"vcpu": op["vcpu"]}

    def op_query(self, op: dict) -> dict:
        sender, receiver = op["sender"], op["receiver"]
        answer = ipi.kvm_vcpu_is_ipi_receiver(self.w, sender, receiver, op["t"])
        return {"sender": sender, "receiver": receiver, "is_receiver": int(answer)}

    def op_param(self, op: dict) -> dict:
        names = {"track": "ipi_tracking_enabled", "window": "ipi_window_ns", "relaxed": "enable_relaxed_boost"}
        for field, name in names.items():
            if field in op:
                self.params[name] = op[field]
        return {field: int(self.params[name]) for field, name in names.items()}

    def op_set(self, op: dict) -> dict:
        vcpu = op["vcpu"]
        self.yield_ret[vcpu] = op.get("yield_ret", self.yield_ret[vcpu])
        for field in SETTABLE.keys() & op.keys():
            self.vcpus[SETTABLE[field]][vcpu] = op[field]
        if "blocking" in op:
            self.vcpus["asleep"][vcpu] = op["blocking"]
        return {"vcpu": vcpu}

    def op_sched_out(self, op: dict) -> dict:
        in_kernel = int(op.get("cpl", 0) == 0)
        preempt.kvm_sched_out(self.w, op["vcpu"], int(op.get("runnable", 1)), in_kernel, int(op.get("wants", 1)))
        return {"vcpu": op["vcpu"]}

    def op_sched_in(self, op: dict) -> dict:
        preempt.kvm_sched_in(self.w, op["vcpu"])
        return {"vcpu": op["vcpu"]}

    def op_wake(self, op: dict) -> dict:
        return {"vcpu": op["vcpu"], "woken": int(preempt.kvm_vcpu_wake_up(self.w, op["vcpu"]))}


def replay_kvm(scenario: dict) -> Iterator[dict]:
    """Play a scenario; yields the initial record, then one per op."""
    replay = Replay(scenario)
    yield replay.record(0, 0, "init", {})
    for i, op in enumerate(scenario["ops"], 1):
        fields = getattr(replay, "op_" + op["op"])(op)
        yield replay.record(i, op["t"], op["op"], fields)


@dataclass(frozen=True)
class Mismatch:
    """The first record in which a field of two traces differs."""

    field: str
    record: int
    t: int
    kernel: Any
    own: Any

    def __str__(self) -> str:
        return f"{self.field}: record {self.record} at {self.t} ns: kernel {self.kernel}, own {self.own}"


RECORD_FIELDS = ["op", "t", "last_boosted", "target", "attempts", "elig", "rounds", "parked"]
RECORD_FIELDS += ["is_receiver", "woken", "called", "ok", "skip", "delivered"]


def compare_kvm(golden: Iterable[dict], own: Iterable[dict]) -> list[Mismatch]:
    """The first mismatch of every field of the records and of every field of the vCPUs; empty: the traces are equal."""
    found: dict[str, Mismatch] = {}
    golden, own = list(golden), list(own)
    if len(golden) != len(own):
        found["records"] = Mismatch("records", min(len(golden), len(own)), 0, len(golden), len(own))
    theirs: dict[str, dict] = {}
    ours: dict[str, dict] = {}
    for want, got in zip(golden, own, strict=False):
        theirs.update(want["v"])
        ours.update(got["v"])
        pairs = [(field, want[field], got.get(field)) for field in RECORD_FIELDS if field in want]
        # a state that neither record touched was compared before
        for vcpu in want["v"].keys() | got["v"].keys():
            state = ours.get(vcpu, {})
            for field, value in theirs.get(vcpu, {}).items():
                pairs.append((f"v.{field}", (vcpu, value), (vcpu, state.get(field))))
        for field, kernel, mine in pairs:
            if kernel != mine:
                found.setdefault(field, Mismatch(field, want["i"], want["t"], kernel, mine))
    return list(found.values())


def _one_vcpu(**params: int) -> World:
    world = World(kvm_arrays(1, 1))
    kvm_init(world, [1], **params)
    return world


def _ple_line(line: dict) -> dict:
    val, base, modifier = line["val"], line["base"], line["mod"]
    return {
        "out_grow": int(ple.__grow_ple_window(val, base, modifier, line["max"])),
        "out_shrink": int(ple.__shrink_ple_window(val, base, modifier, line["min"])),
    }


def _halt_poll_line(line: dict) -> dict:
    world = _one_vcpu(**{f"halt_poll_ns_{name}": line[name] for name in ("grow", "grow_start", "shrink")})
    out = {}
    for name, function in (("out_grow", halt_poll.grow_halt_poll_ns), ("out_shrink", halt_poll.shrink_halt_poll_ns)):
        world["kvm_vcpu"]["halt_poll_ns"][0] = line["val"]
        function(world.handle, 0)
        out[name] = int(world["kvm_vcpu"]["halt_poll_ns"][0])
    return out


def _halt_sequence_line(line: dict) -> dict:
    """kvm_vcpu_halt() against a clock that only the polling loop moves, by one step an iteration."""
    cfg, step = line["cfg"], line["poll_step_ns"]
    world = _one_vcpu(
        halt_poll_ns=cfg["max"],
        halt_poll_ns_grow=cfg["grow"],
        halt_poll_ns_grow_start=cfg["start"],
        halt_poll_ns_shrink=cfg["shrink"],
    )
    if "override" in cfg:
        world["kvm"]["override_halt_poll_ns"] = 1
        world["kvm"]["max_halt_poll_ns"] = cfg["override"]
    vcpu = world["kvm_vcpu"]
    halts = []
    for halt in line["halts"]:
        before = dict(halt, poll_before=int(vcpu["halt_poll_ns"][0]))
        vcpu["no_poll"][0] = halt["no_poll"]
        limit = int(halt_poll.halt_poll_limit(world.handle, 0))
        polled = min(-(-limit // step), -(-halt["after"] // step)) * step
        vcpu["halt_polled_ns"][0] = polled
        wait = max(halt["after"] - polled, 0)
        polled_ok = int(limit > 0 and wait == 0)
        halt_poll.halt_finished(world.handle, 0, polled + wait, polled_ok, halt["valid"])
        after = int(vcpu["halt_poll_ns"][0])
        halts.append(before | {"poll_after": after, "polled_ok": polled_ok, "wait_ns": wait})
    return {"halts": halts}


FUNCTION_LINES = {"ple": _ple_line, "halt_poll": _halt_poll_line, "halt_sequence": _halt_sequence_line}


def check_function_line(line: dict) -> dict[str, tuple]:
    """Repeat one recorded call; returns ``{output: (recorded, own)}`` of the outputs that differ."""
    if line.get("fn") not in FUNCTION_LINES:
        raise ValueError(f"function line: fn={line.get('fn')!r} is unknown; allowed: {', '.join(FUNCTION_LINES)}")
    own = FUNCTION_LINES[line["fn"]](line)
    return {name: (line[name], value) for name, value in own.items() if line[name] != value}
