"""Surfaces that read files and data; none of them runs a machine."""

import functools
import gzip
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hypothesis import strategies as st

from baselines import store
from baselines.constants import constants_in_text
from baselines.experiment import Experiment, ExperimentError, checked_experiment, make_plan, parse_experiment
from baselines.policies import PolicyError
from experiments.calibration.design import load_ranges
from experiments.study import StudyError
from tests.fuzz import mutate
from tests.fuzz.invent import data_of
from tests.fuzz.surface import Surface
from tests.helpers.fit_traces import FTRACE
from tests.helpers.samples import PIPE, VIDEO
from vcpu_env.fit.events import FitError
from vcpu_env.fit.fit import fit_trace
from vcpu_env.libvirt.domain import read_domain
from vcpu_env.libvirt.host import HostFacts
from vcpu_env.libvirt.scenario import scenario_text
from vcpu_env.libvirt.tree import LibvirtError
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.weights import sealed
from vcpu_env.policy.named import POLICIES
from vcpu_env.realism.probe import parse_probes
from vcpu_env.realism.recording import SHIPPED as RECORDING
from vcpu_env.realism.recording import load_recording
from vcpu_env.scenario import Scenario, ScenarioError, load_rtapp
from vcpu_env.scenario.load import SHIPPED as SCENARIOS
from vcpu_env.scenario.load import parse_scenario
from vcpu_env.scenario.workload_file import WorkloadFile, parse_workload
from vcpu_env.trace.replay import TraceError, read_lines

ROOT = Path(__file__).parent.parent.parent
SMALL_TABLE = [{"scenario": "a", "x": 0.1, "n": 3, "vm_n": [1, 2], "none": None}]
RULE_TEXT = 'name = "mine"\npenalty_scale = 0.5\ncap_scales = [1, 1, 1, 1, 1, 1]\nrate_limit_ns = 6_000_000\n'


