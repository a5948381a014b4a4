"""The header that a gateway adds to a request which it passes on to another region. Sans-IO.

    x-amur-forwarded: REGIONS TIME SCHEME CLIENT ID SIGNATURE

REGIONS have passed it on, the first one first; TIME is in seconds; SCHEME, CLIENT (host:port) and
ID (of the request) are what the first one saw. SIGNATURE is HMAC-SHA256 by the cluster's secret
over all of these, the receiver, the method and the target as sent. Without one nobody can say who
the client is: the gateway refuses every other header of this name.
"""

from __future__ import annotations

import re
from hmac import compare_digest
from hmac import digest as hmac_sha
from typing import NamedTuple

import msgspec

from amur.limits import CLOCK_SKEW_SECONDS_MAX

HEADER = "x-amur-forwarded"
_PATTERN = re.compile(
    r"([a-z0-9-]{1,32}(?:,[a-z0-9-]{1,32}){0,7}) ([0-9]{1,12}) (https?) ([!-~]{1,80}) "
    r"([0-9]{1,20}) ([0-9a-f]{64})"
)
_NOBODY = "-"  # where the client's address is not known


class ForgedNote(Exception):
    """Not a note of a region of this cluster, for us, of this request, now."""


class Note(NamedTuple):
    """`via` are the regions that have passed the request on; the rest is the client's."""

    via: tuple[str, ...]
    scheme: str
    client: str
    request_id: str


class Notary:
    """Writes notes for region `me`, and reads those that are for it."""

    def __init__(self, secret: str, me: str) -> None:
        assert secret, "regions need a secret that they share"
        self._me = me
        self._key = hmac_sha(secret.encode(), b"amur: forwarded requests", "sha256")

    def write(self, note: Note, receiver: str, method: str, target: bytes, now_s: int) -> str:
        """The header's value. `target` is path and query as they are sent."""
        via, client = ",".join(note.via), note.client or _NOBODY
        facts = (via, str(now_s), note.scheme, client, note.request_id)
        return " ".join((*facts, self._signature(facts, receiver, method, target)))

    def read(self, value: str, method: str, target: bytes, now_s: int) -> Note:
        """Raises ForgedNote."""
        match = _PATTERN.fullmatch(value)
        if match is None:
            raise ForgedNote
        *facts, claimed = match.groups()
        if not compare_digest(self._signature(facts, self._me, method, target), claimed):
            raise ForgedNote
        via, time, scheme, client, request_id = facts
        if abs(int(time) - now_s) > CLOCK_SKEW_SECONDS_MAX:  # nor would any client's date do
            raise ForgedNote
        return Note(tuple(via.split(",")), scheme, client.removeprefix(_NOBODY), request_id)

    def _signature(
        self, facts: tuple[str, ...] | list[str], receiver: str, method: str, target: bytes
    ) -> str:
        # msgpack says where each ends: no two requests are the same bytes
        said = msgspec.msgpack.encode((*facts, receiver, method, target))
        return hmac_sha(self._key, said, "sha256").hex()
