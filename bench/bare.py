"""The measure of all rows: an app that does nothing, on the very same server and settings.

GET answers 1 KiB, PUT reads the body and answers nothing, GET /stream/<bytes> sends that many.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import urlopen

from amur.serve.testing import free_port

_BODY = b"x" * 1024
_HEADERS = [("content-type", "binary/octet-stream"), ("x-amz-request-id", "1" * 19)]
_PIECE = b"x" * (1 << 20)


async def app(scope: Any, proto: Any) -> None:
    if scope.method == "PUT":
        async for _ in proto:
            pass
        proto.response_empty(200, _HEADERS)
    elif scope.path.startswith("/stream/"):
        left = int(scope.path[8:])
        headers = [*_HEADERS, ("content-length", str(left))]
        transport = proto.response_stream(200, headers)
        while left > 0:
            await transport.send_bytes(_PIECE[:left])
            left -= len(_PIECE)
    else:
        proto.response_bytes(200, _HEADERS, _BODY)


class Bare:
    """The bare server as processes of its own."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Bare:
        self._processes = [
            subprocess.Popen([sys.executable, "-m", "bench.bare", str(self.port)])
            for _ in range(self._workers)
        ]
        while True:
            try:
                urlopen(self.url, timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                time.sleep(0.3)  # the other workers
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait()

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]


def _main() -> None:
    import asyncio

    import uvloop

    from amur.config import Settings
    from bench.bare_granian import server_of

    async def serve() -> None:
        settings = Settings(listen=f"127.0.0.1:{sys.argv[1]}", data=Path(os.devnull))
        server = server_of(app, settings)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    _main()
