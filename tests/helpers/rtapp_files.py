"""An rt-app file of a test."""

from pathlib import Path

from vcpu_env.scenario import load_scenario


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "use-case.json"
    path.write_text(text)
    return path


GUEST = """
[host]
cpus = 2
[[vms]]
name = "vm"
vcpus = 2
workload = "use-case.json"
"""


def in_guest(tmp_path, text):
    written(tmp_path, text)
    toml = tmp_path / "guest.toml"
    toml.write_text(GUEST)
    return load_scenario(toml)
