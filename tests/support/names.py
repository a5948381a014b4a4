# ruff: noqa: RUF001
"""Names that have crossed buckets, directories or parsers in some store before."""

from __future__ import annotations

from itertools import product

_DOTS = ("..", ".", "...", "%2e%2e", "%2E%2E", "%252e%252e", ". .", "..;", "..%00", "．．")
_SLASHES = ("/", "//", "\\", "%2f", "%5c", "%252f", "／", "∕", "/./")
_PLAIN = (
    "/", "//", "///", ".", "..", "./", "../", "/.", "/..", "a/", "/a", "a//b", "a/./b", "a/../b",
    "../../../../etc/passwd", "/etc/passwd", "..\\..\\windows", "C:\\x", "\\\\host\\share",
    "~", "~root", "$HOME", "${filename}", "`id`", "|id", ";id", "&", "&&", "<", ">", "<a>", "&amp;",
    "&lt;", "]]>", "<!--", "<![CDATA[", "'", '"', "''", '""', "' OR 1=1 --", "%", "%%", "%s", "%n",
    "%zz", "%2", "%25", "%20", "+", " ", "  ", " a", "a ", "a b", "a+b", "\t", "a\tb", "\n", "a\nb",
    "\r", "\r\n", "a\r\nx-evil: 1", "a\x0bb", "a\x0cb", "\x01", "\x1b[2J", "\x7f", "\x80", "\x85",
    "\xa0", "\xad", "\u200b", "\u200f", "\u2028", "\u2029", "\u202e", "\ufeff", "\ufffd", "\ufffe",
    "\uffff", "\U0001f9ad", "\U0010ffff", "e\u0301", "\u00e9", "\u212b", "ﬁ", "İ", "ı", "ß", "ſ",
    "日本語", "ключ", "עברית", "?", "a?b", "?versionId=null", "a?versionId=x", "#", "a#b", "a=b",
    "a&b", "a;b", "a,b", "a:b", "a@b", "*", "a*", "[a]", "{a}", "^", "!", "-", "--", "-/", "_", "=",
    "null", "None", "true", "0", "-1", "CON", "nul", "aux.txt", ".amur", ".minio.sys", ".snapshot",
    "__proto__", "constructor", "acl", "uploads", "x" * 255, "x" * 256, "x" * 500, "x" * 1024,
    "x/" * 512, "é" * 512, "\U0001f9ad" * 256, "../" * 341, "." * 1024, "/" * 1024,
)  # fmt: skip

KEYS = tuple(
    dict.fromkeys((
        *_PLAIN,
        *(f"a{slash}{dots}{slash}b" for dots, slash in product(_DOTS, _SLASHES)),
        *(f"{dots}{slash}victim{slash}secret" for dots, slash in product(_DOTS, _SLASHES)),
    ))
)  # fmt: skip
"""Each is a key of at most 1,024 bytes of UTF-8 without NUL: S3 takes them all, as they are."""

assert len(KEYS) >= 300
assert all(0 < len(key.encode()) <= 1024 for key in KEYS)
