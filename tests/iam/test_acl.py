"""What canned ACLs give to those who own nothing."""

from __future__ import annotations

import pytest

from amur.iam.acl import CANNED, grants_read, grants_write


@pytest.mark.parametrize("acl", sorted(CANNED))
def test_grants(acl: str) -> None:
    assert grants_read(acl, anonymous=True) is (acl in ("public-read", "public-read-write"))
    assert grants_read(acl, anonymous=False) is (
        acl in ("public-read", "public-read-write", "authenticated-read")
    )
    assert grants_write(acl) is (acl == "public-read-write")


def test_unknown_acls_give_nothing() -> None:
    assert not grants_read("", anonymous=False)
    assert not grants_read("open", anonymous=False)
    assert not grants_write("open")
