"""Patterns: text with `*`, `?` and variables, matched without backtracking.

`*` stands for any characters, slashes too, and `?` for one, as at Amazon; `${*}`, `${?}` and
`${$}` are the characters themselves, `${aws:username}` and `${aws:username, 'nobody'}` what the
request has. What a variable brings is compared as text, never as a pattern. Between two stars
the leftmost place is taken and never given up, so the cost is that of searching once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from amur.iam.policy import contextkeys
from amur.iam.policy.contextkeys import Context
from amur.iam.policy.problems import shown

TEXT, ANY, ONE, VARIABLE = "text", "any", "one", "variable"

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_NAMED = re.compile(r"\s*([A-Za-z0-9:/_.+=@-]+)\s*(?:,\s*'([^'{}]*)'\s*)?")


class PatternInvalid(ValueError):
    """Text that is no pattern. `remedy` says what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Token(NamedTuple):
    kind: str
    text: str = ""  # of a variable: the key to look up
    default: str | None = None


_STAR, _MARK = Token(ANY), Token(ONE)


def tokens(text: str, *, wild: bool = True, variables: bool = True) -> tuple[Token, ...]:
    """Text taken apart; without `wild`, `*` and `?` are characters. Raises PatternInvalid."""
    if not variables or "${" not in text:
        return tuple(_split(text, wild=wild))
    found: list[Token] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        reference = _REFERENCE.match(text, start)
        if reference is None:
            raise PatternInvalid("has a ${ that nothing closes", "close it by }, or write ${$}{")
        found.extend(_split(text[at:start], wild=wild))
        found.append(_variable(reference[1]))
        at = reference.end()
    found.extend(_split(text[at:], wild=wild))
    return _merged(found)


def _split(text: str, *, wild: bool) -> Iterable[Token]:
    if not wild:
        return (Token(TEXT, text),) if text else ()
    if "*" not in text and "?" not in text:
        return (Token(TEXT, text),) if text else ()
    parts = re.split(r"([*?])", text)
    return (
        _STAR if part == "*" else _MARK if part == "?" else Token(TEXT, part)
        for part in parts
        if part
    )


def _variable(inside: str) -> Token:
    if inside in ("*", "?", "$"):
        return Token(TEXT, inside)
    named = _NAMED.fullmatch(inside)
    if named is None:
        raise PatternInvalid(
            f"has a variable that can't be read: {shown(inside)}",
            "write ${aws:username}, or ${aws:username, 'default'}",
        )
    key = contextkeys.find(named[1])
    if key is None:
        raise PatternInvalid(
            f"has the unknown variable ${{{named[1][:60]}}}", "use a condition key, as aws:username"
        )
    if key.is_multivalued:
        raise PatternInvalid(
            f"has the variable {key.name}, which has many values", "compare it in a Condition"
        )
    return Token(VARIABLE, contextkeys.lookup(named[1]), named[2])


def _merged(found: Iterable[Token]) -> tuple[Token, ...]:
    """Neighbouring texts made one."""
    merged: list[Token] = []
    for token in found:
        if token.kind == TEXT and merged and merged[-1].kind == TEXT:
            merged[-1] = Token(TEXT, merged[-1].text + token.text)
        else:
            merged.append(token)
    return tuple(merged)


class _Segment:
    """What stands between two stars: text, and marks for one character each.

    With marks it is searched bit by bit (Shift-And: Baeza-Yates and Gonnet 1992): one step for each
    character of the text, whatever stands in either.
    """

    __slots__ = ("_accepts", "_any", "_masks", "length", "plain", "texts")

    def __init__(self, parts: list[Token]) -> None:
        self.texts: list[tuple[int, str]] = []  # (offset, text)
        length = 0
        for part in parts:
            if part.kind == TEXT:
                self.texts.append((length, part.text))
                length += len(part.text)
            else:
                length += 1
        self.length = length
        self.plain = parts[0].text if len(parts) == 1 and self.texts else None
        self._any = (1 << length) - 1  # places where any character will do
        for offset, text in self.texts:
            self._any &= ~(((1 << len(text)) - 1) << offset)
        self._masks: dict[str, int] = {}  # places where a character will do
        for offset, text in self.texts:
            for at, char in enumerate(text, offset):
                self._masks[char] = self._masks.get(char, self._any) | 1 << at
        self._accepts = 1 << length >> 1

    def is_at(self, text: str, start: int) -> bool:
        for offset, part in self.texts:  # noqa: SIM110 (a generator would cost more than the work)
            if not text.startswith(part, start + offset):
                return False
        return True

    def find(self, text: str, start: int, end: int) -> int:
        """The leftmost place in text[start:end], or -1."""
        if self.plain is not None:
            return text.find(self.plain, start, end)
        masks, others, accepts = self._masks, self._any, self._accepts
        state = 0
        for at in range(start, end):
            state = (state << 1 | 1) & masks.get(text[at], others)
            if state & accepts:
                return at - self.length + 1
        return -1


