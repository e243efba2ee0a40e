"""Files and their checksums: a file is there whole or not at all, and one that has been damaged is noticed.

A checksum guards against accidents, not against somebody who means to deceive.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any


def checksum(*parts: bytes | memoryview) -> str:
    """A fingerprint of some bytes, and of where one part ends and the next begins: 32 hex digits."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()[:32]


def checksum_of_data(data: Any) -> str:
    """The same of what JSON can say: a round trip through a file changes nothing."""
    return checksum(json.dumps(data, sort_keys=True).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a name that no other process writes to, then give it its own name.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a disk that is full has no room for half a file
        raise


def holds_nothing(directory: Path) -> bool:
    """Whether there are no files in a directory or below it, but for what a kill left of `write_whole`."""
    return not any(path.is_file() and not path.name.startswith(".") for path in directory.rglob("*"))


def say_unchecked(path: Path | str) -> None:
    """Tell the user that a file is read on trust."""
    print(f"{path}: has no checksum (written by version 0.1); read as it is", file=sys.stderr)
