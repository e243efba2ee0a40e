"""The series with other constants: a small TOML file that is a policy, ``FILE.toml``.

::

    name = "tuned-v2"
    penalty_scale = 0.5             # factor of the penalty after its clamp
    cap_scales = [1, 1, 1, 1, 1, 1] # factors of the six caps, by queue size
    rate_limit_ns = 6_000_000
    ipi_window_ns = 50_000_000
    relaxed_boost = true
    "/sys/module/kvm/parameters/halt_poll_ns" = 0       # and whatever an operator can write (`scenario.host_writes`)
    "/sys/kernel/debug/sched/features" = "NO_RUN_TO_PARITY"

What is left out is the series' own.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vcpu_env.base.errors import InputError, shown
from vcpu_env.kernel.types import sched_features, sched_tunables
from vcpu_env.kernel.yield_types import CAPS, LAST_CAP, RATE_LIMIT_NS, SCALE_ONE_Q16, deboost_params
from vcpu_env.kvm.types import IPI_WINDOW_NS, kvm_params
from vcpu_env.policy.policy import SERIES_PATCHES, Policy
from vcpu_env.scenario.cgroups import Change
from vcpu_env.scenario.errors import error_lines
from vcpu_env.scenario.host_writes import write_of
from vcpu_env.scenario.toml_text import read_toml

CAP_ONE = 1024


class Constants(BaseModel):
    """The constants of the series that an administrator could set, and how the file calls them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, description="of the policy, in tables")
    summary: str = Field(default="v2 with other constants", description="one line")
    source: str = Field(default="", description="where the constants come from")
    penalty_scale: float = Field(default=1.0, ge=0, le=1024, description="factor of the penalty after its clamp")
    cap_scales: tuple[float, ...] = Field(default=(1.0,) * len(CAPS), description="factors of the caps")
    rate_limit_ns: int = Field(default=RATE_LIMIT_NS, ge=0, le=2**40, description="of the debooster, a CPU")
    ipi_window_ns: int = Field(default=IPI_WINDOW_NS, ge=0, le=2**40, description="in which an IPI counts")
    relaxed_boost: bool = Field(default=True, description="the relaxed second round")
    files: dict[str, Any] = Field(default_factory=dict, description="files under /sys and what is written")

    @field_validator("cap_scales")
    @classmethod
    def check_caps(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        """Refuse what is not one factor for each cap."""
        if len(scales) != len(CAPS) or not all(0 < scale <= 1024 for scale in scales):
            raise InputError(f": value {list(scales)} (allowed: {len(CAPS)} numbers above 0, up to 1024)")
        return scales

    def policy(self) -> Policy:
        """The whole series with these constants."""
        caps = [round(num * scale * CAP_ONE) for (_, num, _), scale in zip(CAPS, self.cap_scales, strict=True)]
        settings: dict[tuple[str, str], Any] = {
            ("deboost_params", "penalty_scale_q16"): round(self.penalty_scale * SCALE_ONE_Q16),
            ("deboost_params", "cap_num"): [*caps, LAST_CAP[0] * CAP_ONE],
            ("deboost_params", "cap_den"): [den * CAP_ONE for _, _, den in (*CAPS, (0, *LAST_CAP))],
            ("deboost_params", "rate_limit_ns"): self.rate_limit_ns,
            ("kvm_params", "ipi_window_ns"): self.ipi_window_ns,
            ("kvm_params", "enable_relaxed_boost"): int(self.relaxed_boost),
        }
        settings |= dict(map(setting_of, self.files.items()))
        return Policy(self.name, self.summary, SERIES_PATCHES, settings=settings, source=self.source)


def setting_of(written: tuple[str, int | str]) -> tuple[tuple[str, str], int]:
    """The field of the world's structs that a file under /sys is, and what is written to it.

    Raises:
        ValueError: there is no such file, or Linux would refuse the value.
    """
    file, value = written
    try:
        write = write_of(0, Change(at_ns=0, file=file, value=value))
    except ValidationError:
        raise ValueError(f"{file}: value {shown(value)} (allowed: a number or a text)") from None
    except ValueError as error:
        raise ValueError(f"{file}: {str(error).partition(': ')[2]}") from None
    if write.name == "preempt":
        return ("sched_tunables", "preempt_lazy"), write.value
    structs = (kvm_params, sched_features, deboost_params, sched_tunables)
    return (next(struct.name for struct in structs if write.name in struct.fields), write.name), write.value


def constants_in_text(text: str) -> Constants:
    """The constants in a file's text.

    Raises:
        ValueError: with one line for every wrong field.
    """
    given = read_toml(text)
    files = {name: given.pop(name) for name in list(given) if name.startswith("/")}
    try:
        constants = Constants(**given | ({"files": files} if files else {}))
        constants.policy()
        return constants
    except ValidationError as error:
        raise InputError("; ".join(error_lines(Constants, error))) from None