@functools.cache
def scratch() -> Path:
    """A directory of this process for what must lie on disk."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def on_disk(name: str, content: str | bytes) -> Path:
    """A file with this content."""
    path = scratch() / name
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return path


def texts_in(*patterns: str) -> list[str]:
    """The texts of files of the repository."""
    return [path.read_text("utf-8") for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def scenarios() -> st.SearchStrategy[Any]:
    texts = [(SCENARIOS / entry.name).read_text("utf-8") for entry in SCENARIOS.iterdir()]
    return st.one_of(mutate.texts_like(texts), data_of(Scenario))


def try_scenario(given: Any) -> Scenario:
    return parse_scenario(given, "fuzz", scratch()) if isinstance(given, str) else Scenario(**given)


def workloads() -> st.SearchStrategy[Any]:
    pages = (ROOT / "docs" / "workloads.md").read_text("utf-8").split("```")
    examples = [text.partition("\n")[2] for text in pages[1::2] if "[[threads]]" in text]
    return st.one_of(mutate.texts_like([PIPE, *examples]), data_of(WorkloadFile))


def try_workload(given: Any) -> Scenario:
    """A workload by itself, and in a VM."""
    vm = {"name": "vm", "vcpus": 4, "workload": "mine"}
    if isinstance(given, str):
        given = parse_workload(given, "mine").model_dump(exclude_unset=True)
    return Scenario(name="fuzz", vms=[vm], workloads={"mine": given})


def rtapp_files() -> st.SearchStrategy[str]:
    return mutate.texts_like([VIDEO, *texts_in("docs/**/*.json", "tests/data/*.json")])


def try_rtapp(given: str) -> Scenario:
    return load_rtapp(on_disk("fuzz.json", given))


def experiments() -> st.SearchStrategy[Any]:
    return st.one_of(mutate.texts_like(texts_in("baselines/experiments/*.toml")), data_of(Experiment))


def try_experiment(given: Any) -> Any:
    if isinstance(given, str):
        experiment = parse_experiment(given, "fuzz", scratch())
    else:
        experiment = checked_experiment({"name": "fuzz"} | given)
    variants = max(1, len(experiment.variants)) * math.prod(map(len, experiment.grid.values()))
    return make_plan(experiment, POLICIES) if len(experiment.scenarios) * variants <= 200 else experiment


def constants() -> st.SearchStrategy[str]:
    return mutate.texts_like([RULE_TEXT, *texts_in("agents/models/*.toml")])


def models() -> st.SearchStrategy[Any]:
    """Damaged files, and whole ones with parts that are changed and sealed again."""
    paths = sorted((ROOT / "agents" / "models").glob("*.npz"))[:8]
    parts = [dict(np.load(path)) for path in paths]
    for one in parts:
        del one["checksum"]
    texts = [str(one["description"]) for one in parts]
    changed = st.tuples(
        st.sampled_from(parts),
        st.sampled_from(sorted(parts[0])),
        st.one_of(
            mutate.texts_like(texts).map(np.array),
            st.sampled_from(
                [np.float32(np.nan), np.zeros((0, 3), np.float32), np.zeros(3), np.int64(7), np.array("x")]
            ),
        ),
    )
    return st.one_of(mutate.bytes_like([path.read_bytes() for path in paths]), changed)


def try_model(given: Any) -> LearnedPolicy:
    if not isinstance(given, bytes):
        parts, name, value = given
        content = io.BytesIO()
        np.savez(content, **sealed(parts | {name: value}))
        given = content.getvalue()
    return LearnedPolicy.of_bytes(given, "fuzz.npz")


def check_model(policy: LearnedPolicy) -> None:
    """It is saved and loaded as itself."""
    policy.save(scratch() / "again.npz")
    assert LearnedPolicy.load(scratch() / "again.npz").digest == policy.digest, "saved and loaded"


def recordings() -> st.SearchStrategy[bytes]:
    """Damaged copies of a part of the shipped recording."""
    table = pq.read_table(RECORDING)
    buffer = io.BytesIO()
    pq.write_table(table.slice(0, 300), buffer)
    return mutate.bytes_like([buffer.getvalue(), RECORDING.read_bytes()])


def tables() -> st.SearchStrategy[Any]:
    """Damaged tables and manifests of results."""
    directory = scratch() / "whole"
    results = store.Store(directory, True)
    results.write_tables(SMALL_TABLE, SMALL_TABLE, SMALL_TABLE)
    results.write_manifest({"status": "complete", "source": "s", "policies": [], "seeds": 5, "cases": []})
    kinds = [
        mutate.bytes_like([(directory / name).read_bytes()]).map(lambda content, name=name: (name, content))
        for name in ("cells.parquet", "manifest.json")
    ]
    return st.one_of(*kinds)


def try_table(given: tuple[str, bytes]) -> None:
    name, content = given
    on_disk(name, content)
    if name == "manifest.json":
        store.read_manifest(scratch())
    elif store.read_rows(scratch()) != SMALL_TABLE:
        raise AssertionError("a damaged table says something else")


def trace_files() -> st.SearchStrategy[bytes]:
    """Damaged recorded traces, compressed as they are."""
    paths = sorted((ROOT / "tests" / "golden").rglob("*.jsonl.gz"), key=lambda path: path.stat().st_size)[:12]
    return mutate.bytes_like([path.read_bytes() for path in paths])


def try_probes(given: str) -> None:
    parse_probes(given, "fuzz")


def try_ranges(given: str) -> None:
    load_ranges(on_disk("ranges.toml", given))


def recorded_texts() -> st.SearchStrategy[str]:
    """Text of recorded schedules, as ftrace writes it."""
    recorded = gzip.decompress((ROOT / "tests" / "data" / "gzip-xz.ftrace.gz").read_bytes()).decode()
    return mutate.texts_like([FTRACE, "".join(recorded.splitlines(keepends=True)[:400])])


def try_recorded_text(given: str) -> None:
    fit_trace(on_disk("fuzz.ftrace", given), ("a b", "w-2") if "w-2" in given else ("gzip", "xz"))


def domains() -> st.SearchStrategy[str]:
    return mutate.texts_like(texts_in("tests/libvirt/domains/*.xml"))


def try_domain(given: str) -> Any:
    domain = read_domain(on_disk("domain.xml", given), 2)
    return scenario_text([domain], HostFacts(), {domain.name: "kbuild"}, "fuzz")


SURFACES = [
    Surface("workload", workloads, try_workload, (ScenarioError,)),
    Surface("domain", domains, try_domain, (LibvirtError, ScenarioError)),
    Surface("rtapp", rtapp_files, try_rtapp, (ScenarioError,)),
    Surface("experiment", experiments, try_experiment, (ExperimentError, ScenarioError, PolicyError)),
    Surface("constants", constants, constants_in_text, (ValueError,)),
    Surface("model", models, try_model, (ValueError,), check_model),
    Surface("recording", recordings, lambda given: load_recording(on_disk("r.parquet", given)), (ScenarioError,)),
    Surface("results", tables, try_table, (store.StoreError,)),
    Surface("recorded text", recorded_texts, try_recorded_text, (FitError,)),
    Surface("probe", lambda: mutate.texts_like(texts_in("vcpu_env/realism/probes.toml")), try_probes, (ScenarioError,)),
    Surface("ranges", lambda: mutate.texts_like(texts_in("experiments/calibration/*.toml")), try_ranges, (StudyError,)),
    Surface("trace file", trace_files, lambda given: read_lines(on_disk("t.jsonl.gz", given)), (TraceError,)),
]
