"""JSON of bounded size, read without loss: repeated members, numbers as written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from amur import limits


class Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


class Members(dict[str, Any]):
    """A JSON object, with the names that it has twice."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        super().__init__()
        self.repeated: list[str] = []
        for name, value in pairs:
            if name in self:
                self.repeated.append(name)
            self[name] = value


class NotJson(ValueError):
    """`str()` says why, `remedy` what to do."""

    def __init__(self, message: str, remedy: str = "send a JSON object") -> None:
        super().__init__(message)
        self.remedy = remedy


def load(text: str | bytes, chars_max: int) -> Any:
    """JSON of bounded size as `Members`, lists, `Number`s and so on. Raises NotJson."""
    try:
        data = text.encode() if isinstance(text, str) else text
        text = data.decode()
    except UnicodeError:
        raise NotJson("is not UTF-8", "encode it as UTF-8") from None
    size = len("".join(text.split()))
    if size > chars_max or len(data) > limits.POLICY_BYTES_MAX:
        raise NotJson(
            f"is too long ({size} characters without blanks, {len(data)} bytes)",
            f"the most are {chars_max} without blanks and {limits.POLICY_BYTES_MAX} bytes: "
            "use wildcards, or several policies",
        )
    try:
        found = json.loads(
            text,
            object_pairs_hook=Members,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
        )
        # escapes such as \ud800 alone are valid JSON but no text
        json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotJson(f"is no JSON: {error.msg} ({where})", "correct it there") from None
    except UnicodeError:
        raise NotJson("has half a surrogate pair", "write the character itself") from None
    except RecursionError:
        raise NotJson("is nested too deep") from None
    return found


def _refuse_constant(name: str) -> Any:
    raise NotJson(f"has the number {name}", "write digits")
