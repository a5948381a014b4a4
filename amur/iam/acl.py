"""Canned ACLs: what they grant, and to whom. Pure tables and functions.

An object's own ACL counts where the bucket permits object ACLs; an object without one has the
bucket's. Owners (of the bucket, or of the object) are never asked here: they may.
"""

from __future__ import annotations

from enum import Enum

CANNED = frozenset(
    {
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
        "aws-exec-read",
    }
)


class Need(Enum):
    """What right an operation asks for."""

    NOTHING = "nothing"  # anybody, without credentials too
    ACCOUNT = "account"  # any access key
    BUCKET_OWNER = "bucket owner"  # settings, versions' deletion
    LIST = "list"  # READ of the bucket
    WRITE = "write"  # WRITE of the bucket
    READ = "read"  # READ of the object
    OBJECT_OWNER = "object owner"  # ACL and tags of the object


_EVERYBODY_READS = frozenset({"public-read", "public-read-write"})


def is_public(acl: str) -> bool:
    """Whether it grants something to everybody, or to everybody with a key."""
    return acl in _EVERYBODY_READS or acl == "authenticated-read"


def grants_read(acl: str, *, anonymous: bool) -> bool:
    """READ of a bucket or object for somebody who owns neither."""
    return acl in _EVERYBODY_READS or (acl == "authenticated-read" and not anonymous)


def grants_write(acl: str) -> bool:
    """WRITE of a bucket for somebody who does not own it."""
    return acl == "public-read-write"
