"""Who may ask, and that answers are the peer's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.regions import credentials
from amur.regions.credentials import (
    FRAME_BYTES,
    MACS,
    SKEW_SECONDS,
    Caller,
    Credentials,
    Gate,
    NotAllowed,
    Opening,
    Sealing,
    TamperedWith,
    answer_tag,
    body_digest,
    check_answer,
    fastest_mac,
    stream_bytes,
)

SECRET = "a secret of the cluster"
NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
BODY = body_digest(b"a question")
NONCE = bytes(range(16))


def header(
    *,
    secret: str = SECRET,
    sender: str = "sjc",
    receiver: str = "ord",
    method: str = "POST",
    target: str = "/-/peer/call",
    body: str = BODY,
    now_ns: int = NOW,
    nonce: bytes = NONCE,
) -> str:
    return (
        Credentials(secret, sender)
        .sign(method, target, receiver, body, now_ns=now_ns, nonce=nonce)
        .header
    )


def gate() -> Gate:
    return Gate(SECRET, "ord", ["sjc", "fra"])


def admit(given: str, at: Gate | None = None, now_ns: int = NOW) -> Caller:
    return (at or gate()).admit("POST", "/-/peer/call", given, now_ns)


def test_a_peer_is_let_in_and_both_have_the_key_of_the_answer() -> None:
    signed = Credentials(SECRET, "sjc").sign(
        "POST", "/-/peer/call", "ord", BODY, now_ns=NOW, nonce=NONCE
    )
    caller = admit(signed.header)
    assert caller == Caller("sjc", signed.answer_key, BODY)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "no signature"),
        ("Bearer abc", "malformed"),
        (header() + " ", "malformed"),
        (header() + "\n", "malformed"),
        (header().upper(), "malformed"),
        (header().replace("AMUR1", "AMUR2"), "another version"),
        (header(secret="another"), "another secret"),
        (header(receiver="fra"), "signed for region fra"),
        (header(receiver="fra").replace(" fra ", " ord "), "another secret"),
        (header(sender="fra").replace(" fra ", " sjc "), "another secret"),
        (header(sender="ams"), "none of our peers"),
        (header(sender="ord"), "our own name"),
        (header(method="GET"), "another secret"),
        (header(target="/-/peer/read"), "another secret"),
        (header(target="/-/peer/call?x=1"), "another secret"),
        (header().replace(BODY, body_digest(b"another")), "another secret"),
        (header().replace(NONCE.hex(), bytes(16).hex()), "another secret"),
        (header().replace(str(NOW), str(NOW + 1)), "another secret"),
        (header(now_ns=NOW - 901 * SECOND), "-901 s from ours"),
        (header(now_ns=NOW + 901 * SECOND), r"\+901 s from ours"),
    ],
)
def test_what_is_refused(given: str, told: str) -> None:
    with pytest.raises(NotAllowed, match=told):
        admit(given)


@pytest.mark.parametrize("skew", [-SKEW_SECONDS, 0, SKEW_SECONDS])
def test_clocks_may_differ(skew: int) -> None:
    assert admit(header(now_ns=NOW + skew * SECOND)).sender == "sjc"


@pytest.mark.parametrize("later", [0, 1, 2 * SKEW_SECONDS - 1])
def test_once_only_as_long_as_its_time_is_right(later: int) -> None:
    at = gate()
    ahead = header(now_ns=NOW + (SKEW_SECONDS - 1) * SECOND)
    admit(ahead, at)
    # others come meanwhile
    admit(header(nonce=bytes(16), now_ns=NOW + later * SECOND), at, NOW + later * SECOND)
    with pytest.raises(NotAllowed, match="here before"):
        admit(ahead, at, NOW + later * SECOND)


def test_a_refused_request_uses_up_no_nonce() -> None:
    at = gate()
    for wrong in (header(secret="another"), header(receiver="fra")):
        with pytest.raises(NotAllowed):
            admit(wrong, at)
    admit(header(), at)


def test_two_peers_may_have_the_same_nonce() -> None:
    at = gate()
    assert [admit(header(sender=each), at).sender for each in ("sjc", "fra")] == ["sjc", "fra"]


def test_what_is_remembered_is_bounded_and_nothing_comes_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "NONCES_MAX", 10)
    at = gate()
    sent = [header(nonce=bytes([i] * 16), now_ns=NOW + i * SECOND // 2) for i in range(100)]
    for each in sent:
        admit(each, at)
    window = at._windows["sjc"]
    assert sum(len(seen) for seen in window._seen.values()) == window._count <= 10
    for each in sent:
        with pytest.raises(NotAllowed, match="here before"):
            admit(each, at)
    assert admit(header(sender="fra", now_ns=NOW), at).sender == "fra"  # its window is its own


def test_old_nonces_are_forgotten() -> None:
    at = gate()
    for minute in range(60):
        now = NOW + minute * 60 * SECOND
        admit(header(now_ns=now), at, now)
    assert at._windows["sjc"]._count <= SKEW_SECONDS // 60 + 2


names = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)


@given(st.text(), st.text(), names, names, st.binary(), st.binary(min_size=16, max_size=16))
def test_any_request_is_itself_and_no_other(
    method: str, target: str, sender: str, receiver: str, body: bytes, nonce: bytes
) -> None:
    signed = Credentials(SECRET, sender).sign(
        method, target, receiver, body_digest(body), now_ns=NOW, nonce=nonce
    )
    caller = Gate(SECRET, receiver, [sender]).admit(method, target, signed.header, NOW)
    assert caller == Caller(sender, signed.answer_key, body_digest(body))
    for moved in ((method + target[:1], target[1:] + " "), (method + " ", target)):
        with pytest.raises(NotAllowed):
            Gate(SECRET, receiver, [sender]).admit(*moved, signed.header, NOW)


@given(st.text(alphabet=st.characters(codec="latin-1")))
def test_anything_else_is_not_a_signature(said: str) -> None:
    with pytest.raises(NotAllowed):
        admit(said)


# --- answers ---


def test_an_answer_is_of_its_request_status_and_body() -> None:
    key, other = bytes(32), bytes(31) + b"1"
    tag = answer_tag(key, 200, b"yes")
    check_answer(key, 200, b"yes", tag)
    for wrong in ((other, 200, b"yes"), (key, 404, b"yes"), (key, 200, b"no")):
        with pytest.raises(TamperedWith):
            check_answer(*wrong, tag)
    for no_tag in ("", "0" * 64, tag.upper(), "\udcff"):
        with pytest.raises(TamperedWith):
            check_answer(key, 200, b"yes", no_tag)


# --- streams ---

KEY = bytes(range(32))


def sealed(body: bytes, piece: int = 1 << 20, key: bytes = KEY, mac: str = "blake2b") -> bytes:
    sealing = Sealing(key, len(body), mac)
    wire = [sealing.lead]
    for at in range(0, len(body), piece):
        assert not sealing.is_whole
        wire += [bytes(part) for part in sealing.seal(body[at : at + piece])]
    assert sealing.is_whole
    return b"".join(wire)


def opened(
    wire: bytes, size: int, cut: int = 1 << 20, key: bytes = KEY, mac: str = "blake2b"
) -> tuple[bytes, bool]:
    """What was handed on, and whether it was all."""
    opening = Opening(key, size, mac)
    got = [piece for at in range(0, len(wire), cut) for piece in opening.open(wire[at : at + cut])]
    return b"".join(got), opening.is_whole


BODIES = [
    bytes(i % 251 for i in range(size))
    for size in (0, 1, 1000, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES)
]


@pytest.mark.parametrize("mac", MACS)
@pytest.mark.parametrize("body", BODIES, ids=len)
def test_a_stream_comes_back(body: bytes, mac: str) -> None:
    wire = sealed(body, mac=mac)
    assert len(wire) == stream_bytes(len(body))
    assert opened(wire, len(body), mac=mac) == (body, True)


@pytest.mark.parametrize("mac", MACS)
def test_the_hash_is_keyed(mac: str) -> None:
    with pytest.raises(TamperedWith):
        opened(sealed(b"bytes", key=bytes(32), mac=mac), 5, mac=mac)
    (other,) = MACS.keys() - {mac}
    with pytest.raises(TamperedWith):
        opened(sealed(b"bytes", mac=other), 5, mac=mac)


def test_one_of_them_is_the_fastest() -> None:
    assert fastest_mac() in MACS


@given(
    st.sampled_from(BODIES), st.integers(700, FRAME_BYTES * 2), st.integers(500, FRAME_BYTES * 2)
)
def test_however_it_is_cut(body: bytes, piece: int, cut: int) -> None:
    wire = sealed(body, piece)
    assert wire == sealed(body)
    assert opened(wire, len(body), cut) == (body, True)


@given(st.sampled_from(BODIES), st.sampled_from(sorted(MACS)), st.data())
def test_a_changed_byte_is_noticed_before_it_is_handed_on(
    body: bytes, mac: str, data: st.DataObject
) -> None:
    wire = bytearray(sealed(body, mac=mac))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    opening = Opening(KEY, len(body), mac)
    got = b""
    with pytest.raises(TamperedWith):  # noqa: PT012 - what came before it counts
        for piece in opening.open(bytes(wire)):
            got += piece
    assert not opening.is_whole
    assert body.startswith(got)
    assert len(got) % FRAME_BYTES == 0


@given(st.sampled_from(BODIES), st.data())
def test_a_stream_cut_off_is_not_whole(body: bytes, data: st.DataObject) -> None:
    wire = sealed(body)
    got, is_whole = opened(wire[: data.draw(st.integers(0, len(wire) - 1))], len(body))
    assert not is_whole
    assert body.startswith(got)


FRAME = FRAME_BYTES + credentials.TAG_BYTES


@pytest.mark.parametrize(
    "change",
    [
        lambda wire: wire[FRAME:],
        lambda wire: wire[:FRAME] + wire[2 * FRAME :],
        lambda wire: wire[FRAME : 2 * FRAME] + wire[:FRAME] + wire[2 * FRAME :],
        lambda wire: wire[:FRAME] + wire[:FRAME] + wire[2 * FRAME :],
        lambda wire: wire + b"x",
    ],
    ids=["first gone", "second gone", "swapped", "twice", "more"],
)
def test_frames_have_their_place(change: Callable[[bytes], bytes]) -> None:
    body = BODIES[-1]
    with pytest.raises(TamperedWith):
        opened(change(sealed(body)), len(body))


def test_no_more_is_sealed_than_was_asked_for() -> None:
    sealing = Sealing(KEY, 3, "blake2b")
    with pytest.raises(ValueError, match="more bytes"):
        list(sealing.seal(b"four"))
