"""The JavaScript SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def test_javascript_sdk(bucket: str, run: Any, big_file: Path) -> None:
    told = run("node", HERE / "node/exercise.mjs", bucket, big_file).stdout
    assert told.strip() == "ok"
