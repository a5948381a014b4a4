"""What regions say to each other: msgpack structs, tagged with their names. Sans-IO.

A version's identity is (bucket id, raw key, version number): never a file, a path or an offset.
New fields go at the end with a default; what a region does not know it refuses (`decode`).
"""

from __future__ import annotations

from typing import Union

import msgspec


class MessageDamaged(Exception):
    """Not a message, or one of a newer Amur."""


class _Message(msgspec.Struct, array_like=True, tag=True, frozen=True):
    pass


class BodyName(msgspec.Struct, array_like=True, frozen=True):
    """The bytes of one version of an object."""

    bucket_id: bytes
    key: bytes
    version: int


class Item(msgspec.Struct, array_like=True):
    """The replicated state of one version, of one bucket (`bucket_id` empty, `key` its name) or of
    one entry (`bucket_id` all 0xff, `key` its path).

    `state` is the record as stored, without what is local to a region, its inline body behind it;
    "" when there is none. `grave` is the version of its tombstone, 0 when there is none. `version`
    names it; 0 is the null version of the key. `parts` are the records of a manifest in order.
    """

    bucket_id: bytes
    key: bytes
    version: int = 0
    state: bytes = b""
    grave: int = 0
    parts: list[bytes] = []


# --- requests ---


class Hello(_Message, frozen=True):
    """Who is there? Two regions of one name or number notice each other by this."""

    region: str
    number: int
    cluster: list[str]  # names of all regions that the sender knows


UNKNOWN = -1
"""`Batch.start` of a sender that asks for the receiver's cursor, and begins a session."""


class Batch(_Message, frozen=True):
    """A stretch of the sender's log: all that changed in (start, end], as it is now.

    `start` is what the receiver has; a batch that begins elsewhere is refused. `is_gap` says that
    the log before `end` is not whole: only anti-entropy can tell what is missing. `vector` is up
    to where the sender has applied the log of each region (its own: `end`).
    """

    sender: str
    start: int
    end: int
    items: list[Item] = []
    vector: dict[str, int] = {}
    is_gap: bool = False
    session: int = 0  # as the receiver told it


class DigestAsk(_Message, frozen=True):
    """Count and hash of all versions and tombstones in [start, end) of (bucket id + raw key)."""

    start: bytes
    end: bytes


class ItemsAsk(_Message, frozen=True):
    """The items themselves, a page of about `limit`, in order, as `asker` may have them; of the
    key at `start` only versions greater than `after`."""

    start: bytes
    end: bytes
    limit: int
    asker: str
    after: int = -1  # the null version is 0


class BucketsAsk(_Message, frozen=True):
    """All buckets and tombstones of buckets with names after `after`, a page."""

    after: str
    limit: int


class Fetch(_Message, frozen=True):
    """Have the bytes of this version, durable, and say so; the item comes along, in case the
    receiver has not heard of it yet."""

    name: BodyName
    items: list[Item] = []  # the bucket and the version


class Promise(_Message, frozen=True):
    """The home asks: will you keep this version's bytes until you hear from me? (moving it)"""

    name: BodyName
    epoch: int  # the home's epoch, which the move would end


class Settle(_Message, frozen=True):
    """Who has promised asks the home what became of it: the move is done, or is called off now."""

    name: BodyName
    epoch: int
    asker: str


class Offer(_Message, frozen=True):
    """A region that reads a version much more than others offers the home to take it over."""

    name: BodyName
    asker: str
    reads: float  # decayed count


class CloseBucket(_Message, frozen=True):
    """`by` is deleting the bucket: take no writes until you hear how it ended. Yes: it is empty."""

    name: str
    bucket_id: bytes
    by: str
    is_forced: bool = False  # Yes even if it is not empty
    attempt: int = 0  # number of the deletion, later than those before it


class OpenBucket(_Message, frozen=True):
    """`by` has given up deleting the bucket: this attempt, and those before it."""

    name: str
    bucket_id: bytes
    by: str
    attempt: int = 0


class AskBucket(_Message, frozen=True):
    """Who has closed a bucket asks who told it to: Yes, it was given up; No, wait."""

    name: str
    bucket_id: bytes


# --- answers ---


class Ack(_Message, frozen=True):
    """`cursor` is up to where the receiver has the sender's log (also when it refused)."""

    cursor: int
    is_applied: bool
    vector: dict[str, int] = {}
    session: int = 0  # one that begins now; to a batch of start UNKNOWN


class Digest(_Message, frozen=True):
    count: int
    digest: bytes


class Items(_Message, frozen=True):
    """`next` is where to go on, b"" at the end; `after` as in ItemsAsk."""

    items: list[Item]
    next: bytes = b""
    after: int = -1


class Yes(_Message, frozen=True):
    """It is done, or so."""


class No(_Message, frozen=True):
    """It is not; `reason` is for logs."""

    reason: str = ""


Request = Union[  # noqa: UP007 - msgspec takes a Union at run time
    Hello,
    Batch,
    DigestAsk,
    ItemsAsk,
    BucketsAsk,
    Fetch,
    Promise,
    Settle,
    Offer,
    CloseBucket,
    OpenBucket,
    AskBucket,
]
Reply = Union[Hello, Ack, Digest, Items, Yes, No]  # noqa: UP007

encode = msgspec.msgpack.Encoder().encode
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)


def decode_request(data: bytes) -> Request:
    """Raises MessageDamaged."""
    try:
        request: Request = _requests.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageDamaged(str(error)) from error
    return request


def decode_reply(data: bytes) -> Reply:
    """Raises MessageDamaged."""
    try:
        reply: Reply = _replies.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageDamaged(str(error)) from error
    return reply
