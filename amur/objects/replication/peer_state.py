"""What a region knows of each peer's log: records in table S, committed with what they speak of."""

from __future__ import annotations

from typing import Self

import msgspec

from amur.meta import keys
from amur.meta.engine import Put
from amur.objects.core import Core
from amur.regions.messages import Batch


class PeerState(msgspec.Struct, array_like=True):
    """`cursor`: up to where its log came in, without a word of what is before a gap. `applied`: up
    to where all of it is known to be in. `vector`: what it said that it has applied of others."""

    cursor: int = 0
    applied: int = 0
    vector: dict[str, int] = {}
    has_gap: bool = False  # until anti-entropy has gone all through it once
    session: int = 0  # counts up when the sender begins anew; batches of an older one are refused

    def advance(self, batch: Batch) -> None:
        """Note a batch that begins at our cursor."""
        self.has_gap = self.has_gap or batch.is_gap
        self.cursor = batch.end
        if not self.has_gap:
            self.applied = batch.end
        self.vector = batch.vector

    def put(self, peer: str) -> Put:
        return Put(state_key(peer), msgspec.msgpack.encode(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        return msgspec.msgpack.decode(value, type=cls)


def state_key(peer: str) -> bytes:
    return keys.singleton_key(f"from/{peer}")


async def peer_state(core: Core, peer: str) -> tuple[PeerState, int]:
    """The state, and the engine version to expect of it."""
    entry = await core.engine.get(state_key(peer))
    return (PeerState.decode(entry.value), entry.version) if entry else (PeerState(), 0)


async def peer_states(core: Core) -> dict[str, PeerState]:
    """Of all peers, from one snapshot."""
    names = sorted(core.topology.peers)
    entries = await core.engine.get_many([state_key(name) for name in names])
    return {
        name: PeerState.decode(entry.value) if entry is not None else PeerState()
        for name, entry in zip(names, entries, strict=True)
    }


async def vector(core: Core) -> dict[str, int]:
    """Up to where this region has applied the log of each peer."""
    return {name: state.applied for name, state in (await peer_states(core)).items()}
