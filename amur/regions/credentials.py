"""Who speaks: requests between regions, and their answers, under the cluster's secret. Sans-IO.

A request carries one header with the time, the sender, the receiver, a nonce and the SHA-256 of
its body, and an HMAC-SHA256 over all of these, the method and the target. The head alone tells
whether the body is worth reading. An answer is bound to its request: its key is derived from the
request's signature, so that no answer serves for another question.

Bytes of a body go in frames (FRAME_BYTES), each followed by a keyed hash (MACS) of all bytes from
the start. Where a stream ends is known from the request, so a frame changed, moved, left out or
cut off is noticed before a byte of it is handed on. (A CRC in each frame with one keyed tag over
the CRCs at the end would be faster and prove nothing: who changes a frame can keep its CRC.)

Who has the secret can speak as any region. A receiver that was restarted has forgotten the nonces
it saw: what regions ask of each other may be asked twice.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection, Iterator
from functools import cache
from hashlib import blake2b, sha256
from hmac import compare_digest
from hmac import digest as hmac_sha
from time import perf_counter
from typing import NamedTuple, Protocol

import msgspec

from amur.limits import CLOCK_SKEW_SECONDS_MAX, KIB

HEADER = "authorization"  # of a request; proxies and their logs know that it is secret
ANSWER_HEADER = "x-amur-answer"  # of an answer that is no stream: its tag, hexadecimal
_SCHEME = "AMUR1"  # the version of all that this module says
_PATTERN = re.compile(
    r"(AMUR[0-9]+) ([0-9]{1,19}) ([a-z0-9-]{1,32}) ([a-z0-9-]{1,32}) "
    r"([0-9a-f]{32}) ([0-9a-f]{64}) ([0-9a-f]{64})"
)

SKEW_SECONDS = CLOCK_SKEW_SECONDS_MAX  # sender's clock against ours; what clients may be off
NONCES_MAX = 131_072
"""Of one sender, 12 MB. When more come within the window, the older end of it closes: at 5,000
requests a second one that took 25 s on its way is refused."""
NONCE_BYTES = 16
FRAME_BYTES = 256 * KIB
"""Held by the receiver until it is verified: at 10 MB/s the first byte waits 26 ms for it."""
TAG_BYTES = 32

_SECOND = 1_000_000_000


class NotAllowed(Exception):
    """No valid signature of a peer, for us, now. The message is for our log, not for the sender."""


class TamperedWith(Exception):
    """An answer, or bytes of a stream, that our peer did not send."""


class Signed(NamedTuple):
    """A request's header, and the key of its answer."""

    header: str
    answer_key: bytes


class Caller(NamedTuple):
    """Who sent a request whose head was verified; the body must have this SHA-256."""

    sender: str
    answer_key: bytes
    body_sha256: str


def body_digest(body: bytes) -> str:
    return sha256(body).hexdigest()


class Credentials:
    """Signs for region `me`."""

    def __init__(self, secret: str, me: str) -> None:
        assert secret, "regions need a secret that they share"
        self.me = me
        self._key = hmac_sha(secret.encode(), b"amur: between regions", "sha256")

    def sign(
        self,
        method: str,
        target: str,
        receiver: str,
        body_sha256: str,
        *,
        now_ns: int,
        nonce: bytes,
    ) -> Signed:
        """`target` is path and query, decoded; `nonce` is NONCE_BYTES that are never used again."""
        signature = self._signature(
            method, target, now_ns, self.me, receiver, nonce.hex(), body_sha256
        )
        said = (_SCHEME, str(now_ns), self.me, receiver, nonce.hex(), body_sha256, signature)
        return Signed(" ".join(said), self._answer_key(signature))

    def _signature(self, *facts: str | int) -> str:
        # msgpack says where each ends: no two requests are the same bytes
        return hmac_sha(self._key, msgspec.msgpack.encode((_SCHEME, *facts)), "sha256").hex()

    def _answer_key(self, signature: str) -> bytes:
        return hmac_sha(self._key, b"answer to " + signature.encode(), "sha256")


class Gate(Credentials):
    """Tells requests of `senders` to `me` from all others, and each of them once."""

    def __init__(self, secret: str, me: str, senders: Collection[str]) -> None:
        super().__init__(secret, me)
        self._windows = {sender: _Window() for sender in senders}

    def admit(self, method: str, target: str, header: str, now_ns: int) -> Caller:
        """The caller, of a request's head. Raises NotAllowed, also for one that was here before."""
        match = _PATTERN.fullmatch(header)
        if match is None:
            raise NotAllowed("no signature" if not header else "a malformed signature")
        scheme, time, sender, receiver, nonce, body_sha256, claimed = match.groups()
        if scheme != _SCHEME:
            raise NotAllowed(f"a signature of another version, {scheme}")
        time_ns = int(time)
        expected = self._signature(method, target, time_ns, sender, self.me, nonce, body_sha256)
        if not compare_digest(expected, claimed):
            if receiver != self.me:  # whoever says so; it is but a better guess at the reason
                raise NotAllowed(f"signed for region {receiver}, which we are not")
            raise NotAllowed(f"a wrong signature of who says it is {sender}: another secret?")
        window = self._windows.get(sender)
        if window is None:
            why = "our own name" if sender == self.me else "none of our peers"
            raise NotAllowed(f"signed by region {sender}: {why}")
        skew_ns = time_ns - now_ns
        if abs(skew_ns) > SKEW_SECONDS * _SECOND:
            raise NotAllowed(f"the clock of {sender} is {skew_ns / _SECOND:+.0f} s from ours")
        if not window.take(bytes.fromhex(nonce), time_ns, now_ns):
            raise NotAllowed(f"a request of {sender} that was here before, or too long on its way")
        return Caller(sender, self._answer_key(claimed), body_sha256)


