"""Which object keys may be a member's name in an archive.

Sans-IO. A member's name is the whole key, unchanged, so a key that an extractor would write
outside of its directory, over another member, or differently from what it lists, stays out of
the bundle and is reported as skipped with the reason given here (anchors S13).

What stays in, because tar, bsdtar, tarfile, unzip and zipfile agree on it and stay inside the
directory: `a//b` (written as a/b), colons that name no drive (`2026-01-01T00:00`), names of Windows
devices, and segments over 255 bytes (streaming readers take them; on most file systems
extraction of that one member fails, with a message). An empty object whose key ends in `/` is
the folder marker of consoles and becomes a directory; one with bytes in it has no file to be
written to and stays out.
"""

from __future__ import annotations

import re

ERRORS_NAME = "__bundle_errors.json"  # the last member, ours: no object may pass for it

_control = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search  # lone surrogates: no UTF-8
# Windows drops dots and spaces from the end of a segment, so `.. ` climbs there as `..` does.
_dots = re.compile(r"(?:\A|/)\.[. ]*(?:/|\Z)").search
_drive = re.compile("[A-Za-z]:").match


def refusal(name: str, size: int = 0) -> str:
    """Why an object of that key and size in bytes can't be a member; "" when it can."""
    if not name:
        return "EmptyName"
    # The cheap tests come first and let nearly every name past the regular expressions.
    if not name.isprintable() and _control(name):
        return "ControlCharacterInName"
    if name[0] == "/" or "\\" in name or _drive(name):
        return "UnsafeName"
    if (name[0] == "." or "/." in name) and _dots(name):
        return "UnsafeName"
    if name[0] == "_" and name.partition("/")[0].casefold() == ERRORS_NAME:
        return "ReservedName"
    if size and name[-1] == "/":
        return "DirectoryWithBody"
    return ""
