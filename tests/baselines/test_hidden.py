"""Hidden suites: drawn from a secret, committed to by its hash, refused with another."""

import hashlib

import pytest

from baselines import hidden
from baselines.experiment import ExperimentError
from baselines.suite import load_suite
from vcpu_env.guest.workloads import WORKLOADS

SECRET = bytes(range(32))


def written(tmp_path, secret=SECRET):
    path = tmp_path / "secret"
    path.write_text(secret.hex() + "\n")
    return path


def test_the_generator_is_the_published_one():
    """BLAKE2b with the secret as key, the name as text, the first 53 bits of 8 bytes."""
    assert hidden.draw(SECRET, "seeds") == 0.9198657916899331
    whole = int.from_bytes(hashlib.blake2b(b"case/vm/vcpus", key=SECRET, digest_size=8).digest(), "big")
    assert hidden.draw(SECRET, "case", "vm", "vcpus") == pytest.approx(whole / 2**64, abs=1e-15)
    numbers = [hidden.draw(SECRET, i) for i in range(1000)]
    assert 0 <= min(numbers) < 0.01 < 0.99 < max(numbers) < 1


def test_a_suite_follows_from_its_secret_alone():
    one, again, other = (hidden.hidden_suite(secret) for secret in (SECRET, SECRET, SECRET[::-1]))
    assert one.digest == again.digest
    assert one.digest not in (other.digest, load_suite(hidden.OF).digest)
    assert one.seeds != other.seeds
    assert one.commitment == hashlib.sha256(SECRET.hex().encode()).hexdigest()


def test_what_is_drawn_stays_near_the_test_suite():
    drawn, known = hidden.hidden_suite(SECRET), load_suite(hidden.OF)
    assert [case.variant for case in drawn.cases] == [case.variant for case in known.cases]
    assert len(drawn.seeds) == len(known.seeds) and drawn.seeds.start >= hidden.FIRST_SEED
    changed = 0
    for ours, theirs in zip(drawn.cases, known.cases, strict=True):
        assert ours.scenario.host == theirs.scenario.host and ours.scenario.run == theirs.scenario.run
        for vm, before in zip(ours.scenario.vms, theirs.scenario.vms, strict=True):
            assert before.vcpus / 1.25 - 0.5 <= vm.vcpus <= before.vcpus * 1.25 + 0.5
            assert before.weight / 2 - 0.5 <= vm.weight <= before.weight * 2 + 0.5
            changed += vm.vcpus != before.vcpus
            for name, value in vm.params.items():
                parameter = WORKLOADS[vm.workload].parameters[name]
                given = before.params.get(name, parameter.value)
                most = 1.25 if parameter.unit.startswith("ns") else 1.0
                assert given / most - 0.5 <= value <= given * most + 0.5
    assert changed > 10


def test_pinned_vms_keep_their_size_and_flat_ones_their_weight():
    cases = {case.variant: case.scenario for case in hidden.hidden_suite(SECRET).cases}
    assert [vm.vcpus for vm in cases["skewed"].vms] == [4, 8]
    assert {vm.weight for vm in cases["flat-100hz"].vms} == {100}


def test_a_secret_is_opened_by_its_commitment(tmp_path):
    path = written(tmp_path)
    commitment = hidden.commitment_of(SECRET)
    assert hidden.open_suite(path, commitment).commitment == commitment
    for wrong, message in ((commitment[::-1], r"has commitment [0-9a-f]{64} \(allowed: "), (None, "of no round")):
        with pytest.raises(ExperimentError, match=message) as error:
            hidden.open_suite(path, wrong)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "xyz", "00" * 31, "00" * 33, "ü" * 64])
def test_what_is_no_secret(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(ExperimentError, match=r"^secret: '.*' \(allowed: a file with 64 hexadecimal digits\)$"):
        hidden.read_secret(path)
    with pytest.raises(ExperimentError, match="allowed: a file that can be read"):
        hidden.read_secret(tmp_path / "none")


def test_a_secret_is_made_once(tmp_path, capsys):
    path = tmp_path / "new"
    hidden.command(path)
    first = capsys.readouterr().out.strip()
    hidden.command(path)
    assert capsys.readouterr().out.strip() == first == hidden.commitment_of(hidden.read_secret(path))


def test_revealed_secrets_are_those_committed_to():
    for commitment, entry in hidden.rounds().items():
        assert "secret" not in entry or hidden.commitment_of(bytes.fromhex(entry["secret"])) == commitment
