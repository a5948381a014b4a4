"""What the store in test_power.py goes through, and what it may hold at each moment.

Several lanes work side by side, each on keys of its own and one operation after another, all drawn
from a seed. So a lane that got k answers is in its state k, or in state k + 1, wholly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

LANES = 3
ROUNDS = 3
"""The store is closed and opened again between rounds."""
OPERATIONS = 16  # of a lane in a round
SETUP = "setup"
PLAIN, VERSIONED = "plain", "versioned"

INLINE_BYTES_MAX = 256
PACK_BYTES_MAX = CHUNK_BYTES = 8 << 10
FILE_BYTES_MAX = 32 << 10
SYNC_BYTES = 8 << 10
PART_BYTES_MIN = 2 << 10
_BODY_BYTES_MAX = 90 << 10
_VERSIONS_MAX = 4
_PARTS_MAX = 3

Piece = tuple[int, int]  # seed and size of bytes
Content = tuple[Piece, ...]


class Op(NamedTuple):
    """`bucket` and `key` are changed; `source` is a key of the same lane, (bucket, key)."""

    kind: str
    bucket: str = ""
    key: str = ""
    source: tuple[str, str] = ("", "")
    piece: Piece = (0, 0)
    number: int = 0


class State(NamedTuple):
    """What a lane has stored, and which uploads it has under way, by bucket and key."""

    versions: dict[tuple[str, str], tuple[Content | None, ...]]  # newest first, None a marker
    uploads: dict[tuple[str, str], dict[int, Piece]]

    def told(self) -> dict[str, list[str]]:
        """As the judge sees it."""
        told = {
            f"{bucket}/{key}": [_digest(content) for content in versions]
            for (bucket, key), versions in self.versions.items()
        }
        for (bucket, key), parts in self.uploads.items():
            told[f"upload {bucket}/{key}"] = [
                f"{number} {hashlib.md5(data((piece,))).hexdigest()}"
                for number, piece in sorted(parts.items())
            ]
        return told

    def after(self, op: Op) -> State:
        versions, uploads = dict(self.versions), dict(self.uploads)
        at = op.bucket, op.key
        old = versions.pop(at, ()) if op.kind in ("put", "copy", "delete", "complete") else ()
        kept = old if op.bucket == VERSIONED else ()
        match op.kind:
            case "put":
                versions[at] = ((op.piece,), *kept)
            case "copy":
                content = self.versions[op.source][0]
                versions[at] = (content, *kept)
            case "delete":
                if op.bucket == VERSIONED:
                    versions[at] = (None, *kept)
            case "rename":
                versions[at] = versions.pop(op.source)
            case "delete oldest":
                versions[at] = versions[at][:-1]
            case "create":
                uploads[at] = {}
            case "part":
                uploads[at] = uploads[at] | {op.number: op.piece}
            case "complete":
                parts = uploads.pop(at)
                versions[at] = (tuple(piece for _, piece in sorted(parts.items())), *kept)
            case "abort":
                del uploads[at]
            case kind:
                raise AssertionError(kind)
        return State(versions, uploads)


def data(content: Content) -> bytes:
    return b"".join(hashlib.shake_128(b"%d" % seed).digest(size) for seed, size in content)


def _digest(content: Content | None) -> str:
    return "marker" if content is None else hashlib.sha256(data(content)).hexdigest()


def lane_of(key: str) -> str:
    return key.split("/")[0]


def lanes(seed: int) -> dict[str, tuple[list[Op], list[State]]]:
    """Each lane's operations, and its states: the first before any, then one after each."""
    drawn = {}
    for number in range(LANES):
        name = f"lane{number}"
        dice, state = Random(f"{seed} {name}"), State({}, {})
        ops: list[Op] = []
        states = [state]
        while len(ops) < ROUNDS * OPERATIONS:
            op = _draw(dice, name, state)
            if op is not None:
                ops.append(op)
                state = state.after(op)
                states.append(state)
        drawn[name] = ops, states
    return drawn


def _size(dice: Random) -> int:
    return dice.choice(
        (
            dice.randint(0, INLINE_BYTES_MAX), dice.randint(INLINE_BYTES_MAX + 1, PACK_BYTES_MAX),
            dice.randint(INLINE_BYTES_MAX + 1, 2000),
            dice.randint(PACK_BYTES_MAX + 1, _BODY_BYTES_MAX),
        )
    )  # fmt: skip


def _draw(dice: Random, lane: str, state: State) -> Op | None:
    bucket = dice.choice((PLAIN, VERSIONED))
    at = bucket, f"{lane}/k{dice.randrange(5)}"
    stored = [key for key, versions in sorted(state.versions.items()) if versions[0] is not None]
    versions = state.versions.get(at, ())
    is_long = len(versions) >= _VERSIONS_MAX
    kind = _pick(dice)
    if kind == "delete" and versions and not is_long:
        return Op(kind, *at)
    if kind == "delete oldest" and bucket == VERSIONED and len(versions) > 1:
        return Op(kind, *at)
    if kind == "rename" and stored:
        source, target = dice.choice(stored), (PLAIN, at[1])
        if source[0] == PLAIN and target not in state.versions:
            return Op(kind, *target, source)
    if kind == "copy" and stored and not is_long:
        source = dice.choice(stored)
        if source != at:
            return Op(kind, *at, source)
    if kind == "put" and not is_long:
        return Op(kind, *at, piece=(dice.getrandbits(48), _size(dice)))
    if kind == "upload":
        return _draw_upload(dice, at, state, is_long=is_long)
    return None


def _draw_upload(dice: Random, at: tuple[str, str], state: State, *, is_long: bool) -> Op | None:
    if not state.uploads:
        return Op("create", *at)
    at, parts = dice.choice(sorted(state.uploads.items()))
    is_long = len(state.versions.get(at, ())) >= _VERSIONS_MAX
    if len(parts) >= 2 and not is_long and dice.random() < 0.5:
        return Op("complete", *at)
    if dice.random() < 0.08:
        return Op("abort", *at)
    size = dice.choice((dice.randint(PART_BYTES_MIN, PACK_BYTES_MAX), _BODY_BYTES_MAX // 2))
    return Op("part", *at, piece=(dice.getrandbits(48), size), number=dice.randint(1, _PARTS_MAX))


def _pick(dice: Random) -> str:
    kinds: Sequence[str] = ("put", "upload", "copy", "delete", "delete oldest", "rename")
    return dice.choices(kinds, (10, 8, 4, 4, 2, 3))[0]
