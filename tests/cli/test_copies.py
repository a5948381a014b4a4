"""Copies of a data directory outlive a power cut."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from amur.cli.copies import backup, restore
from amur.meta.lmdb_engine import LmdbEngine
from amur.serve.layout import Layout


async def _close(layout: Layout) -> None:
    await LmdbEngine(layout.meta).close()


def test_a_copy_has_a_durable_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("local")
    asyncio.run(_close(layout))
    synced, fsync = set(), os.fsync

    def watched(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    for copy, source, target in (
        (backup, layout.root, tmp_path / "backups" / "today"),
        (restore, tmp_path / "backups" / "today", tmp_path / "restored" / "data"),
    ):
        synced.clear()
        copy(source, target)
        assert synced >= {tmp_path.stat().st_ino, target.parent.stat().st_ino}
