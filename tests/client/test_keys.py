from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.client import Keys


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.data())
def test_is_a_sequence_of_the_keys(keys: list[str], data: st.DataObject) -> None:
    held = Keys(iter(keys))
    assert len(held) == len(keys)
    assert list(held) == keys
    assert held[1:3] == keys[1:3]
    assert held[::-2] == keys[::-2]
    assert list(pickle.loads(pickle.dumps(held))) == keys
    if keys:
        at = data.draw(st.integers(-len(keys), len(keys) - 1))
        assert held[at] == keys[at]
    with pytest.raises(IndexError):
        held[len(keys)]


def test_fingerprints_tell_keys_orders_and_borders_apart() -> None:
    samples = [["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], []]
    assert len({Keys(keys).fingerprint() for keys in samples}) == len(samples)
    assert Keys(["a"]).fingerprint() == Keys(iter(["a"])).fingerprint()


def test_a_string_is_not_many_keys() -> None:
    with pytest.raises(TypeError):
        Keys("a.jpg")


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("\ufeff# of the year\na b.jpg\r\n\n  \nü\x85\u2028.jpg\n #no comment", "utf-8")
    assert list(Keys.from_file(path)) == ["a b.jpg", "ü\x85\u2028.jpg", " #no comment"]


def test_from_a_listing_of_many_pages(s3: Any, stub: Any) -> None:
    stub.objects = {f"train/{at}.jpg": b"" for at in range(7)} | {"train/": b"", "x": b""}
    assert list(Keys.under(s3, "photos", "train/")) == [f"train/{at}.jpg" for at in range(7)]
