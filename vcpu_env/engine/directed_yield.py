"""Directed yield of a running machine: the two decision points, and what is done with their answers.

`choose_target` is asked at each kvm_vcpu_on_spin(), `choose_penalty` at each yield that the series would penalise. Each
is answered by the kernel's own rule, by a user's compiled rule, or from outside: then the machine stops, and takes the
answer when it goes on. With the target goes the kind of boost (`kernel.v6_19.yield_boost`), the view's fields ``boost``
and ``penalty_scale_q16``.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.engine.state import (
    DECISION_PENALTY,
    DECISION_TARGET,
    FAILED,
    RUNNING,
    STOPPED_AT_DECISION,
    engine,
    host_costs,
)
from vcpu_env.engine.vcpu_thread import enter_guest, host_work, reschedule
from vcpu_env.engine.yield_trace import (
    FOUND_NONE,
    RULED_NOBODY,
    RULED_PLAIN,
    trace_boost,
    trace_nobody,
    trace_spin,
    trace_yield_to,
)
from vcpu_env.guest.run import awaited_vcpu
from vcpu_env.guest.types import HC_NONE, KVM_HC_KICK_CPU, guest_vcpu
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import sched_yield, try_to_wake_up, yield_to_begin, yield_to_end
from vcpu_env.kernel.fair_class import nr_levels
from vcpu_env.kernel.types import cpu_rq, task_struct
from vcpu_env.kernel.yield_penalty import choose_penalty
from vcpu_env.kernel.yield_types import (
    BOOST_PENALTY,
    BOOST_PLAIN,
    BOOST_RULE,
    BOOST_STAY,
    BOOST_STAY_CREDIT,
    NR_BOOSTS,
    SCALE_ONE_Q16,
    SKIP_NOT_SAME_RQ,
    SKIP_RATE_LIMIT,
    SKIP_WRAP,
    yield_decision,
    yield_stats,
)
from vcpu_env.kvm.on_spin import (
    on_spin_begin,
    on_spin_finish,
    on_spin_next,
    on_spin_result,
    sched_yield_begin,
    sched_yield_result,
)
from vcpu_env.kvm.pcpu import ENTER, pcpu
from vcpu_env.kvm.ple import ple_yields_to_kernel_mode
from vcpu_env.kvm.preempt import kvm_vcpu_wake_up
from vcpu_env.kvm.pvsched import preempt_for, pvsched, yields_between_classes
from vcpu_env.kvm.types import kvm_vcpu
from vcpu_env.policy.rules import MAX_PENALTY_NS, MAX_SCALE, RULE_EXTERNAL, RULE_KERNEL, call_rule
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, NOBODY, decision_rules, fill_view, yield_view


@kjit
def stop_for_answer(w, cpu, kind, by_kick):
    """Stop the machine: a decision has to be answered from outside."""
    state = engine(w)
    state.status = STOPPED_AT_DECISION
    state.decision_kind = kind
    state.decision_cpu = cpu
    state.decision_by_kick = by_kick


@kjit
def refuse(w, answer):
    """A rule gave an answer that is not allowed: the machine cannot go on."""
    engine(w).status = FAILED
    engine(w).refused = answer


@kjit
def stays(boost):
    """Whether the spinner keeps its CPU after this boost."""
    return boost == BOOST_STAY or boost == BOOST_STAY_CREDIT


@kjit
def note_yield(w, cpu, me, target, awaited):
    """Statistics of a yield_to() that succeeded, and the hint whose fate the target's CPU will tell."""
    target_cpu = task_struct(w, target).cpu
    pc = pcpu(w, target_cpu)
    pc.hint_vcpu = target
    pc.hint_awaited = awaited == target
    kvm_vcpu(w, me).ple_yield_same_rq += target_cpu == cpu
    now_ns = cpu_rq(w, cpu).clock_ns
    kvm_vcpu(w, target).last_boost_ns = now_ns
    kvm_vcpu(w, me).last_yield_ns = now_ns
    stats, decision = yield_stats(w), yield_decision(w)
    stats.yields += 1
    stats.credited += decision.credit_ns > 0
    stats.credit_ns += decision.credit_ns
    stats.stayed += stays(decision.boost)
    stats.not_applied += decision.boost == BOOST_PENALTY and decision.applied == 0 and decision.penalty_scale_q16 > 0
    stats.forfeit += decision.forfeit
    if decision.applied:
        stats.applied += 1
        stats.penalty_ns += decision.penalty_ns
    elif decision.skip == SKIP_RATE_LIMIT:
        stats.limited += 1
    elif decision.skip == SKIP_NOT_SAME_RQ:
        stats.cross_rq += 1
    elif decision.skip == SKIP_WRAP:
        stats.wrapped += 1


