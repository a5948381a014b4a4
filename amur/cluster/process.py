"""The frame of the cluster's small processes: they end with who started them, or when told to."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from amur.cluster.plan import Places
from amur.serve.layout import Refusal
from amur.serve.supervisor import die_with

Work = Callable[[Places], Awaitable[object]]
"""Starts what there is to do. What it returns is kept: uvloop closes servers that nobody holds."""


def main(work: Work) -> None:
    """Of `python -m MODULE DIR`: `work` starts what there is to do; it goes on until SIGTERM."""
    die_with(os.getppid())
    places = Places(Path(sys.argv[1]))

    async def run() -> None:
        told = asyncio.Event()
        for which in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(which, told.set)
        kept = await work(places)
        gc.collect()
        gc.freeze()
        await told.wait()
        del kept

    try:
        uvloop.run(run())
    except (OSError, Refusal) as error:
        sys.stderr.write(f"amur: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # connections are cut, not closed one by one
