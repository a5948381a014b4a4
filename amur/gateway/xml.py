"""XML in and out: request documents by expat under tight limits, responses by f-strings.

Sans-IO. In: UTF-8 only, no DTD at all (so no entities, bombs or external files), bounded depth,
elements and bytes, namespaces ignored; anything else is MalformedXML. Out: every value goes
through `escape`. Characters that XML 1.0 can't hold are written as numeric references, as
Amazon does: a strict parser then refuses the document instead of reading a wrong name, and a
client that may meet such keys asks for `encoding-type=url`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from time import gmtime, strftime
from urllib.parse import quote
from xml.parsers import expat

from amur import limits
from amur.gateway.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

_special = re.compile('[&<>"\\x00-\\x08\\x0b-\\x1f\\x7f\ufffe\uffff]').search
_ENTITIES: dict[int, str] = {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
    **{code: f"&#x{code:X};" for code in (*range(9), *range(11, 32), 127, 0xFFFE, 0xFFFF)},
}
_not_plain = re.compile("[^A-Za-z0-9_.~/-]").search


class Node:
    """One element: its local name, its text (untrimmed) and its child elements."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes  # local names
        self.text = ""
        self.children: list[Node] = []

    def find(self, name: str) -> Node | None:
        """The first child of that name."""
        for child in self.children:
            if child.name == name:
                return child
        return None

    def all(self, name: str) -> list[Node]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]

    def value(self, name: str, default: str = "") -> str:
        """The text of the first child of that name, without white space around it."""
        found = self.find(name)
        return default if found is None else found.text.strip()


_long_tag = re.compile(rb"<[^<]{%d}" % limits.XML_TAG_BYTES_MAX).search


class _Refused(Exception):
    """The document is outside what we accept; never leaves this module."""


class _Builder:
    """Builds the tree and stops at the first thing outside the limits."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.stack: list[Node] = []
        self.texts: list[list[str]] = []
        self.elements = 0
        self.attributes = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        self.attributes += len(attributes)
        if (
            self.elements > limits.XML_ELEMENTS_MAX
            or self.attributes > limits.XML_ATTRIBUTES_MAX
            or len(self.stack) >= limits.XML_DEPTH_MAX
        ):
            raise _Refused
        local = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        node = Node(name.rpartition(":")[2], local)
        if self.stack:
            self.stack[-1].children.append(node)
        else:
            self.root = node
        self.stack.append(node)
        self.texts.append([])

    def text(self, data: str) -> None:
        self.texts[-1].append(data)

    def end(self, _name: str) -> None:
        self.stack.pop().text = "".join(self.texts.pop())

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
            raise _Refused

    def refuse(self, *_: object) -> None:
        raise _Refused


def parse(data: bytes, *roots: str, limit: int = limits.XML_BYTES_MAX) -> Node:
    """The root of a document of at most `limit` bytes, which must be named one of `roots`.

    Raises S3Error MalformedXML.
    """
    if len(data) > limit:
        raise S3Error("MalformedXML", "The XML you provided is too large.")
    if _long_tag(data):  # expat would tell only when it has read all of it
        raise S3Error("MalformedXML")
    builder = _Builder()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.XmlDeclHandler = builder.declaration
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    try:
        data.decode()  # expat follows a byte order mark into UTF-16 whatever it is told
        parser.Parse(data, True)
    except (expat.ExpatError, _Refused, ValueError):
        raise S3Error("MalformedXML") from None
    if builder.root is None or (roots and builder.root.name not in roots):
        raise S3Error("MalformedXML")
    return builder.root


class Markup(str):
    """Text that is XML already."""

    __slots__ = ()


def is_harmless(text: str) -> bool:
    """True if escaping would change nothing: ask once for a whole page."""
    return _special(text) is None


def escape(text: str) -> str:
    """`text` as element content or attribute value."""
    return text if _special(text) is None else text.translate(_ENTITIES)


def is_url_plain(text: str) -> bool:
    """True if `url_encode` would change nothing: ask once for a whole page."""
    return _not_plain(text) is None


def url_encode(text: str) -> str:
    """As `encoding-type=url` asks; slashes stay. Safe in XML."""
    return text if _not_plain(text) is None else quote(text, safe="/-_.~")


def tag(name: str, *values: object) -> Markup:
    """One element around values: Markup as it is, all else as escaped text."""
    if len(values) == 1 and type(values[0]) is str:
        return Markup(f"<{name}>{escape(values[0])}</{name}>")
    return Markup(f"<{name}>{''.join(map(_content, values))}</{name}>")


def _content(value: object) -> str:
    if isinstance(value, Markup):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))


def document(root: str, *children: str, namespace: str = NAMESPACE) -> bytes:
    """A whole document. `children` are Markup (or text that the caller has escaped)."""
    opening = f'{root} xmlns="{namespace}"' if namespace else root
    return f"{DECLARATION}<{opening}>{''.join(children)}</{root}>".encode()


@lru_cache(maxsize=4096)
def iso_time(seconds: int) -> str:
    """Epoch seconds as S3 prints them: 2026-01-31T12:00:00.000Z."""
    return strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(seconds))
