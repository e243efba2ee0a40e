"""``python -m baselines.report DIR``: a finished experiment as Markdown and as one self-contained HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from baselines.command import run_command, say
from baselines.report.results import read_results
from baselines.store import StoreError
from vcpu_env.base.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Results of python -m baselines.evaluate.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write.  [default: the same]")] = None,
    timelines: Annotated[
        bool,
        typer.Option("--timelines", help="Also run the best gain and the worst harm again, and link how they went."),
    ] = False,
) -> None:
    """Write report.md (with figures/) and report.html, which needs no other file and no network."""
    results = read_results(directory)
    try:
        from baselines.report.content import build_document
        from baselines.report.render import to_html, to_markdown
        from baselines.report.timelines import write_timelines
    except ImportError as error:
        raise StoreError(f"report: needs {error.name} (pip install 'vcpu-env[report]')") from None
    document = build_document(results, timelines)
    markdown, drawings = to_markdown(document)
    target = out or directory
    try:
        if timelines:
            write_timelines(results, target)
        (target / "figures").mkdir(parents=True, exist_ok=True)
        for name, svg in drawings.items():
            (target / "figures" / name).write_text(svg, "utf-8")
        (target / "report.md").write_text(markdown, "utf-8")
        (target / "report.html").write_text(to_html(document), "utf-8")
    except OSError as error:
        raise StoreError(f"out: value '{target}' (allowed: a directory to write to; {error.strerror})") from None
    say(f"{target / 'report.html'}, {target / 'report.md'}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (InputError,))


if __name__ == "__main__":
    main()
