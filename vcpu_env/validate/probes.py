"""The realism probes: the shipped recording of a real kernel's scheduler beside the simulated one."""

from vcpu_env.validate.verdict import Part, Verdict


def parts(seeds: int) -> list[Part]:
    """Every probe of the shipped recording: rows outside their target and the real runs' own range."""
    from vcpu_env.realism.command import compared, stored

    verdicts = []
    for result in compared(stored("shipped", ()), (), seeds):
        judged = [row for row in result.rows if row.near is not None]
        misses = [f"{row.task} {row.metric} {row.simulated:.3g} (real {row.real:.3g})" for row in result.misses]
        seen = f"{len(judged) - len(misses)} of {len(judged)}" + (f"; {'; '.join(misses[:3])}" if misses else "")
        verdicts.append(Verdict(result.probe.name, f"{len(judged)} rows near", seen, not misses))
    return [Part("Probes of a real scheduler", "`vcpu-env realism --compare shipped` has every row", tuple(verdicts))]
