"""Damage to text and bytes: what a slip of the finger, a bad disk or a hostile author would do."""

import random
import re

from hypothesis import strategies as st

NUMBERS = (
    "0", "-1", "1", "2", "3", "7", "64", "65", "1_000", "1000000", "2147483647", "4294967296", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "0.5", "1e-300", "1e308", "1e999", "nan", "inf", "-inf", "0x10",
)  # fmt: skip
"""What takes the place of a number."""
WORDS = (
    '""', '"a"', '"../../x"', '"' + "n" * 300 + '"', '"a b"', '"a\\nb"', '"é"', '"<b>"', '"=1+1"', "true", "false",
    "[]", "{}", "[0]", "[[1]]", "[0, 1, 2]", "[-1]", "{ a = 1 }", "null", "1979-05-27", "'''x'''",
)  # fmt: skip
"""What takes the place of any other value."""
TOKEN = re.compile(r'"[^"\n]*"|[-+]?\d[\d_.]*(?:e[-+]?\d+)?|[A-Za-z_][A-Za-z0-9_.-]*')
NUMBER = re.compile(r"[-+]?\d[\d_.]*(?:e[-+]?\d+)?")
ODD = "\x00\n\t\r\"'\\[]{}=,:#éß\u202e\U0001f600\ud7ff0-_."
MOST_CHANGES = 3


def replaced(rng: random.Random, text: str) -> str:
    """One token is another: mostly a number for a number."""
    tokens = list(TOKEN.finditer(text))
    if not tokens:
        return text
    token = rng.choice(tokens)
    if NUMBER.fullmatch(token[0]) and rng.random() < 0.7:
        new = rng.choice(NUMBERS)
    else:
        new = rng.choice((*WORDS, *NUMBERS, rng.choice(tokens)[0]))
    return text[: token.start()] + new + text[token.end() :]


def nudged(rng: random.Random, text: str) -> str:
    """A number is one near it: mostly still allowed."""
    numbers = [token for token in TOKEN.finditer(text) if token[0].replace("_", "").isdigit()]
    if not numbers:
        return text
    token = rng.choice(numbers)
    old = int(token[0].replace("_", ""))
    new = rng.choice((old + 1, max(0, old - 1), old * 2, old // 2, old * 10))
    return f"{text[: token.start()]}{new}{text[token.end() :]}"


def lines_moved(rng: random.Random, text: str) -> str:
    """A line is gone, there twice, or elsewhere."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    line = lines[rng.randrange(len(lines))]
    if rng.random() < 0.5:
        lines.remove(line)
    if rng.random() < 0.7:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return "".join(lines)


def characters(rng: random.Random, text: str) -> str:
    """A few characters are others, gone or new."""
    at = rng.randrange(len(text) + 1)
    new = "".join(rng.choice(ODD) for _ in range(rng.randint(0, 2)))
    return text[:at] + new + text[at + rng.randint(0, 2) :]


def cut(rng: random.Random, text: str) -> str:
    """The end is missing."""
    return text[: rng.randrange(len(text) + 1)]


def nested(rng: random.Random, text: str) -> str:
    """A value lies deep in brackets."""
    tokens = list(TOKEN.finditer(text))
    if not tokens:
        return text
    token, depth = rng.choice(tokens), rng.choice((3, 30, 2000))
    return text[: token.start()] + "[" * depth + token[0] + "]" * depth + text[token.end() :]


CHANGES = (nudged,) * 6 + (replaced,) * 3 + (lines_moved,) * 2 + (characters, cut, nested)


def mutated(rng: random.Random, texts: list[str]) -> str:
    """One of the texts with a few changes, sometimes with the end of another."""
    text = rng.choice(texts)
    for _ in range(rng.randint(1, MOST_CHANGES)):
        text = rng.choice(CHANGES)(rng, text)
    if rng.random() < 0.05:
        other = rng.choice(texts)
        text = text[: rng.randrange(len(text) + 1)] + other[rng.randrange(len(other) + 1) :]
    return text


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Bytes with some flipped, gone, doubled or zero."""
    data = bytearray(content)
    for _ in range(rng.randint(1, MOST_CHANGES)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 1, 8, 100))
        what = rng.randrange(5)
        if what == 0:
            del data[at:]
        elif what == 1:
            del data[at : at + length]
        elif what == 2:
            data[at:at] = data[at : at + length]
        elif what == 3:
            data[at : at + length] = bytes(len(data[at : at + length]))
        else:
            for i in range(at, min(at + length, len(data))):
                data[i] ^= 1 << rng.randrange(8)
    return bytes(data)


def texts_like(texts: list[str]) -> st.SearchStrategy[str]:
    """Mutations of these texts."""
    return st.integers(0, 2**48).map(lambda seed: mutated(random.Random(seed), texts))


def bytes_like(contents: list[bytes]) -> st.SearchStrategy[bytes]:
    """Damaged copies of these contents."""

    def one(seed: int) -> bytes:
        rng = random.Random(seed)
        return damaged(rng, rng.choice(contents))

    return st.integers(0, 2**48).map(one)
