"""The access keys of the settings."""

from __future__ import annotations

import pytest

from amur.iam.keys import StaticKey, static_keys
from amur.iam.model import ROOT_ORGANIZATION

ROOT = ("tid_r", "secret_r")


def test_root_and_others() -> None:
    keys = static_keys(
        ROOT, [StaticKey("tid_a", "secret_a", "alice"), StaticKey("tid_b", "s", "alice")]
    )
    assert keys["tid_r"].secrets_at(0) == ("secret_r",)
    assert keys["tid_a"].secrets_at(0) == ("secret_a",)
    assert keys.keys() == {"tid_r", "tid_a", "tid_b"}
    root, alice = keys["tid_r"].principal, keys["tid_a"].principal
    assert (root.owner, root.is_root, root.is_anonymous) == (ROOT_ORGANIZATION, True, False)
    assert (alice.owner, alice.is_root, alice.key_id) == ("alice", False, "tid_a")
    assert alice.is_admin
    assert keys["tid_b"].principal.owner == "alice"


@pytest.mark.parametrize(
    "extra",
    [
        ("", "s", "o"), ("a/b", "s", "o"), ("é", "s", "o"), ("a\n", "s", "o"),
        ("a", "", "o"), ("a", "s", ""), ("tid_r", "s", "o"), ("a", "s", "root"),
        ("a", "s", "Root"), ("a", "s", "o:p"), ("a", "s", "o\0p"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_key(extra: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"key|owner"):
        static_keys(ROOT, [StaticKey(*extra)])
