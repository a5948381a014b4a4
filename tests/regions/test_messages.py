"""Messages between regions: what comes back is what went in, and anything else is refused."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.regions import messages
from amur.regions.messages import (
    Ack,
    Batch,
    BodyName,
    Fetch,
    Hello,
    Item,
    MessageDamaged,
    Promise,
    Reply,
    Request,
    decode_reply,
    decode_request,
    encode,
)

NAME = BodyName(b"bucketid", b"k\x00\xff", 7)
ITEM = Item(b"bucketid", b"key", 7, b"state", 0, [b"part"])


@pytest.mark.parametrize(
    "message",
    [
        Hello("sjc", 0, ["sjc", "fra"]),
        Batch("sjc", 1, 2, [ITEM], {"fra": 3}, session=4),
        Fetch(NAME, [ITEM]),
        Promise(NAME, 1),
    ],
)
def test_what_is_said_is_heard(message: Request) -> None:
    assert decode_request(encode(message)) == message


def test_an_answer_is_no_question() -> None:
    assert decode_reply(encode(Ack(1, True))) == Ack(1, True)
    with pytest.raises(MessageDamaged):
        decode_request(encode(Ack(1, True)))


def test_every_question_has_a_name_of_its_own() -> None:
    kinds = get_args(Request)
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds)
    assert len(get_args(Reply)) == len(set(get_args(Reply)))


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    for decode in (decode_request, decode_reply):
        try:
            decode(data)
        except MessageDamaged:
            continue
        raise AssertionError("noise was taken for a message")


@given(st.data())
def test_a_message_with_other_bytes_in_it_is_another_or_refused(data: st.DataObject) -> None:
    whole = bytearray(encode(Batch("sjc", 1, 2, [ITEM], {"fra": 3})))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        message = decode_request(bytes(whole))
    except MessageDamaged:
        return
    assert isinstance(message, get_args(Request))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MessageDamaged):
        decode_request(b"\x91" * 100_000)


def test_lengths_that_are_lies_take_no_memory() -> None:
    for head in (b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(MessageDamaged):
            decode_request(head)


def test_a_field_of_a_newer_region_is_passed_over() -> None:
    fields = msgspec.msgpack.decode(messages.encode(Promise(NAME, 1)))
    assert decode_request(msgspec.msgpack.encode([*fields, "new"])) == Promise(NAME, 1)
