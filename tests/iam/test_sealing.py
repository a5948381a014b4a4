"""What is sealed opens for what it was sealed for, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.iam.sealing import MasterKey, SealBroken, generate, parse_master_keys

KEY = MasterKey([b"k" * 32])


@given(st.binary(max_size=200), st.text(max_size=40))
def test_there_and_back(secret: bytes, purpose: str) -> None:
    assert KEY.open(KEY.seal(secret, purpose), purpose) == secret


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_changed_byte_breaks_it(secret: bytes, data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal(secret, "x"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealBroken):
        KEY.open(bytes(sealed), "x")


@given(st.binary(max_size=80))
def test_rubbish(data: bytes) -> None:
    with pytest.raises(SealBroken):
        KEY.open(data, "x")


def test_the_secret_of_one_key_is_not_that_of_another() -> None:
    with pytest.raises(SealBroken):
        KEY.open(KEY.seal(b"s", "tid_a"), "tid_b")
    with pytest.raises(SealBroken):
        MasterKey([b"j" * 32]).open(KEY.seal(b"s", "tid_a"), "tid_a")


def test_never_twice_the_same() -> None:
    assert KEY.seal(b"s", "x") != KEY.seal(b"s", "x")
    assert generate() != generate()


def test_it_does_not_show_itself() -> None:
    assert "6b6b" not in repr(KEY)
    assert "kkkk" not in repr(KEY)


@pytest.mark.parametrize("text", ["", "\n", "x", "AAAA", "0" * 63, "g" * 64, "A" * 43])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="master key"):
        parse_master_keys(text)
