"""The series' yield debooster, v1 and v2: a bounded vruntime penalty for the yielder at the lowest common queue."""

from dataclasses import asdict, dataclass

from .eevdf import CfsRq, SchedEntity, calc_delta_fair

MSEC = 1_000_000
U64_MAX = (1 << 64) - 1
CAPS = [(2, 6, 1), (3, 4, 1), (6, 5, 2), (8, 2, 1), (12, 3, 2)]  # queue size up to, multiplier; beyond: 1


def find_matching_se(se: SchedEntity, pse: SchedEntity) -> tuple[SchedEntity, SchedEntity]:
    """The ancestors of two tasks that stand in the same queue."""
    for ancestor in se.chain():
        for other in pse.chain():
            if ancestor.cfs_rq is other.cfs_rq:
                return ancestor, other
    raise AssertionError("no common queue")


@dataclass
class Debooster:
    """Per-runqueue state of the debooster and its decision."""

    version: str  # "none", "v1" or "v2"
    enabled: bool = True
    last_time_ns: int = 0
    last_src: str | None = None
    last_dst: str | None = None
    last_pair_time: int = 0

    def state(self) -> dict:
        values = asdict(self)
        return {key: values[key] for key in ("last_time_ns", "last_src", "last_dst", "last_pair_time")}

    def rate_limited(self, now: int) -> bool:
        """At most one penalty in 6 ms; a stamp of 0 is "never". v1 stamps refused calls too."""
        limited = self.last_time_ns != 0 and now - self.last_time_ns <= 6 * MSEC
        if not limited or self.version == "v1":
            self.last_time_ns = now
        return limited

    def yield_to(self, rq, target) -> dict:
        """yield_to_deboost(): returns what was decided and why, in the traces' terms."""
        yielder = rq.curr
        if not self.enabled:
            return {"skip": "disabled", "applied": 0}
        if self.version == "v2":
            rq.update_clock()
        if self.rate_limited(rq.clock):
            return {"skip": "rate_limit", "applied": 0}
        if target.rq is not rq:
            return {"skip": "not_same_rq", "applied": 0}
        rq.update_clock()
        se_y, se_t = find_matching_se(yielder.se, target.se)
        cfs_rq = se_y.cfs_rq
        n = cfs_rq.h_nr_queued if self.version == "v2" else cfs_rq.nr_queued
        if n <= 1:
            return {"skip": "lca", "applied": 0}
        decision = {"lca_q": cfs_rq.name, "lca_y": se_y.name, "lca_t": se_t.name, "n": n}
        decision |= self.penalty(rq, yielder, target, se_y, se_t, n)
        decision |= self.apply(cfs_rq, se_y, decision["penalty"])
        return decision

    def penalty(self, rq, yielder, target, se_y: SchedEntity, se_t: SchedEntity, n: int) -> dict:
        gran = calc_delta_fair(rq.base_slice, se_y.load)
        y_v, t_v = se_y.vruntime & U64_MAX, se_t.vruntime & U64_MAX
        need = max(0, t_v - y_v)  # a plain unsigned comparison: astronomical across the wrap
        raw = gran + min((need + need // 10) & U64_MAX, U64_MAX - gran) if need else gran
        penalty = raw
        reverse = (self.last_src, self.last_dst) == (target.name, yielder.name)
        debounced = reverse and rq.clock - self.last_pair_time <= 600_000
        if debounced:
            penalty = min(penalty, max(need, gran))
        self.last_src, self.last_dst, self.last_pair_time = yielder.name, target.name, rq.clock
        numerator, denominator = next(((a, b) for size, a, b in CAPS if n <= size), (1, 1))
        penalty = max(gran, min(penalty, gran * numerator // denominator))
        found = {"gran": gran, "need": need, "raw": raw, "debounced": int(debounced), "penalty": penalty}
        return found | {"y_v": se_y.vruntime, "t_v": se_t.vruntime}

    def apply(self, cfs_rq: CfsRq, se: SchedEntity, penalty: int) -> dict:
        """Dropped where the u64 would wrap: a queue that starts at -2^20 goes unpunished until it passes zero."""
        if (se.vruntime & U64_MAX) + penalty > U64_MAX:
            return {"skip": "wrap", "applied": 0}
        se.vruntime += penalty
        se.deadline = se.vruntime + calc_delta_fair(se.slice, se.load)
        if self.version == "v1":
            se.vlag = cfs_rq.avg_vruntime() - se.vruntime  # and with it, the protection limit
        return {"applied": 1, "y_v1": se.vruntime, "y_d1": se.deadline}
