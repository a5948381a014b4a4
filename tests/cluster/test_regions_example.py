"""examples/regions.py does what docs/regions.md shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from amur.cluster.testing import first_of_free_ports
from amur.serve.testing import clean_environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "regions.py"


@pytest.mark.slow
def test_the_example(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{first_of_free_ports(3)}"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--listen", listen],
        env=clean_environment() | {"TMPDIR": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("bytes are in: sjc\n", "bytes are in: sjc,fra ", "503", "Nothing was lost"):
        assert told in done.stdout
    assert list(tmp_path.iterdir()) == [], "all clean at the end"
