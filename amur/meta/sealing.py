"""The stored form of a value: `version (8 bytes) | payload | checksum (8 bytes)`.

The checksum is CRC64NVME, begun with the key, so that a value that turns up under another key
fails too. It stands last and little-endian: the CRC of key and stored value together is then one
constant, and a check needs neither a slice nor a comparison with a stored number.
"""

from __future__ import annotations

from struct import Struct

from awscrt.checksums import crc64nvme

from amur.meta.engine import EngineDamaged

OVERHEAD = 16
"""Bytes that a stored value is longer than its payload."""

RESIDUE = 0x0CEFCFC4D49091BD
"""CRC64NVME of any bytes followed by their own CRC64NVME in little-endian order."""

version_of = Struct(">Q").unpack_from
"""The version of a stored value, as a tuple of one."""


def sealed(key: bytes, version: int, payload: bytes) -> bytes:
    """What is stored under `key`."""
    body = version.to_bytes(8, "big") + payload
    checksum: int = crc64nvme(body, crc64nvme(key))
    return body + checksum.to_bytes(8, "little")


def check(key: bytes, stored: bytes | memoryview) -> None:
    """Raise EngineDamaged unless `stored` was sealed under `key`, and is whole."""
    if crc64nvme(stored, crc64nvme(key)) != RESIDUE:
        raise damaged(key)


def unsealed(key: bytes, stored: bytes | memoryview) -> bytes:
    """The payload of a stored value, checked."""
    check(key, stored)
    return bytes(stored[8:-8])


def damaged(key: bytes) -> EngineDamaged:
    """The error for the entry at `key`."""
    error = EngineDamaged(f"metadata is damaged at key {key[:80].hex()}")
    error.key = key
    return error


def misplaced(key: bytes) -> EngineDamaged:
    """The error for damage around `key`, of which no single entry can be blamed."""
    return EngineDamaged(f"metadata is damaged near key {key[:80].hex()}")
