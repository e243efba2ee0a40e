"""A recording: what a real kernel did with a set of probes, in one Parquet file that any machine can compare with.

Columns are those of `events.EVENTS` and (probe, run); times are nanoseconds since the probe's tasks began. The schema's
metadata holds, as JSON: the kernel's facts, the probes as data, and of every run its window and what a hypervisor took
away; and a checksum of all that and of the columns.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vcpu_env.base.files import checksum, say_unchecked, write_whole
from vcpu_env.realism.events import EVENTS
from vcpu_env.realism.kernel_facts import KernelFacts
from vcpu_env.realism.probe import Probe
from vcpu_env.scenario.errors import ScenarioError

FORMAT = "vcpu-env realism 2"
UNCHECKED_FORMAT = "vcpu-env realism 1"
"""Recordings of this format have no checksum, and are equal otherwise."""
SHIPPED = Path(__file__).parent / "recording.parquet"
"""A recording of Linux 6.18 in a virtual machine of two CPUs."""
KEY = b"vcpu_env"


@dataclass(frozen=True)
class Run:
    """One run of a probe: its events, in ns since its tasks began, and the window that counts."""

    events: np.ndarray
    begin_ns: int
    end_ns: int
    steal: float = 0.0


@dataclass(frozen=True)
class Recording:
    """Probes on one kernel, each with its runs."""

    facts: KernelFacts
    probes: dict[str, Probe]
    runs: dict[str, list[Run]]

    def only(self, names: Sequence[str]) -> "Recording":
        """A recording of some of its probes.

        Raises:
            ScenarioError: one of them is not there.
        """
        for name in names:
            if name not in self.probes:
                raise ScenarioError(f"probe: value '{name}' (allowed in this recording: {', '.join(self.probes)})")
        wanted = names or list(self.probes)
        return replace(self, probes={n: self.probes[n] for n in wanted}, runs={n: self.runs[n] for n in wanted})


def save_recording(recording: Recording, path: Path) -> None:
    """Write a recording; all of it or nothing."""
    names, numbers, parts, windows = [], [], [], []
    for i, (name, runs) in enumerate(recording.runs.items()):
        for number, run in enumerate(runs):
            parts.append(run.events)
            names.append(np.full(len(run.events), i, np.int16))
            numbers.append(np.full(len(run.events), number, np.int16))
            windows.append({"probe": name, "begin_ns": run.begin_ns, "end_ns": run.end_ns, "steal": run.steal})
    events = np.concatenate(parts)
    columns: dict[str, Any] = {"probe": np.concatenate(names), "run": np.concatenate(numbers)}
    columns |= {field: events[field] for field in EVENTS.names or ()}
    about = {
        "format": FORMAT,
        "facts": asdict(recording.facts),
        "probes": [probe.model_dump(mode="json", exclude_unset=True) for probe in recording.probes.values()],
        "runs": windows,
    }
    about["checksum"] = checksum_of(about, columns)
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(about)})
    encodings = dict.fromkeys(columns, "PLAIN") | {"time_ns": "DELTA_BINARY_PACKED"}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="zstd", compression_level=19, use_dictionary=False, column_encoding=encodings
    )
    write_whole(path, sink.getvalue().to_pybytes())


def checksum_of(about: dict[str, Any], columns: dict[str, np.ndarray]) -> str:
    """The checksum of what a recording says about itself and of its columns."""
    parts = [json.dumps({name: value for name, value in about.items() if name != "checksum"}, sort_keys=True).encode()]
    for name, column in columns.items():
        parts += [f"{name} {column.dtype.str}".encode(), np.ascontiguousarray(column).tobytes()]
    return checksum(*parts)


def load_recording(path: Path) -> Recording:
    """Read a recording. One of an older format has no checksum, which is said.

    Raises:
        ScenarioError: the file cannot be read, is damaged, or is no recording.
    """
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise ScenarioError(f"compare: value '{path}' (allowed: a recording of vcpu-env realism; {reason})") from None
    names = ("probe", "run", *(EVENTS.names or ()))
    if about.get("format") not in (UNCHECKED_FORMAT, FORMAT) or not set(names) <= set(table.column_names):
        raise ScenarioError(f"compare: value '{path}' (allowed: a recording in the format '{FORMAT}')")
    columns = {name: table[name].to_numpy() for name in names}
    if about["format"] == UNCHECKED_FORMAT:
        say_unchecked(path)
    elif about.get("checksum") != checksum_of(about, columns):
        raise damaged(path)
    try:
        return recording_of(about, columns)
    except (KeyError, TypeError, ValueError):
        raise damaged(path) from None


def damaged(path: Path) -> ScenarioError:
    """What is said of a recording that was another when it was written."""
    return ScenarioError(f"compare: value '{path}' (allowed: a recording as it was written; this one is damaged)")


def recording_of(about: dict[str, Any], columns: dict[str, np.ndarray]) -> Recording:
    """The recording that a file's metadata and columns are."""
    events = np.zeros(len(columns["probe"]), EVENTS)
    for field in EVENTS.names or ():
        events[field] = columns[field]
    probes = {probe["name"]: Probe(**probe) for probe in about["probes"]}
    owners, numbers = columns["probe"], columns["run"]
    runs: dict[str, list[Run]] = {name: [] for name in probes}
    for window in about["runs"]:
        name = window["probe"]
        here = (owners == list(probes).index(name)) & (numbers == len(runs[name]))
        runs[name].append(Run(events[here], window["begin_ns"], window["end_ns"], window["steal"]))
    return Recording(KernelFacts(**about["facts"]), probes, runs)
