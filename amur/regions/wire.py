"""The two questions of the block service as HTTP carries them. Sans-IO."""

from __future__ import annotations

import msgspec

from amur.limits import MIB
from amur.regions.credentials import MACS
from amur.regions.messages import BodyName, MessageDamaged

CALL_PATH = "/-/peer/call"  # POST a request of messages.py, the answer is a reply
READ_PATH = "/-/peer/read"  # POST a ReadAsk, the answer is sealed bytes (credentials.Sealing)
HEALTH_PATH = "/-/health"  # GET, anybody

CALL_BYTES_MAX = 32 * MIB  # a request: 1,000 items with bodies of 4 KiB, and room to spare
REPLY_BYTES_MAX = 64 * MIB  # an answer: a page of items may exceed its limit by one of them


class ReadAsk(msgspec.Struct, array_like=True, frozen=True):
    """Bytes [start, end) of a body."""

    name: BodyName
    start: int
    end: int
    mac: str = "blake2b"  # of credentials.MACS, to seal them with


encode_ask = msgspec.msgpack.Encoder().encode
_asks = msgspec.msgpack.Decoder(ReadAsk)


def decode_ask(data: bytes) -> ReadAsk:
    """Raises MessageDamaged, also for what is no range."""
    try:
        ask: ReadAsk = _asks.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageDamaged(str(error)) from error
    if not 0 <= ask.start <= ask.end:
        raise MessageDamaged("no range of bytes")
    if ask.mac not in MACS:
        raise MessageDamaged(f"an unknown way to seal, {ask.mac!r}")
    return ask