@kjit
def view_penalty(w, me, target, now_ns):
    """Describe the pending penalty decision; the series' own answer is part of the view."""
    choose_penalty(w)
    view, decision = yield_view(w), yield_decision(w)
    fill_view(w, me, awaited_vcpu(w, me), now_ns)
    view.target = target
    view.gran_ns = decision.gran_ns
    view.need_ns = decision.need_ns
    view.h_nr_queued = decision.n
    view.depth = nr_levels(w, decision.lca_y)
    view.series_penalty_ns = decision.penalty_ns


@kjit
def finish_yield(w, cpu, by_kick, now_ns):
    """The end of a yield_to() that succeeds: penalty, forfeit, and the schedule() of the yielder."""
    me, target = pcpu(w, cpu).vcpu, yield_decision(w).target
    awaited = awaited_vcpu(w, me)
    yield_to_end(w, cpu, target)
    trace_boost(w, cpu, me, now_ns)
    note_yield(w, cpu, me, target, awaited)
    if by_kick:
        sched_yield_result(w, me, 1)
    else:
        on_spin_result(w, me, target, 1)
    if stays(yield_decision(w).boost):
        on_spin_finish(w, me)
        host_work(w, cpu, host_costs(w).yield_to_ns, ENTER, now_ns)
    else:
        reschedule(w, cpu, host_costs(w).yield_to_ns, now_ns)


@kjit
def plain_yield(w, cpu, now_ns):
    """yield() in place of a directed yield: the spinner gives way to whom the scheduler picks."""
    trace_nobody(w, cpu, pcpu(w, cpu).vcpu, RULED_PLAIN, now_ns)
    sched_yield(w, cpu)
    yield_stats(w).plain += 1
    kvm_vcpu(w, pcpu(w, cpu).vcpu).parked = 1
    reschedule(w, cpu, host_costs(w).yield_to_ns, now_ns)


@kjit
def take_penalty(w, cpu, penalty_ns, by_kick, now_ns):
    """Charge the chosen penalty."""
    if penalty_ns < 0 or penalty_ns > MAX_PENALTY_NS:
        refuse(w, penalty_ns)
        return
    yield_decision(w).penalty_ns = penalty_ns
    finish_yield(w, cpu, by_kick, now_ns)


@kjit
def try_yield(w, cpu, target, by_kick, now_ns):
    """kvm_vcpu_yield_to(). Returns what yield_to() returns; after 1 the CPU has rescheduled, or the machine stopped."""
    me = pcpu(w, cpu).vcpu
    if pvsched(w).cs_bits and yields_between_classes(w, me, target):
        ret = 0
    else:
        ret = yield_to_begin(w, cpu, target)
    trace_yield_to(w, cpu, me, target, ret, by_kick, now_ns)
    if ret <= 0:
        return ret
    yield_decision(w).target = target
    if not yield_decision(w).pending:
        finish_yield(w, cpu, by_kick, now_ns)
        return ret
    rules = decision_rules(w)
    if rules.penalty_rule == RULE_KERNEL:
        choose_penalty(w)
        finish_yield(w, cpu, by_kick, now_ns)
        return ret
    view_penalty(w, me, target, now_ns)
    if rules.penalty_rule == RULE_EXTERNAL:
        stop_for_answer(w, cpu, DECISION_PENALTY, by_kick)
    else:
        take_penalty(w, cpu, call_rule(rules.penalty_address, yield_view(w)), by_kick, now_ns)
    return ret


@kjit
def yield_loop(w, cpu, target, now_ns):
    """The loop of kvm_vcpu_on_spin(), from `target` on, up to the yield_to() that succeeds or its end."""
    me = pcpu(w, cpu).vcpu
    while target != NIL:
        ret = try_yield(w, cpu, target, 0, now_ns)
        if ret > 0:
            return
        on_spin_result(w, me, target, ret)
        target = on_spin_next(w, me, now_ns)
    trace_nobody(w, cpu, me, FOUND_NONE, now_ns)
    on_spin_finish(w, me)
    enter_guest(w, cpu, now_ns)


