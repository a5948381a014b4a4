"""The processes of test_power.py: `write DIRECTORY SEED`, `go-on DIRECTORY SEED`, `judge SEED`.

Both make every limit small before anything reads it, so that small bodies meet all size classes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from amur import limits
from tests.faults import power_script


def shrink() -> None:
    limits.INLINE_BYTES_MAX = power_script.INLINE_BYTES_MAX
    limits.PACK_BYTES_MAX = power_script.PACK_BYTES_MAX
    limits.CHUNK_BYTES = power_script.CHUNK_BYTES
    limits.FILE_BYTES_MAX = power_script.FILE_BYTES_MAX
    limits.PART_BYTES_MIN = power_script.PART_BYTES_MIN
    from amur.data import blocks

    blocks.SYNC_BYTES = power_script.SYNC_BYTES


def main() -> None:
    shrink()
    role, *arguments = sys.argv[1:]
    if role == "write":
        from tests.faults.power_writer import write

        asyncio.run(write(Path(arguments[0]), int(arguments[1])))
    elif role == "go-on":
        from tests.faults.power_writer import go_on

        asyncio.run(go_on(Path(arguments[0]), int(arguments[1])))
    else:
        from tests.faults.power_judge import answer_all

        answer_all(int(arguments[0]))


if __name__ == "__main__":
    main()
