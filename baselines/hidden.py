"""``python -m baselines.hidden FILE``: a secret for a hidden suite, and the commitment that is published before.

A hidden suite is the test suite with other seeds and other numbers in it, drawn from a secret that nobody knows who
tunes a policy. Its keeper makes the secret and publishes its SHA-256, the commitment; policies are handed in; then the
secret is revealed, and everybody can draw the same suite, check that it is the one committed to, and run it.

What is drawn is a function of the secret and a name alone: `draw`, BLAKE2b keyed with the secret.
"""

import hashlib
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from baselines.command import run_command, say
from baselines.experiment import Case, ExperimentError, check_cases
from baselines.suite import Suite, load_suite
from vcpu_env.base.errors import shown
from vcpu_env.base.files import write_whole
from vcpu_env.guest.workloads import WORKLOADS
from vcpu_env.scenario import Scenario
from vcpu_env.scenario.toml_text import read_toml
from vcpu_env.scenario.vm import Vm

OF = "full"
"""The suite that is drawn anew."""

ROUNDS = Path(__file__).parent / "rounds.toml"
"""The rounds that were held: the commitment of each and, since it is over, its secret."""

SECRET_BYTES = 32
FIRST_SEED, SEEDS = 1_000_000, 2_000_000_000
TIMES = 1.25
"""Each time of a workload is multiplied by a factor between 1 / `TIMES` and this, even on a logarithmic scale."""
SIZES = 1.25
"""Likewise the number of vCPUs, rounded."""
WEIGHTS = 2.0
"""Likewise the weight of a VM."""
LEAST_VCPUS, MOST_VCPUS = 2, 64

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def commitment_of(secret: bytes) -> str:
    """What is published before: SHA-256 of the secret's hex digits, as ``printf %s DIGITS | sha256sum`` prints."""
    return hashlib.sha256(secret.hex().encode()).hexdigest()


def draw(secret: bytes, *name: object) -> float:
    """A number in 0..1 (without 1) for a name, the same for everybody who has the secret."""
    text = "/".join(map(str, name))
    number = int.from_bytes(hashlib.blake2b(text.encode(), key=secret, digest_size=8).digest(), "big")
    return (number >> 11) / 2**53


def factor(secret: bytes, most: float, *name: object) -> float:
    """A factor between 1 / `most` and `most`."""
    return float(most ** (2.0 * draw(secret, *name) - 1.0))


def hidden_suite(secret: bytes) -> Suite:
    """The suite that a secret means."""
    suite = load_suite(OF)
    cases = tuple(Case(drawn(secret, case), case.variant) for case in suite.cases)
    check_cases(cases)
    first = FIRST_SEED + int(SEEDS * draw(secret, "seeds"))
    seeds = range(first, first + len(suite.seeds))
    return Suite("hidden", f"{suite.title}, drawn anew", suite.split, cases, seeds, commitment_of(secret))


def drawn(secret: bytes, case: Case) -> Scenario:
    """A case's scenario with other workload times, vCPUs and weights."""
    data = case.scenario.model_dump(exclude_unset=True)
    flat = case.scenario.host.cgroups == "flat"
    data["vms"] = [
        given | changed(secret, (case.variant, vm.name), vm, flat)
        for given, vm in zip(data["vms"], case.scenario.vms, strict=True)
    ]
    return Scenario(**data)


def changed(secret: bytes, name: tuple[str, ...], vm: Vm, flat: bool) -> dict[str, Any]:
    """Fields of a VM that are drawn anew; pinned VMs keep their size, flat or idle ones have no weight."""
    fields: dict[str, Any] = {}
    if vm.workload in WORKLOADS:
        times = {
            key: round(vm.params.get(key, parameter.value) * factor(secret, TIMES, *name, key))
            for key, parameter in WORKLOADS[vm.workload].parameters.items()
            if parameter.unit.partition("/")[0] == "ns"
        }
        fields["params"] = dict(vm.params) | times
    if vm.pinning is None and vm.vcpu_groups is None:
        vcpus = round(vm.vcpus * factor(secret, SIZES, *name, "vcpus"))
        fields["vcpus"] = min(max(vcpus, LEAST_VCPUS), MOST_VCPUS)
    if not flat and not vm.idle:
        fields["weight"] = max(1, round(vm.weight * factor(secret, WEIGHTS, *name, "weight")))
    return fields


def read_secret(path: Path) -> bytes:
    """The secret in a file.

    Raises:
        ExperimentError: it holds none.
    """
    try:
        text = path.read_text("ascii").strip()
        secret = bytes.fromhex(text)
    except OSError as error:
        raise ExperimentError(f"secret: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ExperimentError(f"secret: '{path}' (allowed: a file with {2 * SECRET_BYTES} hexadecimal digits)")
    return secret


def rounds() -> dict[str, dict[str, str]]:
    """The rounds that were held, by commitment: name, and secret once it is revealed."""
    return {entry["commitment"]: entry for entry in read_toml(ROUNDS.read_text("utf-8"))["rounds"]}


def open_suite(path: Path, commitment: str | None) -> Suite:
    """The hidden suite of the secret in a file, if that is the one committed to.

    Args:
        commitment: the one that was published; none: that of a round in `ROUNDS`.

    Raises:
        ExperimentError: the secret is another one.
    """
    secret = read_secret(path)
    found = commitment_of(secret)
    if commitment is not None and found != commitment:
        raise ExperimentError(f"secret: '{path}' has commitment {found} (allowed: {shown(commitment)})")
    if commitment is None and found not in rounds():
        raise ExperimentError(
            f"secret: '{path}' has commitment {found}, of no round (allowed: --commitment with the one published)"
        )
    return hidden_suite(secret)


@app.command()
def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The secret; made if it is not there.")],
) -> None:
    """Make a secret for a hidden suite, and print its commitment."""
    if not file.exists():
        try:
            write_whole(file, (secrets.token_hex(SECRET_BYTES) + "\n").encode())
        except OSError as error:
            raise ExperimentError(f"FILE: value '{file}' (allowed: a file to write; {error.strerror})") from None
        say(f"{file}: a new secret; publish the commitment, keep the file")
    print(commitment_of(read_secret(file)))


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ExperimentError,))


if __name__ == "__main__":
    main()
