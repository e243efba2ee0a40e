"""The fuzz command in short: some inputs of every surface, none of which may end otherwise than accepted or refused."""

import time

import pytest

from tests.fuzz.__main__ import kind_of_end
from tests.fuzz.kinds import ROOT, Tally, kind_of
from tests.fuzz.mutate import bytes_like, texts_like
from tests.fuzz.surface import Surface
from tests.fuzz.work import batch_of, run, surfaces, try_one

FEW = 40
SLOW = {
    "rule": 1, "rule compiled": 1, "report": 1, "command": 2, "evaluate": 5, "trace": 5, "batch call": 10,
    "experiment": 10, "reset": 10, "scenario": 60,
}  # fmt: skip
"""How many inputs of those surfaces whose inputs take longer."""


@pytest.mark.parametrize("name", surfaces())
def test_a_few_inputs(name):
    surface, tally = surfaces()[name], Tally()
    for one in batch_of(surface.inputs(), 0, SLOW.get(name, FEW)):
        try_one(surface, tally, one)
    assert tally.tried > 0
    found = {kind: found.message for kind, found in tally.kinds.items()}
    assert not found


def refuse_b(text: str) -> str:
    if "b" in text:
        raise ValueError("b: not allowed")
    if "c" in text:
        raise KeyError(text)
    if "d" in text:
        raise ValueError("two\nlines\x07")
    return text


def check_e(text: str) -> None:
    assert "e" not in text, "an e"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a", []),
        ("b", []),
        ("c", ["KeyError at tests/test_fuzz.py:"]),
        ("d", ["unclear ValueError at tests/test_fuzz.py:"]),
        ("e", ["AssertionError at tests/test_fuzz.py:"]),
    ],
)
def test_what_is_a_kind(text, kinds):
    tally = Tally()
    for _ in range(3):
        try_one(Surface("x", lambda: texts_like([]), refuse_b, (ValueError,), check_e), tally, text)
    assert tally.tried == 3 and len(tally.kinds) == len(kinds)
    for found, kind in zip(tally.kinds, kinds, strict=True):
        assert found.startswith(kind) and tally.kinds[found].count == 3
    assert Tally.from_json(tally.to_json()) == tally


def test_a_batch_is_the_same_again():
    for strategy in (texts_like(["a = 5\nb = [1, 2]\n"]), bytes_like([b"0123456789"])):
        first, again, other = (list(batch_of(strategy, number, 30)) for number in (7, 7, 8))
        assert first == again != other and len(first) >= 25


def test_it_ends_in_time_and_counts():
    tally, surface = Tally(), Surface("x", lambda: texts_like(["a = 5"]), refuse_b, (ValueError,))
    for _ in run(surface, tally, 0, time.monotonic() + 0.2, size=10):
        pass
    assert tally.batches >= 1 and tally.tried >= 5 and tally.seconds > 0


def test_a_process_that_ends_is_a_kind():
    line = f'  File "{ROOT}/vcpu_env/machine.py", line 70 in run_until\n'
    assert kind_of_end(-11, "Fatal Python error: Segmentation fault\n" + line) == "signal 11 at vcpu_env/machine.py:70"
    assert kind_of_end(1, "Timeout (0:00:05)!\n" + line) == "hang at vcpu_env/machine.py:70"
    assert kind_of_end(1, "") == "exit code 1"


def test_a_kind_says_where_beyond_our_code_it_was_raised():
    try:
        int("x" * 3, base=99)
    except ValueError as error:
        assert kind_of(error).startswith("ValueError at tests/test_fuzz.py:")
