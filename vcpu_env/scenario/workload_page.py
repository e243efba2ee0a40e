"""What docs/workloads.md says about workloads from files."""

import re
import textwrap

from pydantic import BaseModel

from vcpu_env.scenario import program_text, workload_file
from vcpu_env.scenario.program_text import DEFAULT_DISTRIBUTION, OPERATIONS, SHAPED_DISTRIBUTIONS
from vcpu_env.scenario.workload_file import Barrier, Distribution, Lock, Queue, Threads, WorkloadFile

TABLES: dict[str, type[BaseModel]] = {
    "": WorkloadFile,
    "locks.NAME": Lock,
    "queues.NAME": Queue,
    "barriers.NAME": Barrier,
    "distributions.NAME": Distribution,
    "threads": Threads,
}

INTRODUCTION = """
## A workload of your own

A VM's `workload` may be a TOML file, relative to the scenario's own: `workload = "mine.toml"`. What is in it becomes
part of the scenario (and may stand there, as `[workloads.mine]`), so results are addressed by its content.
`vcpu-env fit` writes such files from recorded traces ([fitting](fitting.md)).
"""

PROGRAMS = """
A program is a text with an operation a line, `#` before comments; it starts again at its end.
"""

FAMILIES = ", ".join(f"`{name}_{low:g}` to `{name}_{high:g}`" for name, (low, high) in SHAPED_DISTRIBUTIONS.items())

DURATIONS = f"""
A duration is a mean (`300ns`, `1.5us`, `2ms`, `1s`) and a distribution: `fixed`, `exponential`, `uniform` (from 0 to
twice the mean), {FAMILIES}, or the name of a
`[distributions]` table with measured quantiles; if none is given, `{DEFAULT_DISTRIBUTION}`.

A number, also a duration in ns, may be the name of a parameter: a VM's `params` and `--set vms.0.params.NAME=VALUE`
change it. Of several locks or queues of a name an operation means the first, with `own` number (thread modulo count),
with `random` any. Refused are programs that keep a lock or hold more than four, take locks in two orders, sleep under a
spin lock, loop without time passing, or wait where nobody can come.
"""


def example(module_text: str | None) -> str:
    """The example in a module's text."""
    found = re.search(r"::\n\n((?:    .*\n|\n)+)", module_text or "")
    return textwrap.dedent(found[1]).strip().replace("'''", '"""') if found else ""


def fields() -> list[str]:
    """The rows of the table of all fields."""
    rows = []
    for table, model in TABLES.items():
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else "" if field.default_factory else str(field.default)
            where = f"`{table}`" if table else ""
            rows.append(f"| {where} | `{name}` | {default} | {field.description} |")
    return rows


def language_page() -> str:
    """The section on workload files, as Markdown."""
    operations = [
        f"| `{f'{name} {form}'.strip()}` | {meaning} |" for name, (form, meaning) in OPERATIONS.items() if meaning
    ]
    parts = [
        INTRODUCTION.strip(),
        f"```toml\n{example(workload_file.__doc__)}\n```",
        "\n".join(["| table | field | default | meaning |", "|---|---|---|---|", *fields()]),
        PROGRAMS.strip(),
        f"```\n{example(program_text.__doc__)}\n```",
        "\n".join(["| operation | does |", "|---|---|", *operations]),
        DURATIONS.strip(),
    ]
    return "\n\n".join(parts)