@kjit
def boost_allowed(w):
    """Whether the outputs of the view are what a directed yield can do."""
    view = yield_view(w)
    return BOOST_RULE <= view.boost < NR_BOOSTS and 0 <= view.penalty_scale_q16 <= MAX_SCALE * SCALE_ONE_Q16


@kjit
def take_target(w, cpu, answer, now_ns):
    """Do what the answer to a target decision says. A chosen sibling that it can't yield to is the loop's first try."""
    view, me = yield_view(w), pcpu(w, cpu).vcpu
    if answer < NOBODY or answer >= FIRST_CANDIDATE + view.nr_candidates or not boost_allowed(w):
        refuse(w, answer)
        return
    yield_decision(w).boost, yield_decision(w).penalty_scale_q16 = view.boost, view.penalty_scale_q16
    if answer == NOBODY:
        trace_nobody(w, cpu, me, RULED_NOBODY, now_ns)
        on_spin_finish(w, me)
        enter_guest(w, cpu, now_ns)
    elif view.boost == BOOST_PLAIN:
        plain_yield(w, cpu, now_ns)
    elif answer == AS_KERNEL:
        yield_loop(w, cpu, on_spin_next(w, me, now_ns), now_ns)
    else:
        yield_loop(w, cpu, view.candidate[answer - FIRST_CANDIDATE], now_ns)


@kjit
def reset_boost(w):
    """The yield that follows is the kernel's own, unless a rule or an answer says otherwise."""
    decision = yield_decision(w)
    decision.boost, decision.penalty_scale_q16 = BOOST_RULE, SCALE_ONE_Q16


@kjit
def on_spin(w, cpu, now_ns):
    """A PAUSE exit has been handled up to kvm_vcpu_on_spin()."""
    me = pcpu(w, cpu).vcpu
    if not on_spin_begin(w, me, ple_yields_to_kernel_mode(w, me)):
        enter_guest(w, cpu, now_ns)
        return
    engine(w).decisions += 1
    update_rq_clock(w, cpu, now_ns)
    reset_boost(w)
    trace_spin(w, cpu, me, now_ns)
    rules = decision_rules(w)
    if rules.target_rule == RULE_KERNEL:
        yield_loop(w, cpu, on_spin_next(w, me, now_ns), now_ns)
        return
    fill_view(w, me, awaited_vcpu(w, me), now_ns)
    if rules.target_rule == RULE_EXTERNAL:
        stop_for_answer(w, cpu, DECISION_TARGET, 0)
    else:
        take_target(w, cpu, call_rule(rules.target_address, yield_view(w)), now_ns)


@kjit
def hypercall(w, cpu, now_ns):
    """kvm_emulate_hypercall(). KVM_HC_KICK_CPU: wake a halted lock waiter's vCPU; both: yield to the target.

    It is the yield_to() of PAUSE-loop exits, the series' penalty included; only its target is the guest's choice.
    """
    me = pcpu(w, cpu).vcpu
    g = guest_vcpu(w, me)
    target, number = g.hypercall_target, g.hypercall
    g.hypercall = HC_NONE
    update_rq_clock(w, cpu, now_ns)
    reset_boost(w)
    if number == KVM_HC_KICK_CPU:
        kvm_vcpu(w, target).pv_unhalted = 1
        if kvm_vcpu_wake_up(w, target):
            try_to_wake_up(w, target, cpu, 0)
            if pvsched(w).cs_bits:
                preempt_for(w, target)
    if sched_yield_begin(w, me, target, cpu_rq(w, cpu).nr_running == 1) and try_yield(w, cpu, target, 1, now_ns) > 0:
        return
    host_work(w, cpu, 0, ENTER, now_ns)


@kjit
def take_answer(w, now_ns):
    """Do what was answered, from outside, to the decision that the machine had stopped at."""
    state = engine(w)
    state.status = RUNNING
    if state.decision_kind == DECISION_TARGET:
        take_target(w, state.decision_cpu, state.answer, now_ns)
    else:
        take_penalty(w, state.decision_cpu, state.answer, state.decision_by_kick, now_ns)
