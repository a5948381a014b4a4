"""Request documents: what is taken and what is refused. Response documents: what comes back."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from amur import limits
from amur.gateway import xml
from amur.gateway.errors import S3Error


def refused(data: bytes, *roots: str) -> bool:
    try:
        xml.parse(data, *roots)
    except S3Error as error:
        return error.code == "MalformedXML"
    return False


def test_tree_without_namespaces() -> None:
    root = xml.parse(
        b'<?xml version="1.0" encoding="UTF-8"?>'
        b'<a:Delete xmlns:a="http://s3.amazonaws.com/doc/2006-03-01/" xmlns="urn:x">'
        b"<Object><Key> k&amp;\xc3\xa9 </Key></Object><a:Object><Key>2</Key></a:Object>"
        b"<Quiet> true\n</Quiet></a:Delete>",
        "Delete",
    )
    assert [node.find("Key").text for node in root.all("Object")] == [" k&é ", "2"]
    assert root.value("Quiet") == "true"
    assert root.value("Missing", "default") == "default"
    assert root.find("Missing") is None


def test_entities_of_the_standard_and_cdata_are_text() -> None:
    root = xml.parse(b"<a><b>&lt;&#65;&#x42;<![CDATA[<c>]]></b></a>")
    assert root.value("b") == "<AB<c>"
    assert root.children[0].children == []


LAUGHS = (
    b"<!DOCTYPE a ["
    + b"".join(
        b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"ha") for n in range(10)
    )
    + b"]><a>&l9;</a>"
)

ATTACKS = {
    "empty": b"",
    "white": b"  \n",
    "text": b"hello",
    "unclosed": b"<a><b></a>",
    "attributes": b"<a " + b"".join(b'a%d=">" ' % n for n in range(2_000)) + b"/>",
    "elements with attributes": b"<a>" + b'<b c="" d=""/>' * 5_001 + b"</a>",
    "two roots": b"<a/><a/>",
    "trailing": b"<a/>x",
    "laughs": LAUGHS,
    "quadratic": b'<!DOCTYPE a [<!ENTITY x "'
    + b"x" * 50_000
    + b'">]><a>'
    + b"&x;" * 1000
    + b"</a>",
    "external": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "http": b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a/>',
    "parameter": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><a/>',
    "bare doctype": b"<!DOCTYPE a><a/>",
    "attlist": b'<!DOCTYPE a [<!ATTLIST a b CDATA "c">]><a/>',
    "undefined entity": b"<a>&nbsp;</a>",
    "deep": b"<a>" * 40 + b"</a>" * 40,
    "latin1": b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>',
    "utf7": b'<?xml version="1.0" encoding="UTF-7"?><a>+ADw-b+AD4-</a>',
    "utf16": "<a>é</a>".encode("utf-16"),
    "utf16 declared": '<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16-le"),
    "utf32": "<a/>".encode("utf-32"),
    "bad utf8": b"<a>\xff\xfe</a>",
    "overlong": b"<a>\xc0\xaf</a>",
    "surrogate": b"<a>\xed\xa0\x80</a>",
    "NUL": b"<a>\0</a>",
    "NUL reference": b"<a>&#0;</a>",
    "control": b"<a>\x01</a>",
    "instruction": b"<?php evil ?><a/>",
    "stylesheet": b'<?xml-stylesheet href="http://x/"?><a/>',
    "cut": b"<a><b>",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name: str) -> None:
    assert refused(ATTACKS[name])


def test_byte_order_mark_is_fine() -> None:
    assert xml.parse(b"\xef\xbb\xbf<a/>").name == "a"


def test_limits_hold_at_their_edges() -> None:
    depth = limits.XML_DEPTH_MAX
    assert xml.parse(b"<a>" * depth + b"</a>" * depth)
    assert refused(b"<a>" * (depth + 1) + b"</a>" * (depth + 1))
    count = limits.XML_ELEMENTS_MAX - 1
    assert len(xml.parse(b"<a>" + b"<b/>" * count + b"</a>").children) == count
    assert refused(b"<a>" + b"<b/>" * (count + 1) + b"</a>")
    assert refused(b"<a>" + b" " * limits.XML_BYTES_MAX + b"</a>")


def test_wrong_root_is_refused() -> None:
    assert refused(b"<b/>", "a")
    assert refused(b"<a/>", "b", "c")
    assert xml.parse(b"<c/>", "b", "c").name == "c"


def test_documents_read_back() -> None:
    nasty = "<&>\"' é 中 \U0001f600 ]]> \r\n\t"
    data = xml.document("R", xml.tag("K", nasty), xml.tag("N", 7), xml.tag("P", xml.tag("Q", True)))
    root = ElementTree.fromstring(data)
    space = "{" + xml.NAMESPACE + "}"
    assert root.tag == space + "R"
    assert root.findtext(space + "K") == nasty
    assert root.findtext(space + "N") == "7"
    assert root.findtext(f"{space}P/{space}Q") == "true"


def test_every_character_is_escaped_or_referenced() -> None:
    for code in (*range(0x250), 0xFFFD, 0xFFFE, 0xFFFF, 0x10FFFF):
        text = chr(code)
        escaped = xml.escape(text)
        assert (escaped == text) == xml.is_harmless(text)
        data = f"<a>{escaped}</a>"
        if code in (9, 10, 13) or (32 <= code < 0xFFFE) or code > 0xFFFF:
            assert ElementTree.fromstring(data).text == text, hex(code)
        else:
            # not a character of XML 1.0: a reference that strict parsers refuse
            assert escaped == f"&#x{code:X};"
            with pytest.raises(ElementTree.ParseError):
                ElementTree.fromstring(data)


def test_url_encoding() -> None:
    assert xml.url_encode("a b+c/d%é\x01~_-.") == "a%20b%2Bc/d%25%C3%A9%01~_-."
    assert xml.is_url_plain("a/b-c_d.e~f")
    assert not xml.is_url_plain("a b")


def test_iso_time() -> None:
    assert xml.iso_time(0) == "1970-01-01T00:00:00.000Z"
    assert xml.iso_time(1_700_000_000) == "2023-11-14T22:13:20.000Z"
