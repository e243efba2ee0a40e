"""A directory of results: one small file per finished cell, tables when all are there.

::

    manifest.json            what was asked for; status "partial" until the tables are written, then "complete"
    cells/<key>.parquet      one finished cell, under the address of its content
    cells.parquet, cells.csv one row per cell
    summary.csv, scores.csv  one row per scenario and policy; one per layout and policy

Files appear under their name only when complete, so that a killed run loses just the cells in flight. The manifest,
the cells and their table carry a checksum.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baselines.cells import Cell, Row
from baselines.command import say
from vcpu_env.base.errors import InputError
from vcpu_env.base.files import checksum_of_data, holds_nothing, write_whole

KEY = b"vcpu_env.cell"
"""Where a cell's file says which cell it holds, so that a file under a wrong name is noticed."""
CHECKSUM = b"vcpu_env.checksum"
"""Where a file of rows says what they must sum up to."""


class StoreError(InputError):
    """A directory that cannot take or give results."""


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
        try:
            if directory.exists() and not holds_nothing(directory):
                if not self.manifest.exists():
                    raise StoreError(f"out: value '{directory}' (allowed: an empty directory or one of results)")
                status = read_manifest(directory)["status"]
                if not resume:
                    raise StoreError(f"out: value '{directory}' holds results that are {status} (--resume uses them)")
            (directory / "cells").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"out: value '{directory}' (allowed: a directory to write to; {error.strerror})") from None

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Write what the directory holds."""
        content = json.loads(json.dumps(content))
        content["checksum"] = checksum_of_data(content)
        _replace(self.manifest, (json.dumps(content, indent=1) + "\n").encode())

    def path(self, cell: Cell) -> Path:
        """File of a finished cell."""
        return self.directory / "cells" / f"{cell.key[:32]}.parquet"

    def load(self, cell: Cell) -> Row | None:
        """The row of a finished cell; None if there is none.

        Raises:
            StoreError: its file cannot be read, or holds something else.
        """
        path = self.path(cell)
        try:
            metadata, rows = _read_parquet(path)
            if metadata.get(KEY) == cell.key.encode() and metadata.get(CHECKSUM) == _checksum(rows):
                return rows[0]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, pa.ArrowException, IndexError):
            pass
        raise StoreError(f"{path}: damaged, or not the result of {cell}")

    def held(self, cells: Iterable[Cell]) -> dict[str, Row]:
        """The rows by key of those of some cells that are finished; a damaged one is named, and is to be run again."""
        found: dict[str, Row] = {}
        for cell in cells:
            try:
                if (row := self.load(cell)) is not None:
                    found[cell.key] = row
            except StoreError as error:
                say(f"{error}; it is run again")
        return found

    def save(self, cell: Cell, row: Row) -> None:
        """Store the row of a finished cell."""
        _write_parquet(self.path(cell), [row], {KEY: cell.key.encode()})

    def write_tables(self, rows: Sequence[Row], summary: Sequence[Row], scores: Sequence[Row]) -> None:
        """Write the tables of a finished experiment."""
        _write_parquet(self.directory / "cells.parquet", rows)
        for name, table in (("cells", rows), ("summary", summary), ("scores", scores)):
            _write_csv(self.directory / f"{name}.csv", table)


def read_manifest(directory: Path) -> dict[str, Any]:
    """What a directory of results holds.

    Raises:
        StoreError: it holds none.
    """
    try:
        manifest = json.loads((directory / "manifest.json").read_text("utf-8"))
        if isinstance(manifest, dict) and {"status", "source", "policies", "seeds", "cases"} <= manifest.keys():
            if manifest.pop("checksum", None) in (None, checksum_of_data(manifest)):
                return manifest
            raise StoreError(f"{directory / 'manifest.json'}: damaged: its checksum is of another content")
    except NotADirectoryError:
        raise StoreError(f"results: value '{directory}' (allowed: a directory of results)") from None
    except OSError as error:
        raise StoreError(
            f"results: value '{directory}' (allowed: a directory of results; manifest.json: {error.strerror})"
        ) from None
    except StoreError:
        raise
    except ValueError:
        pass
    raise StoreError(f"{directory / 'manifest.json'}: not written by an evaluation")


def read_rows(directory: Path) -> list[Row]:
    """The rows of all cells of a finished experiment.

    Raises:
        StoreError: its table is not there, or is damaged.
    """
    path = directory / "cells.parquet"
    try:
        metadata, rows = _read_parquet(path)
    except (OSError, ValueError, pa.ArrowException):
        raise StoreError(f"{path}: cannot be read (baselines.evaluate with --resume writes it again)") from None
    if metadata.get(CHECKSUM) != _checksum(rows):
        what = "damaged" if CHECKSUM in metadata else "no checksum: damaged, or written before 0.2"
        raise StoreError(f"{path}: {what} (baselines.evaluate with --resume writes it again)")
    return rows


def _checksum(rows: Sequence[Row]) -> bytes:
    return checksum_of_data(rows).encode()


def _read_parquet(path: Path) -> tuple[dict[bytes, bytes], list[Row]]:
    table = pq.read_table(path, page_checksum_verification=True)
    return table.schema.metadata or {}, table.to_pylist()


def _write_parquet(path: Path, rows: Sequence[Row], metadata: dict[bytes, bytes] | None = None) -> None:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(list(rows))
    table = table.replace_schema_metadata((metadata or {}) | {CHECKSUM: _checksum(table.to_pylist())})
    pq.write_table(table, sink, write_page_checksum=True)
    _replace(path, sink.getvalue().to_pybytes())


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; lists become JSON."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _csv_value(value) for name, value in row.items()})
    _replace(path, text.getvalue().encode())


def _csv_value(value: Any) -> Any:
    """A value as a spreadsheet shall take it: text that it would take for a formula begins with an apostrophe."""
    if isinstance(value, list):
        return json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _replace(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
