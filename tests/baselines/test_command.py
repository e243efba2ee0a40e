"""How long work ends that a signal or the end of a worker has stopped."""

import pytest
import typer

from baselines.command import InterruptError, resumable
from vcpu_env.executors.base import WorkerDiedError


def how() -> str:
    return "3 of 4 are stored"


def test_a_signal_says_how_to_go_on():
    with pytest.raises(InterruptError, match=r"^3 of 4 are stored$"), resumable(how):
        raise KeyboardInterrupt


def test_the_end_of_a_worker_is_an_error_that_says_so(capsys):
    with pytest.raises(typer.Exit) as ended, resumable(how):
        raise WorkerDiedError("by signal 9")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "error: a worker died (out of memory?): 3 of 4 are stored\n"


def test_other_errors_and_success_are_left_alone():
    with pytest.raises(ValueError, match="of its own"), resumable(how):
        raise ValueError("of its own")
    with resumable(how):
        pass
