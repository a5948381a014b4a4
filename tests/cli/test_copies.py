"""Copies of a data directory outlive a power cut."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from amur.cli.copies import backup, restore
from amur.meta.lmdb_engine import LmdbEngine
from amur.serve.layout import Layout, Refusal


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


def test_a_restored_region_does_not_meet_its_peers_again(tmp_path: Path) -> None:
    """Its old state would bring back what was deleted since."""
    numbers = {"sjc": 0, "fra": 1}
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("sjc", numbers)
    asyncio.run(_close(layout))
    backup(layout.root, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    restored = Layout(tmp_path / "restored")
    with pytest.raises(Refusal, match="restored from a backup"):
        restored.claim("sjc", numbers)
    restored.claim("sjc", {})  # alone, it may serve
    with pytest.raises(Refusal, match="restored from a backup"):
        restored.claim("sjc", numbers)


def test_a_restored_region_that_was_alone_may_get_peers(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("sjc", {})
    asyncio.run(_close(layout))
    backup(layout.root, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    restored = Layout(tmp_path / "restored")
    restored.claim("sjc", {"sjc": 0, "fra": 1})
    assert restored.regions() == {"sjc": 0, "fra": 1}


def test_a_region_among_others_is_not_served_alone(tmp_path: Path) -> None:
    """What is deleted meanwhile would come back when the others meet it."""
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("sjc", {"sjc": 0, "fra": 1})
    with pytest.raises(Refusal, match="belongs to a region among others"):
        layout.claim("sjc", {})
    layout.claim("sjc", {"sjc": 0, "fra": 1})
    layout.claim("sjc")  # for those who only look


def test_a_region_that_was_taken_out_does_not_come_back_as_it_was(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("sjc", {"sjc": 0, "ord": 1, "fra": 2})
    layout.claim("sjc", {"sjc": 0, "ord": 1})
    assert layout.regions() == {"sjc": 0, "ord": 1, "fra": 2}
    with pytest.raises(Refusal, match="fra was taken out"):
        layout.claim("sjc", {"sjc": 0, "ord": 1, "fra": 2})
    with pytest.raises(Refusal, match="another region's"):
        layout.claim("sjc", {"sjc": 0, "ord": 1, "ams": 2})
    layout.claim("sjc", {"sjc": 0, "ord": 1, "ams": 3})
