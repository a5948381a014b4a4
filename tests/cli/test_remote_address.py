"""Addresses as people write them, and names that a file may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amur.cli.address import (
    Address,
    AddressError,
    beside,
    is_remote,
    local_parts,
    parse,
    parse_object,
    printable,
)


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("t3://box/a/b.txt", "box", "a/b.txt"),
        ("s3://box/a/", "box", "a/"),
        ("tigris://box", "box", ""),
        ("box/a//b", "box", "a//b"),
        ("box/", "box", ""),
        ("box//a", "box", "/a"),
        ("t3://box/s3://x", "box", "s3://x"),
        ("box/ä ?#", "box", "ä ?#"),
    ],
)
def test_parse(text: str, bucket: str, key: str) -> None:
    assert parse(text) == Address(bucket, key)


@pytest.mark.parametrize("text", ["", "t3://", "/a", "http://box/a", "t3:///a"])
def test_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        parse(text)


def test_an_object_needs_a_key() -> None:
    with pytest.raises(AddressError, match="no object"):
        parse_object("t3://box/")


def test_only_a_scheme_makes_a_path_remote() -> None:
    assert is_remote("s3://a")
    assert not is_remote("a/b")
    assert not is_remote("./t3://a")


@pytest.mark.parametrize(("key", "folder"), [("", ""), ("a", "a/"), ("a/", "a/"), ("a/b", "a/b/")])
def test_folders_end_at_a_slash(key: str, folder: str) -> None:
    assert Address("box", key).folder == folder


@pytest.mark.parametrize(
    ("name", "parts"), [("a", ("a",)), ("a/b c", ("a", "b c")), ("...", ("...",))]
)
def test_local_parts(name: str, parts: tuple[str, ...]) -> None:
    assert local_parts(name) == parts


@pytest.mark.parametrize(
    "name", ["", "..", "../a", "a/../b", "/etc/passwd", "a//b", "./a", "a/.", "a\0b", "a/.."]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(AddressError):
        local_parts(name)


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert printable("ä 木") == "ä 木"


@pytest.mark.parametrize("name", ["a", "n" * 255, "あ" * 85, "\udcff" * 255])
def test_beside(name: str) -> None:
    """Fits a file system's 255 bytes, and differs wherever the names do."""
    ending = "x" * 60
    other = beside(Path("d") / (name[:-1] + "b"), ending)
    hidden = beside(Path("d") / name, ending)
    assert hidden.parent == Path("d")
    assert hidden.name.startswith(".")
    assert hidden.name.endswith(f".{ending}")
    assert len(os.fsencode(hidden.name)) <= 255
    assert hidden != other
