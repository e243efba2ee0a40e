"""Speed over time: results of ``vcpu-env bench --json`` that were kept, beside each other and as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path

from vcpu_env.base.errors import InputError, shown

KEPT = Path("docs/bench")
SLOWER = 1.1
"""A figure that is worse than in the file before by this factor is marked."""

LESS_IS_BETTER = ("s", "ns", "MiB")
"""Units of figures that should be small; of others more is better."""

Results = dict[str, tuple[float, str]]
"""Value and unit of each figure, by name."""


class HistoryError(InputError):
    """A file that holds no results."""


def load(path: Path) -> Results:
    """The results in a file: a JSON object a line, with name, value and unit.

    Raises:
        HistoryError: it is not there, or a line is something else.
    """
    found: Results = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"history: value '{path}' (allowed: a file that can be read; {error})") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            found[str(row["name"])] = float(row["value"]), str(row["unit"])
        except (ValueError, TypeError, KeyError):
            where = f"{path}: line {number}: value {shown(line)}"
            raise HistoryError(f"{where} (allowed: an object with name, value and unit)") from None
    if not found:
        raise HistoryError(f"history: value '{path}' (allowed: a file with results of vcpu-env bench --json)")
    return found


def kept() -> list[Path]:
    """The files of this repository, oldest first.

    Raises:
        HistoryError: there are none here.
    """
    found = sorted(KEPT.glob("*.jsonl"))
    if not found:
        raise HistoryError(f"history: no files in {KEPT} (allowed: files, or to be called where the repository is)")
    return found


def change(before: float, now: float, unit: str) -> float:
    """By which factor a figure has become worse; below 1: better."""
    if not before or not now:
        return 1.0
    return now / before if unit in LESS_IS_BETTER else before / now


def table(names: Sequence[str], results: Sequence[Results]) -> str:
    """A row a figure, a column a file, and how much worse the last is than the one before."""
    figures = list(dict.fromkeys(name for found in results for name in found))
    lines = [f"| | {' | '.join(names)} | last by the one before |", "|---|" + "---:|" * (len(names) + 1)]
    for name in figures:
        cells = [f"{found[name][0]:,.4g}" if name in found else "" for found in results]
        unit = next(found[name][1] for found in results if name in found)
        last = ""
        if len(results) > 1 and name in results[-1] and name in results[-2]:
            before, now = results[-2][name][0], results[-1][name][0]
            slower = change(before, now, unit) >= SLOWER
            last = f"{now / before:.2f}{' worse' if slower else ''}" if before else ""
        lines.append(f"| {name}, {unit} | {' | '.join(cells)} | {last} |")
    return "\n".join(lines)


def draw(names: Sequence[str], results: Sequence[Results], out: Path) -> None:
    """Each figure relative to the first file that has it: above 1 is better.

    Raises:
        HistoryError: no picture of that name can be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5))
    for name in dict.fromkeys(name for found in results for name in found):
        places = [i for i, found in enumerate(results) if name in found]
        first, unit = results[places[0]][name]
        better = [1 / change(first, results[i][name][0], unit) for i in places]
        axes.plot(places, better, marker="o", markersize=3, linewidth=1, label=name)
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=7)
    axes.axhline(1.0, color="grey", linewidth=0.5)
    axes.set_ylabel("times as good as at first")
    axes.legend(fontsize=5, ncol=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    try:
        figure.savefig(out, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise HistoryError(f"-o: value '{out}' (allowed: an image file that can be written; {error})") from None
    finally:
        pyplot.close(figure)


def history(files: Sequence[Path], out: Path | None) -> None:
    """Print the table of these files, or of those kept; draw it, too.

    Raises:
        HistoryError: a file that holds no results, a picture that cannot be written.
    """
    paths = list(files) or kept()
    results, names = [load(path) for path in paths], [path.stem for path in paths]
    print(table(names, results))
    if out is not None:
        draw(names, results, out)
