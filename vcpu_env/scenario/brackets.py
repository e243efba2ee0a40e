"""Texts whose brackets nest beyond reason are refused before they are parsed: how many a parser bears goes by Python."""

import re

MOST_BRACKETS = 100
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
COMMENT = re.compile(r"#[^\n]*")
BRACKET = re.compile(r"[\[{}\]]")


def too_deep(text: str) -> bool:
    """Whether a text, JSON or TOML, has more than `MOST_BRACKETS` brackets in each other."""
    depth = 0
    for bracket in BRACKET.findall(COMMENT.sub("", STRING.sub("", text))):
        depth += 1 if bracket in "[{" else -1
        if depth > MOST_BRACKETS:
            return True
    return False
