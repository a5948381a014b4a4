"""What an IAM request asks for: its parameters, from query and form together. Sans-IO.

Members of lists are `Name.member.N`, counted from 1; a structure's parts follow after a dot.
The limits are ours unless said.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import unquote_plus

import msgspec

from amur.iam.model import NANOSECONDS, IamError

T = TypeVar("T")

BODY_BYTES_MAX = 256 * 1024  # a few policy documents, percent-encoded
PARAMETERS_MAX = 2000  # of one request; 100 context entries with ten values each
MEMBERS_MAX = 200  # of one list
PAGE_MAX = 1000  # AWS: MaxItems
SECONDS_MAX = 9_000_000_000  # the year 2255: nanoseconds of a time fit into 63 bits
FORM_TYPE = "application/x-www-form-urlencoded"


class Params:
    """Parameters by name. A method raises IamError for what is missing or can't be."""

    __slots__ = ("_given",)

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def text(self, name: str, default: str = "") -> str:
        return self._given.get(name, default)

    def required(self, name: str) -> str:
        value = self._given.get(name, "")
        if not value:
            raise IamError("ValidationError", f"The parameter {name} is missing.")
        return value

    def number(self, name: str, default: int, least: int, most: int) -> int:
        text = self._given.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            raise IamError("ValidationError", f"{name} is not a number.")
        if not least <= int(text) <= most:
            raise IamError("ValidationError", f"{name} is {least} to {most}.")
        return int(text)

    def page_size(self) -> int:
        return self.number("MaxItems", PAGE_MAX, 1, PAGE_MAX)

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self._given.get(name, "").lower()
        if text not in ("", "true", "false"):
            raise IamError("ValidationError", f"{name} is true or false.")
        return text == "true" if text else default

    def time(self, name: str) -> int:
        """Nanoseconds of the epoch; 0 when it is not given or empty."""
        text = self._given.get(name, "")
        return parse_time(name, text) if text else 0

    def members(self, name: str) -> list[str]:
        found: list[str] = []
        while (value := self._given.get(f"{name}.member.{len(found) + 1}")) is not None:
            found.append(value)
            if len(found) > MEMBERS_MAX:
                raise IamError("ValidationError", f"{name} has more than {MEMBERS_MAX} members.")
        return found

    def structures(self, name: str) -> list[Params]:
        """Members that have parts of their own, each as the parameters after its number."""
        found: list[Params] = []
        parts: dict[str, dict[str, str]] = {}
        start = f"{name}.member."
        for each, value in self._given.items():
            if each.startswith(start):
                number, dot, rest = each[len(start) :].partition(".")
                if dot:
                    parts.setdefault(number, {})[rest] = value
        while (one := parts.get(str(len(found) + 1))) is not None:
            found.append(Params(one))
            if len(found) > MEMBERS_MAX:
                raise IamError("ValidationError", f"{name} has more than {MEMBERS_MAX} members.")
        return found

    def tags(self) -> dict[str, str]:
        tags: dict[str, str] = {}
        for each in self.structures("Tags"):
            key = each.required("Key")
            if key in tags:
                raise IamError("InvalidInput", f"The tag {key!r} is given twice.")
            tags[key] = each.text("Value")
        return tags

    def document(self, name: str, kind: type[T]) -> T:
        return parse_document(self.required(name), kind, name)


def read_params(query: Mapping[str, str], content_type: str, body: bytes) -> Params:
    """Raises IamError. A parameter may come in both, but with one value."""
    given = dict(query)
    if body:
        kind = content_type.partition(";")[0].strip().lower()
        if kind and kind != FORM_TYPE:
            raise IamError("ValidationError", f"The parameters are sent as {FORM_TYPE}.")
        pieces = body.split(b"&", PARAMETERS_MAX)
        if len(pieces) > PARAMETERS_MAX:
            raise IamError("ValidationError", f"There are more than {PARAMETERS_MAX} parameters.")
        for piece in pieces:
            name, value = _pair(piece)
            if name and given.setdefault(name, value) != value:
                raise IamError("ValidationError", f"{name} is given twice.")
    for name, value in given.items():
        if "\0" in name or "\0" in value:  # parts of what is stored are joined by it
            raise IamError("ValidationError", "A parameter holds a NUL.")
    if len(given) > PARAMETERS_MAX:
        raise IamError("ValidationError", f"There are more than {PARAMETERS_MAX} parameters.")
    return Params(given)


def _pair(piece: bytes) -> tuple[str, str]:
    try:
        name, _, value = piece.decode().partition("=")
        return unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        raise IamError("ValidationError", "The parameters are not UTF-8.") from None


def parse_document(text: str | bytes, kind: type[T], name: str) -> T:
    """JSON as a msgspec type. Raises IamError, whose message never holds the document."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise IamError("ValidationError", f"{name} can't be read: {error}") from None


def parse_time(name: str, text: str) -> int:
    """Nanoseconds of RFC 3339, whole seconds; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= SECONDS_MAX:
        raise IamError("ValidationError", f"{name} is no time: write it as 2027-01-31T12:00:00Z.")
    return seconds * NANOSECONDS