class _Window:
    """Nonces of one sender by the second of its clock, for as long as they could come again."""

    def __init__(self) -> None:
        self._seen: dict[int, set[bytes]] = {}
        self._count = 0
        self._floor = 0  # seconds before it are closed
        self._swept = 0

    def take(self, nonce: bytes, time_ns: int, now_ns: int) -> bool:
        """Whether it is new."""
        second, now = time_ns // _SECOND, now_ns // _SECOND
        if second < self._floor:
            return False
        if now != self._swept:
            self._swept = now
            for old in [each for each in self._seen if each < now - SKEW_SECONDS - 1]:
                self._drop(old)
        seen = self._seen.setdefault(second, set())
        if nonce in seen:
            return False
        seen.add(nonce)
        self._count += 1
        while self._count > NONCES_MAX:
            oldest = min(self._seen)
            self._floor = oldest + 1
            self._drop(oldest)
        return True

    def _drop(self, second: int) -> None:
        self._count -= len(self._seen.pop(second))


# --- answers ---


def answer_tag(key: bytes, status: int, body: bytes) -> str:
    """For ANSWER_HEADER."""
    return hmac_sha(key, b"%d " % status + sha256(body).digest(), "sha256").hex()


def check_answer(key: bytes, status: int, body: bytes, tag: str) -> None:
    """Raises TamperedWith."""
    if not compare_digest(answer_tag(key, status, body).encode(), tag.encode("utf-8", "replace")):
        raise TamperedWith(f"an answer with status {status} and no valid signature")


# --- streams ---


class _Mac(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


MACS: dict[str, Callable[[bytes], _Mac]] = {
    "blake2b": lambda key: blake2b(key=key, digest_size=TAG_BYTES),
    "sha256": lambda key: hmac.new(key, digestmod="sha256"),
}
"""Both are safe; who asks names the one that is faster there. BLAKE2b makes 0.9 GB/s on any 64-bit
processor, HMAC-SHA256 1.8 on one with instructions for SHA and 0.4 on others."""


@cache
def fastest_mac() -> str:
    """The name of the one that is faster here. Takes 3 ms, once."""
    sample = memoryview(bytes(FRAME_BYTES))
    return min(MACS, key=lambda name: min(_seconds(MACS[name], sample) for _ in range(3)))


def _seconds(mac: Callable[[bytes], _Mac], sample: memoryview) -> float:
    begun = perf_counter()
    mac(bytes(TAG_BYTES)).update(sample)
    return perf_counter() - begun


def stream_bytes(size: int) -> int:
    """How long `size` bytes are with their tags; nothing has a tag, too."""
    return size + TAG_BYTES * max(1, -(-size // FRAME_BYTES))


class Sealing:
    """Bytes of a body to what goes on the wire."""

    def __init__(self, key: bytes, size: int, mac: str) -> None:
        self._mac = MACS[mac](key)
        self._left = size
        self._room = min(size, FRAME_BYTES)  # of this frame
        self.lead = b"" if size else self._mac.digest()  # goes first

    @property
    def is_whole(self) -> bool:
        return not self._left

    def seal(self, piece: bytes) -> Iterator[bytes | memoryview]:
        """What to send for the next bytes. Raises ValueError when there are more than `size`."""
        if len(piece) > self._left:
            raise ValueError("more bytes than were asked for")
        view = memoryview(piece)
        while view:
            part = view[: self._room]
            view = view[len(part) :]
            self._mac.update(part)
            self._left -= len(part)
            self._room -= len(part)
            yield part
            if not self._room:
                self._room = min(self._left, FRAME_BYTES)
                yield self._mac.digest()


class Opening:
    """What comes from the wire to verified bytes of a body, a frame at a time."""

    def __init__(self, key: bytes, size: int, mac: str) -> None:
        self._mac = MACS[mac](key)
        self._left = size  # not yet received
        self._room = min(size, FRAME_BYTES)
        self._parts: list[memoryview] = []  # of a frame, not yet verified
        self._tag = b""
        self.is_whole = False  # all of it was verified

    def open(self, data: bytes) -> Iterator[bytes]:
        """Frames that became whole. Raises TamperedWith, also of bytes behind the end."""
        view = memoryview(data)
        while view:
            if self.is_whole:
                raise TamperedWith("a stream goes on behind its end")
            if self._room:
                part = view[: self._room]
                self._mac.update(part)
                self._parts.append(part)
                self._left -= len(part)
                self._room -= len(part)
            else:
                part = view[: TAG_BYTES - len(self._tag)]
                self._tag += part
                if len(self._tag) == TAG_BYTES:
                    frame = self._frame()
                    if frame:
                        yield frame
            view = view[len(part) :]

    def _frame(self) -> bytes:
        if not compare_digest(self._mac.digest(), self._tag):
            raise TamperedWith("bytes of a stream are not as they were sent")
        frame = b"".join(self._parts)
        self._parts, self._tag = [], b""
        self._room = min(self._left, FRAME_BYTES)
        self.is_whole = not self._left
        return frame
