"""A directory of results: one small file per finished cell, tables when all are there.

::

    manifest.json            what was asked for; status "partial" until the tables are written, then "complete"
    cells/<key>.parquet      one finished cell, under the address of its content
    cells.parquet, cells.csv one row per cell
    summary.csv, scores.csv  one row per scenario and policy; one per layout and policy

Files appear under their name only when complete, so that a killed run loses just the cells in flight.
"""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baselines.cells import MACHINE, Cell, Row, run_cell


class StoreError(Exception):
    """A directory that cannot take the results."""


class Store:
    """Results in one directory.

    Args:
        directory: made if it does not exist.
        resume: go on in a directory that holds results; without it, such a directory is refused.
    """

    def __init__(self, directory: Path, resume: bool):
        self.directory = directory
        self.manifest = directory / "manifest.json"
        if directory.exists() and not directory.is_dir():
            raise StoreError(f"out: value '{directory}' (allowed: a directory)")
        if directory.exists() and any(directory.iterdir()):
            if not self.manifest.exists():
                raise StoreError(f"out: value '{directory}' (allowed: an empty directory or one of results)")
            if not resume:
                raise StoreError(
                    f"out: value '{directory}' holds results that are {self.status()} (--resume uses them)"
                )
        try:
            (directory / "cells").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"out: value '{directory}' (allowed: a directory to write to; {error.strerror})") from None

    def status(self) -> str:
        """ "partial" or "complete"."""
        try:
            return str(json.loads(self.manifest.read_text("utf-8"))["status"])
        except (OSError, ValueError, KeyError):
            return "partial"

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Write what the directory holds."""
        _replace(self.manifest, (json.dumps(content, indent=1) + "\n").encode())

    def path(self, cell: Cell) -> Path:
        """File of a finished cell."""
        return self.directory / "cells" / f"{cell.key[:32]}.parquet"

    def load(self, cell: Cell) -> Row | None:
        """The row of a finished cell; None if it is missing or cannot be read."""
        try:
            return pq.read_table(self.path(cell)).to_pylist()[0]  # type: ignore[no-any-return]
        except (OSError, pa.ArrowException, IndexError):
            return None

    def write_tables(self, rows: Sequence[Row], summary: Sequence[Row], scores: Sequence[Row]) -> None:
        """Write the tables of a finished experiment."""
        _write_parquet(self.directory / "cells.parquet", rows)
        for name, table in (("cells", rows), ("summary", summary), ("scores", scores)):
            _write_csv(self.directory / f"{name}.csv", table)


def run_and_store(task: tuple[Cell, Path], machine: str = MACHINE) -> None:
    """Run a cell and store its row: what worker processes do."""
    cell, path = task
    _write_parquet(path, [run_cell(cell, machine)])


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    _replace(path, sink.getvalue().to_pybytes())


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; lists become JSON."""
    temporary = _temporary(path)
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: json.dumps(v) if isinstance(v, list) else v for name, v in row.items()})
    os.replace(temporary, path)


def _replace(path: Path, content: bytes) -> None:
    temporary = _temporary(path)
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other process writes to."""
    return path.with_name(f".{path.name}.{os.getpid()}")
