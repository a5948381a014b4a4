"""s3fs, which pandas, Dask and Zarr read through. It runs in its own venv (see the Makefile)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PYTHON = str(HERE.parents[1] / ".venv/s3fs/bin/python")


def test_s3fs(bucket: str, run: Any, small_files: Path, big_file: Path) -> None:
    told = run(PYTHON, HERE / "exercise_s3fs.py", bucket, small_files, big_file).stdout
    assert told.strip() == "ok"
