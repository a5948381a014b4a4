"""Secrets at rest: AES-256-GCM under the master key, each bound to what it is the secret of.

A sealed value is the master key's fingerprint (4 bytes), a nonce (12) and the ciphertext with its
tag. Of several master keys the first seals, all of them open: that is how one is replaced.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable
from hashlib import sha256
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_FINGERPRINT_BYTES = 4
_NONCE_BYTES = 12


class SealBroken(Exception):
    """Sealed under a master key that is not here, for something else, or damaged."""


class MasterKey:
    """Never printed, never stored by us."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        """Each 32 bytes. Raises ValueError."""
        self._by_fingerprint: dict[bytes, AESGCM] = {}
        first = b""
        for key in keys:
            if len(key) != KEY_BYTES:
                raise ValueError(f"a master key is {KEY_BYTES} bytes")
            fingerprint = sha256(b"amur master key\0" + key).digest()[:_FINGERPRINT_BYTES]
            self._by_fingerprint[fingerprint] = AESGCM(key)
            first = first or fingerprint
        if not first:
            raise ValueError("there is no master key")
        self._first = first

    def __repr__(self) -> str:
        return f"<MasterKey {self.fingerprint}>"

    @property
    def fingerprint(self) -> str:
        """Of the key that seals: tells keys apart, and nothing of them."""
        return self._first.hex()

    def seal(self, secret: bytes, purpose: str) -> bytes:
        nonce = token_bytes(_NONCE_BYTES)
        cipher = self._by_fingerprint[self._first]
        return self._first + nonce + cipher.encrypt(nonce, secret, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Raises SealBroken."""
        cipher = self._by_fingerprint.get(sealed[:_FINGERPRINT_BYTES])
        if cipher is None:
            raise SealBroken("sealed under another master key")
        nonce_end = _FINGERPRINT_BYTES + _NONCE_BYTES
        nonce, text = sealed[_FINGERPRINT_BYTES:nonce_end], sealed[nonce_end:]
        try:
            return cipher.decrypt(nonce, text, purpose.encode())
        except (InvalidTag, ValueError):
            raise SealBroken("not what was sealed for this") from None


def generate() -> bytes:
    return token_bytes(KEY_BYTES)


def parse_master_keys(text: str) -> MasterKey:
    """One key a line, 32 bytes in base64 or hex; the first seals. Raises ValueError."""
    return MasterKey(_key(line.strip()) for line in text.splitlines() if line.strip())


def _key(line: str) -> bytes:
    try:
        key = bytes.fromhex(line) if len(line) == 2 * KEY_BYTES else b64decode(line, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("a master key is 32 bytes in base64 or hex") from None
    if len(key) != KEY_BYTES:
        raise ValueError("a master key is 32 bytes in base64 or hex")
    return key