class Glob:
    """A pattern without variables. `exact` or `prefix` say it all where they are not None."""

    __slots__ = ("_head", "_least", "_middle", "_tail", "exact", "is_slow", "prefix")

    def __init__(self, parts: Iterable[Token]) -> None:
        segments: list[list[Token]] = [[]]
        for part in _merged(parts):
            assert part.kind != VARIABLE, "a variable must have got its value"
            if part.kind == ANY:
                segments.append([])
            else:
                segments[-1].append(part)
        self._head = _Segment(segments[0])
        self._tail = _Segment(segments[-1]) if len(segments) > 1 else None
        self._middle = tuple(_Segment(each) for each in segments[1:-1] if each)
        self.is_slow = any(each.plain is None for each in self._middle)
        self._least = self._head.length + sum(each.length for each in self._middle)
        self._least += self._tail.length if self._tail else 0
        plain = "" if not segments[0] else self._head.plain
        self.exact = plain if self._tail is None else None
        is_prefix = self._tail is not None and not self._tail.length and not self._middle
        self.prefix = plain if is_prefix else None

    def matches(self, text: str) -> bool:
        size = len(text)
        if size < self._least or not self._head.is_at(text, 0):
            return False
        if self._tail is None:
            return size == self._head.length
        end = size - self._tail.length
        if not self._tail.is_at(text, end):
            return False
        at = self._head.length
        for segment in self._middle:
            at = segment.find(text, at, end)
            if at < 0:
                return False
            at += segment.length
        return True


class Pattern:
    """A pattern that may have variables. `glob` is there when it has none."""

    __slots__ = ("_is_open", "_plain", "glob", "parts")

    def __init__(self, parts: tuple[Token, ...]) -> None:
        self.parts = parts
        self._is_open = bool(parts) and parts[-1].kind == ANY
        plain = parts[:-1] if self._is_open else parts
        is_plain = all(part.kind in (TEXT, VARIABLE) for part in plain)
        self._plain = plain if is_plain else None  # text, variables, and at most a star at the end
        self.glob = None if any(part.kind == VARIABLE for part in parts) else Glob(parts)

    @property
    def head(self) -> str | None:
        """What every text that matches has before its first slash, if that is known."""
        if not self.parts:
            return ""
        first = self.parts[0]
        if first.kind != TEXT:
            return None
        if "/" in first.text or len(self.parts) == 1:
            return first.text.partition("/")[0]
        return None

    def matches(self, text: str, context: Context, *, widen: bool) -> bool:
        """A variable without a value stands for anything with `widen`, else nothing matches."""
        if self.glob is not None:
            return self.glob.matches(text)
        if self._plain is not None and not widen:
            known = joined(self._plain, context)
            if known is None:
                return False
            return text.startswith(known) if self._is_open else text == known
        parts = substituted(self.parts, context, widen=widen)
        return parts is not None and Glob(parts).matches(text)


def joined(parts: tuple[Token, ...], context: Context) -> str | None:
    """Text and variables as one text; None when a variable has no value."""
    text = ""
    for kind, plain, default in parts:
        if kind != VARIABLE:
            text += plain
            continue
        values = context.values(plain)
        if values is not None and len(values) == 1:
            text += values[0]
        elif default is not None:
            text += default
        else:
            return None
    return text


def substituted(
    parts: tuple[Token, ...], context: Context, *, widen: bool = False
) -> list[Token] | None:
    """The variables' values as text; one without a value is `*` with `widen`, else None comes."""
    done: list[Token] = []
    for part in parts:
        if part.kind != VARIABLE:
            done.append(part)
            continue
        values = context.values(part.text)
        if values is not None and len(values) == 1:
            done.append(Token(TEXT, values[0]))
        elif part.default is not None:
            done.append(Token(TEXT, part.default))
        elif widen:
            done.append(_STAR)
        else:
            return None
    return done


def is_floating(parts: tuple[Token, ...]) -> bool:
    """Whether a `?` stands between two stars: the one shape that is slow to search for."""
    stars = [at for at, part in enumerate(parts) if part.kind in (ANY, VARIABLE)]
    return bool(stars) and any(
        part.kind == ONE and stars[0] < at < stars[-1] for at, part in enumerate(parts)
    )
