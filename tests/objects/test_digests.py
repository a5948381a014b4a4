from __future__ import annotations

import base64
import hashlib
import zlib
from random import Random

import pytest

from amur.objects.digests import (
    ALGORITHMS,
    FULL_OBJECT_ALGORITHMS,
    Hasher,
    combined,
    composite,
    digest_of,
    digests_of,
    multipart_etag,
)
from amur.objects.errors import InvalidArgument

# check values of the catalogue of CRC algorithms, and FIPS 180-4's of SHA
KNOWN = [
    ("CRC32", b"123456789", "cbf43926"),
    ("CRC32C", b"123456789", "e3069283"),
    ("CRC64NVME", b"123456789", "ae8b14860a799888"),
    ("SHA1", b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("SHA256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
]


@pytest.mark.parametrize(("algorithm", "data", "digest"), KNOWN)
def test_known_values(algorithm: str, data: bytes, digest: str) -> None:
    assert digest_of(algorithm, data).hex() == digest


@pytest.mark.parametrize("seed", range(20))
def test_pieces_give_what_the_whole_gives(seed: int) -> None:
    chance = Random(seed)
    body = chance.randbytes(chance.randrange(5000))
    algorithms = chance.sample(sorted(ALGORITHMS), chance.randrange(6))
    hasher, at = Hasher(algorithms), 0
    while at < len(body):
        piece = body[at : at + chance.randrange(1, 900)]
        hasher.add(piece)
        for job in hasher.jobs():
            job(piece)
        at += len(piece)
    assert hasher.digests() == digests_of(body, algorithms)
    assert hasher.digests().md5 == hashlib.md5(body).digest()
    assert set(hasher.digests().others) == set(algorithms or ["CRC64NVME"])


@pytest.mark.parametrize("algorithm", sorted(FULL_OBJECT_ALGORITHMS))
@pytest.mark.parametrize("seed", range(10))
def test_parts_combine_to_the_whole(algorithm: str, seed: int) -> None:
    chance = Random(seed)
    parts = [chance.randbytes(chance.randrange(3000)) for _ in range(chance.randrange(1, 9))]
    pairs = [(digest_of(algorithm, part), len(part)) for part in parts]
    assert combined(algorithm, pairs) == digest_of(algorithm, b"".join(parts))


def test_composite_and_etag() -> None:
    parts = [b"one", b"two"]
    crcs = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
    expected = base64.b64encode(zlib.crc32(crcs).to_bytes(4, "big")).decode() + "-2"
    assert composite("CRC32", [digest_of("CRC32", part) for part in parts]) == expected
    md5s = [hashlib.md5(part).digest() for part in parts]
    assert multipart_etag(md5s) == hashlib.md5(b"".join(md5s)).hexdigest() + "-2"


def test_foreign_algorithm() -> None:
    with pytest.raises(InvalidArgument):
        digests_of(b"", ["MD4"])
    with pytest.raises(InvalidArgument):
        Hasher(["MD4"])
