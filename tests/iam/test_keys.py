"""The ring of access keys."""

from __future__ import annotations

import pytest

from amur.iam.keys import ROOT_OWNER, KeyRing


def test_root_and_others() -> None:
    ring = KeyRing("tid_r", "secret_r", [("tid_a", "secret_a", "alice"), ("tid_b", "s", "alice")])
    assert ring.secret("tid_r") == "secret_r"
    assert ring.secret("tid_a") == "secret_a"
    assert ring.secret("tid_x") is None
    assert ring.secret("") is None
    root, alice = ring.principal("tid_r"), ring.principal("tid_a")
    assert (root.owner, root.is_root, root.is_anonymous) == (ROOT_OWNER, True, False)
    assert (alice.owner, alice.is_root, alice.key_id) == ("alice", False, "tid_a")
    assert ring.principal("tid_b").owner == "alice"
    with pytest.raises(KeyError):
        ring.principal("tid_x")


def test_it_does_not_print_secrets() -> None:
    ring = KeyRing("tid_r", "secret_r")
    assert "secret" not in repr(ring)
    assert "secret" not in repr(ring.principal("tid_r"))


@pytest.mark.parametrize(
    "extra",
    [
        ("", "s", "o"), ("a/b", "s", "o"), ("é", "s", "o"), ("a\n", "s", "o"),
        ("a", "", "o"), ("a", "s", ""), ("tid_r", "s", "o"), ("a", "s", "root"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_key(extra: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"key|owner"):
        KeyRing("tid_r", "secret_r", [extra])
