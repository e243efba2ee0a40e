"""What `vcpu-env list` says of scenarios, policies and workloads, as text that is there at once, without a compiler.

``python -m vcpu_env.listed.make`` makes the files anew; a test compares them with what there is.
"""

from pathlib import Path

KINDS = ("scenarios", "policies", "workloads")


def file_of(kind: str) -> Path:
    """Where the rows of a kind are kept: a line each, name and description with a tab between."""
    return Path(__file__).with_name(f"{kind}.tsv")


def rows(kind: str) -> list[tuple[str, str]]:
    """(name, one line) of everything of a kind."""
    pairs = (line.partition("\t") for line in file_of(kind).read_text("utf-8").splitlines())
    return [(name, what) for name, _, what in pairs]
