"""JSON as rt-app and workgen read it: with comments, equal keys, a comma before a bracket, a bare "suspend"."""

import json
import re
from pathlib import Path
from typing import Any

from vcpu_env.base import errors
from vcpu_env.scenario.brackets import too_deep
from vcpu_env.scenario.errors import ScenarioError

STRING = r'"(?:[^"\\]|\\.)*"'
COMMENT = r"/\*.*?\*/|//[^\n]*"
TOKENS = re.compile(rf"{STRING}|{COMMENT}|,(?=(?:\s|{COMMENT})*[}}\]])", re.DOTALL)
KEYS = re.compile(rf"({STRING})(\s*:)?", re.DOTALL)
BARE = re.compile(r'"suspend[^"\\]*"')
"""A key that may stand without a value, which is then the thread's name (workgen writes it)."""
ENDS = re.compile(r"\s*[,}]")
Pairs = list[tuple[str, int, Any]]
"""An object of the file: key, line and value of each entry, in order; a key may come several times."""


class Object(list[tuple[str, int, Any]]):
    """A JSON object as a list of (key, line, value)."""


def error_at(path: Path, line: int, text: str) -> ScenarioError:
    """An error in one line that can be printed, whatever names the file has."""
    return ScenarioError(f"{path}:{line}: {text}")


def shown(value: Any) -> str:
    """A value in an error."""
    return "an object" if isinstance(value, Object) else errors.shown(value)


def read_object(path: Path) -> Object:
    """A file's outermost object.

    Raises:
        ScenarioError: it can't be read, or is no such JSON.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ScenarioError(f"rtapp: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"rtapp: value '{path}' (allowed: a JSON file in UTF-8)") from None
    plain = TOKENS.sub(lambda m: m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)
    if too_deep(plain):
        raise error_at(path, 1, "too many brackets in each other (allowed: tasks, phases and events)")
    lined = with_lines(path, plain)
    try:
        read = json.loads(lined, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        raise error_at(path, error.lineno, f"{error.msg} (allowed: JSON, with comments)") from None
    except ValueError:
        raise error_at(path, 1, "a number of thousands of digits (allowed: JSON, with comments)") from None
    if not isinstance(read, Object):
        raise error_at(path, 1, 'no object (allowed: an object with "tasks")')
    return read


def with_lines(path: Path, plain: str) -> str:
    """The text with its line number in each key, and a value for a bare "suspend"."""
    parts, line, end, brackets = [], 1, 0, [""]
    for match in KEYS.finditer(plain):
        between = plain[end : match.start()]
        line, end = line + between.count("\n"), match.end()
        for bracket in re.findall(r"[{}\[\]]", between):
            if bracket in "{[":
                brackets.append(bracket)
            elif len(brackets) > 1:
                brackets.pop()
        string, colon = match[1], match[2] or ""
        if not colon and brackets[-1] == "{" and between.strip()[-1:] in ("{", ",") and ENDS.match(plain, end):
            if not BARE.fullmatch(string):
                allowed = f'{string} : VALUE; only "suspend" needs none'
                raise error_at(path, line, f"{string} without a value (allowed: {allowed})")
            colon = ': ""'
        parts += [between, f'{string[:-1]}\\n{line}"{colon}' if colon else string]
        line += match[0].count("\n")
    return "".join([*parts, plain[end:]])


def _pairs(pairs: list[tuple[str, Any]]) -> Object:
    split = [(*key.rsplit("\n", 1), value) for key, value in pairs]
    return Object((key, int(line), value) for key, line, value in split)
