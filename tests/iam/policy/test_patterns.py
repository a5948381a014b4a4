"""Patterns: stars, marks, variables; and that matching never backtracks."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amur.iam.policy.patterns import Glob, Pattern, PatternInvalid, is_floating, tokens
from tests.iam.policy import naive
from tests.iam.policy.support import Request


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "a/b/c", True),
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*a", "a", True),
        ("*a", "ab", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "a/b/b/c", True),
        ("a*b*c", "acb", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("?", "", False),
        ("??*", "a", False),
        ("*?b?*", "xab", False),
        ("*?b?*", "xaby", True),
        ("*??", "a", False),
        ("*ab*b", "xxab", False),  # what stands in the middle may not lap over the end
        ("*ab*b", "xxabb", True),
        ("*a?*b", "xxab", False),
        ("*a?b*", "aaxb", True),  # the second place that begins well
        ("*?ab?c*", "ababxc", True),
        ("*a?b*", "aaab/a", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("arn:aws:s3:::data", "arn:aws:s3:::data-other", False),
        ("arn:aws:s3:::data/*", "arn:aws:s3:::data", False),
        ("arn:aws:s3:::data/*", "arn:aws:s3:::data/", True),
        ("arn:aws:s3:::data/*", "arn:aws:s3:::data/a/b", True),
        ("arn:aws:s3:::data/*/x", "arn:aws:s3:::data/a/b/x", True),
        ("arn:aws:s3:::data*", "arn:aws:s3:::data-other/x", True),
    ],
)
def test_globs(pattern: str, text: str, expected: bool) -> None:
    assert Glob(tokens(pattern)).matches(text) is expected


SMALL = st.text("ab/?*", max_size=9)


@settings(max_examples=500)
@given(SMALL, st.text("ab/", max_size=12))
@example("*a?b*", "aab/a")
@example("*ab*ab", "abab")
@example("a*?*a", "aa")
def test_globs_are_what_the_naive_matcher_says(pattern: str, text: str) -> None:
    assert Glob(tokens(pattern)).matches(text) is naive.simple(pattern, text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_globs_of_any_text_are_what_a_regular_expression_says(pattern: str, text: str) -> None:
    translated = "".join(
        ".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern
    )
    glob = Glob(tokens(pattern, variables=False))
    assert glob.matches(text) is bool(re.fullmatch(translated, text, re.DOTALL))


@given(SMALL)
def test_shortcuts_say_the_same(pattern: str) -> None:
    glob = Glob(tokens(pattern))
    assert (glob.exact is not None) == ("*" not in pattern and "?" not in pattern)
    if glob.exact is not None:
        assert glob.exact == pattern
    is_prefix = "*" in pattern and "*" not in pattern.rstrip("*") and "?" not in pattern
    assert (glob.prefix is not None) == is_prefix
    if glob.prefix is not None:
        assert glob.prefix == pattern.rstrip("*")


@pytest.mark.parametrize(
    ("pattern", "head"),
    [
        ("arn:aws:s3:::data", "arn:aws:s3:::data"),
        ("arn:aws:s3:::data/*", "arn:aws:s3:::data"),
        ("arn:aws:s3:::data/a?b", "arn:aws:s3:::data"),
        ("arn:aws:s3:::data/${aws:username}/*", "arn:aws:s3:::data"),
        ("arn:aws:s3:::data*", None),
        ("arn:aws:s3:::data*/x", None),
        ("arn:aws:s3:::${aws:username}/x", None),
        ("*", None),
    ],
)
def test_heads(pattern: str, head: str | None) -> None:
    assert Pattern(tokens(pattern)).head == head


@given(SMALL, st.text("ab/", max_size=12))
def test_what_matches_has_the_head(pattern: str, text: str) -> None:
    found = Pattern(tokens(pattern))
    if found.head is not None and found.matches(text, Request(), widen=False):
        assert text.partition("/")[0] == found.head


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("home/${aws:username}/*", "home/ann/x", True),
        ("home/${aws:username}/*", "home/bob/x", False),
        ("home/${AWS:UserName}/*", "home/ann/x", True),
        ("${aws:username}", "ann", True),
        ("${aws:username}", "anna", False),
        ("*${aws:username}*", "x/ann/y", True),
        ("?${aws:username}?", "(ann)", True),
        ("${aws:userid, 'nobody'}/*", "nobody/x", True),
        ("${aws:userid, ''}/*", "/x", True),
        ("${aws:username, 'nobody'}/*", "nobody/x", False),
        ("${aws:PrincipalTag/Team}/*", "blue/x", True),
        ("${aws:PrincipalTag/team}/*", "blue/x", False),
        ("${*}", "*", True),
        ("${*}", "a", False),
        ("${?}", "a", False),
        ("${$}{aws:username}", "${aws:username}", True),
        ("a$b$", "a$b$", True),
    ],
)
def test_variables(pattern: str, text: str, expected: bool) -> None:
    request = Request({"aws:username": "ann", "aws:principaltag/Team": "blue"})
    assert Pattern(tokens(pattern)).matches(text, request, widen=False) is expected


@pytest.mark.parametrize("pattern", ["${aws:username}", "x${aws:username}*", "*${aws:username}"])
def test_what_a_variable_brings_is_no_pattern(pattern: str) -> None:
    request = Request({"aws:username": "a*?${aws:userid}", "aws:userid": "x"})
    found = Pattern(tokens(pattern))
    assert found.matches(pattern.strip("*").replace("${aws:username}", "a*?${aws:userid}"),
                         request, widen=False)  # fmt: skip
    assert not found.matches("xaaab", request, widen=False)
    request = Request({"aws:username": "a*b"})
    assert found.matches("xa*b" if pattern[0] != "$" else "a*b", request, widen=False)
    assert not found.matches("xaaab" if pattern[0] != "$" else "aaab", request, widen=False)


@pytest.mark.parametrize("values", [None, (), ("a", "b")])
def test_a_variable_without_one_value(values: tuple[str, ...] | None) -> None:
    request = Request({"aws:username": values} if values is not None else {})
    found = Pattern(tokens("home/${aws:username}/x"))
    assert not found.matches("home/a/x", request, widen=False)
    assert not found.matches("home//x", request, widen=False)
    assert found.matches("home/a/x", request, widen=True)
    assert not found.matches("home/a/y", request, widen=True)


@pytest.mark.parametrize(
    "pattern",
    ["${", "${aws:username", "${}", "${nothing}", "${aws:username,x}", "${aws:username, 'a}",
     "${s3:RequestObjectTagKeys}", "${aws:PrincipalTag/}", "${aws:PrincipalTag}", "${${*}}"],
)  # fmt: skip
def test_no_patterns(pattern: str) -> None:
    with pytest.raises(PatternInvalid) as caught:
        tokens(pattern)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*?*", True), ("*a?b*", True), ("a?*", False), ("*?a", False), ("a?b", False),
     ("*?${aws:username}", True)],
)  # fmt: skip
def test_floating(pattern: str, expected: bool) -> None:
    assert is_floating(tokens(pattern)) is expected


class Counting(str):
    """Text that counts how often it is searched or compared."""

    __slots__ = ("count",)
    count: int

    def find(self, *args: object) -> int:
        self.count += 1
        return super().find(*args)  # type: ignore[call-overload,no-any-return]

    def startswith(self, *args: object) -> bool:
        self.count += 1
        return super().startswith(*args)  # type: ignore[call-overload,no-any-return]

    def __getitem__(self, at: object) -> str:
        self.count += 1
        return super().__getitem__(at)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        ("*a" * 16 + "b", 40),  # where backtracking would take 1000^16 steps
        ("*a*aa*aaa*aaaa*b*", 40),
        ("*" + "a?" * 16 + "b*", 1010),
        ("*?a*?aa*?aaa*c*", 1010),
    ],
)
def test_steps_are_bounded(pattern: str, most: int) -> None:
    text = Counting("a" * 1000)
    text.count = 0
    assert not Glob(tokens(pattern)).matches(text)
    assert 0 < text.count <= most
