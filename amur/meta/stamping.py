"""Writing a commit's version into the keys and values that ask for it."""

from __future__ import annotations

from amur.meta.engine import NO_STAMP, Put

VERSION_MAX = 2**64 - 1

REGION_BITS = 6
"""Lowest bits of a version that name the region which made it: no two regions make the same one."""
REGIONS_MAX = 1 << REGION_BITS


def next_version(now_ns: int, last: int, after: int, number: int | None) -> int:
    """The version of the next commit: later than `last` and `after`, of region `number` if any."""
    version = max(now_ns, last + 1, after + 1)
    return version if number is None else version + ((number - version) & (REGIONS_MAX - 1))


def region_number(version: int) -> int:
    """The region that made a version, where regions have numbers."""
    return version & (REGIONS_MAX - 1)


def version_bytes(version: int) -> bytes:
    """Eight bytes that sort as the version does."""
    return version.to_bytes(8, "big")


def inverted_bytes(version: int) -> bytes:
    """Eight bytes that sort newest first."""
    return (VERSION_MAX - version).to_bytes(8, "big")


def stamped(put: Put, version: int) -> tuple[bytes, bytes]:
    """The key and value of a put as they are stored."""
    key, value = put.key, put.value
    if put.stamp != NO_STAMP:
        value = value[: put.stamp] + version_bytes(version) + value[put.stamp + 8 :]
    if put.key_stamp != NO_STAMP:
        key = key[: put.key_stamp] + inverted_bytes(version) + key[put.key_stamp + 8 :]
    return key, value
