"""Parameters of the query protocol, from query and form."""

from __future__ import annotations

import pytest

from amur.gateway.iam.params import (
    FORM_TYPE,
    MEMBERS_MAX,
    PARAMETERS_MAX,
    Params,
    parse_time,
    read_params,
)
from amur.iam.model import IamError


def read(body: bytes, query: dict[str, str] | None = None, kind: str = FORM_TYPE) -> Params:
    return read_params(query or {}, kind, body)


def test_parameters_come_from_the_query_the_form_and_both() -> None:
    params = read(b"UserName=a+b%26c&Version=2010-05-08", {"Action": "X", "Version": "2010-05-08"})
    assert params.text("Action") == "X"
    assert params.text("UserName") == "a b&c"
    assert params.text("Version") == "2010-05-08"


@pytest.mark.parametrize("body", [b"Action=DeleteAccessKey", b"A=1&A=2"])
def test_a_parameter_with_two_values_is_refused(body: bytes) -> None:
    with pytest.raises(IamError, match="given twice"):
        read(body, {"Action": "ListAccessKeys"})


@pytest.mark.parametrize("body", [b"A=%ff", b"A=\xff", b"%ff=1"])
def test_what_is_not_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(IamError, match="UTF-8"):
        read(body)


@pytest.mark.parametrize(("body", "query"), [(b"A=%00", {}), (b"a%00=1", {}), (b"", {"A": "\0"})])
def test_a_nul_is_refused(body: bytes, query: dict[str, str]) -> None:
    with pytest.raises(IamError, match="NUL"):
        read(body, query)


def test_other_content_types_are_refused() -> None:
    with pytest.raises(IamError, match=FORM_TYPE):
        read(b"{}", kind="application/json")
    assert read(b"A=1", kind=f"{FORM_TYPE.upper()}; charset=utf-8").text("A") == "1"
    assert read(b"A=1", kind="").text("A") == "1"


def test_there_are_at_most_so_many_parameters() -> None:
    body = "&".join(f"p{n}=1" for n in range(PARAMETERS_MAX)).encode()
    assert read(body).text("p7") == "1"
    with pytest.raises(IamError, match="more than"):
        read(body + b"&one=more")
    with pytest.raises(IamError, match="more than"):
        read(body, {"Action": "X"})


def test_members_are_counted_from_one_without_gaps() -> None:
    params = read(b"L.member.2=b&L.member.1=a&L.member.4=d&L.member.0=z")
    assert params.members("L") == ["a", "b"]
    assert params.members("M") == []


def test_structures_keep_their_parts_and_nested_lists() -> None:
    params = read(b"C.member.2.K=b&C.member.1.K=a&C.member.1.V.member.1=x&C.member.1.V.member.2=y")
    first, second = params.structures("C")
    assert first.text("K") == "a"
    assert first.members("V") == ["x", "y"]
    assert second.text("K") == "b"


def test_lists_are_bounded() -> None:
    many = "&".join(f"L.member.{n}=x" for n in range(1, MEMBERS_MAX + 2)).encode()
    with pytest.raises(IamError, match="more than"):
        read(many).members("L")
    parts = "&".join(f"L.member.{n}.K=x" for n in range(1, MEMBERS_MAX + 2)).encode()
    with pytest.raises(IamError, match="more than"):
        read(parts).structures("L")


def test_tags_are_a_map_with_each_key_once() -> None:
    params = read(b"Tags.member.1.Key=team&Tags.member.1.Value=a&Tags.member.2.Key=cost")
    assert params.tags() == {"team": "a", "cost": ""}
    with pytest.raises(IamError, match="twice"):
        read(b"Tags.member.1.Key=team&Tags.member.2.Key=team").tags()
    with pytest.raises(IamError, match="Key is missing"):
        read(b"Tags.member.1.Value=team").tags()


@pytest.mark.parametrize("text", ["-1", "x", "1e3", "٣", "0", "1001", "9" * 11])
def test_numbers_are_decimal_and_in_range(text: str) -> None:
    params = Params({"MaxItems": text})
    with pytest.raises(IamError, match="MaxItems"):
        params.page_size()


def test_numbers_flags_and_required_texts() -> None:
    params = Params({"MaxItems": "7", "On": "True", "Off": "false", "Odd": "yes", "Empty": ""})
    assert params.page_size() == 7
    assert Params({}).page_size() == 1000
    assert params.flag("On")
    assert not params.flag("Off", default=True)
    assert params.flag("Missing", default=True)
    with pytest.raises(IamError, match="Odd is true or false"):
        params.flag("Odd")
    with pytest.raises(IamError, match="Empty is missing"):
        params.required("Empty")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00Z", 86_400),
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times_are_rfc_3339(text: str, seconds: int) -> None:
    assert parse_time("T", text) == seconds * 10**9


@pytest.mark.parametrize(
    "text", ["tomorrow", "1969-01-01T00:00:00Z", "1796083200", "12:00", "2999-01-01"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(IamError, match="T is no time"):
        parse_time("T", text)
