"""Two small files in DIR/run by which a supervisor and who plays with it know of each other.

pids*.json   {role: [pid, ...], "supervisor": [pid]}, written by the supervisor at each change
held.json    [role, ...]: what is not started (again), written by who wants it down

Neither is synced: both are about processes, which a power cut ends anyway.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path


def note(path: Path, pids: dict[str, list[int]]) -> None:
    """Say which processes there are. On a full disk it stays as it was."""
    with contextlib.suppress(OSError):
        _replace(path, pids)


def pids(run: Path) -> dict[str, list[int]]:
    """Of all supervisors of a data directory's `run`; some may be dead by now."""
    found: dict[str, list[int]] = {}
    for path in sorted(run.glob("pids*.json")):
        facts = _read(path)
        for role, numbers in facts.items() if isinstance(facts, dict) else ():
            found.setdefault(role, []).extend(n for n in numbers if isinstance(n, int) and n > 1)
    return found


def hold(path: Path, roles: Iterable[str]) -> None:
    """Keep these roles down, and no others. Raises OSError."""
    wanted = sorted(roles)
    if wanted:
        _replace(path, wanted)
    else:
        path.unlink(missing_ok=True)


def roles(path: Path) -> set[str]:
    """Those that are held down."""
    found = _read(path)
    return {str(role) for role in found} if isinstance(found, list) else set()


def _replace(path: Path, facts: object) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_text(json.dumps(facts) + "\n")
    partial.replace(path)


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
