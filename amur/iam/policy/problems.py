"""What is wrong with a document: where, what, and what to write instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SHOWN_CHARS_MAX = 60  # of a document's text in a message (ours)
SUGGESTED_CHARS_MAX = 64  # longer text is a typo of nothing


class Problem(NamedTuple):
    """`statement` is "Statement[1] (Sid)", counted from one, or "" for the document itself."""

    statement: str
    member: str
    message: str
    remedy: str

    def __str__(self) -> str:
        where = ".".join(part for part in (self.statement, self.member) if part)
        end = "" if self.remedy.endswith("?") else "."
        return plain(f"{where or 'The document'}: {self.message}; {self.remedy}{end}")


class PolicyInvalid(ValueError):
    """A document that is no policy, with every problem that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "invalid for no reason"
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def plain(text: str) -> str:
    """Text as one line that a terminal shows as it is: the rest is escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def shown(text: str) -> str:
    """Text of a document in quotes, on one line, in ASCII, cut when it is long."""
    cut = text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "..."
    return json.dumps(cut)


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The known name that `text` is a typo of."""
    if len(text) > SUGGESTED_CHARS_MAX:
        return None
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[near[0]] if near else None
