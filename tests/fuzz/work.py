"""A process that tries inputs of one surface: batch after batch, each from its own seed, so that it can go on later."""

import argparse
import faulthandler
import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.kinds import Tally, kind_of
from tests.fuzz.surface import Surface, check_refusal
from vcpu_env.base.files import write_whole

BATCH = 100


MODULES = ("files", "running", "calls", "commands", "trainings")


def surfaces() -> dict[str, Surface]:
    """All of them by name; those of trainings where what they need is installed."""
    return {surface.name: surface for surface in each_surface()}


def each_surface() -> Iterator[Surface]:
    """One after the other: a module is imported when those before it are through, for some take seconds."""
    for module in MODULES:
        try:
            yield from importlib.import_module(f"tests.fuzz.{module}").SURFACES
        except ImportError:
            if module != "trainings":
                raise


def batch_of(strategy: Any, number: int, size: int) -> Iterator[Any]:
    """The inputs of a batch; the same ones each time."""
    inputs: list[Any] = []

    @seed(number)
    @settings(
        max_examples=size,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(one: Any) -> None:
        inputs.append(one)

    keep()
    yield from inputs


def try_one(surface: Surface, tally: Tally, one: Any) -> None:
    """Try an input and count what comes of it."""
    tally.tried += 1
    try:
        try:
            taken_for = surface.attempt(one)
        except surface.refusals as error:
            check_refusal(error)
            return
        tally.accepted += 1
        if surface.check is not None and tally.accepted % surface.every == 0:
            tally.checked += 1
            surface.check(taken_for)
    except Exception as error:
        tally.add(kind_of(error), repr(one), f"{type(error).__name__}: {error}")


def run(surface: Surface, tally: Tally, first_seed: int, until: float, size: int = BATCH) -> Iterator[None]:
    """Try batches until that time (of `time.monotonic`); yields before each input and after each batch."""
    strategy = surface.inputs()
    while time.monotonic() < until:
        began = time.monotonic()
        for one in batch_of(strategy, first_seed + tally.batches, size):
            yield
            try_one(surface, tally, one)
            if time.monotonic() > until + size:
                break
        tally.batches += 1
        tally.seconds += time.monotonic() - began
        yield


def main() -> None:
    """Try inputs; the tally lies in ``DIR/NAME.json``, the place of a crash or a hang in ``DIR/NAME.trace``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("surface")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--patience", type=float, required=True)
    options = parser.parse_args()
    path = options.directory / f"{options.surface}.json"
    tally = Tally.from_json(path.read_text()) if path.exists() else Tally()
    surface = next(surface for surface in each_surface() if surface.name == options.surface)
    with (options.directory / f"{options.surface}.trace").open("w") as trace:
        faulthandler.enable(trace)
        batches = tally.batches
        for _ in run(surface, tally, options.seed, time.monotonic() + options.seconds):
            faulthandler.dump_traceback_later(options.patience, exit=True, file=trace)
            if tally.batches > batches:
                batches = tally.batches
                write_whole(path, tally.to_json().encode())
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()


if __name__ == "__main__":
    main()
