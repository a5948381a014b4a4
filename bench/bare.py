"""The measure of all rows: an app that does nothing, on granian, the fastest server for Python.

GET answers 1 KiB, PUT reads the body and answers nothing, GET /stream/<bytes> sends that many.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
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
    from granian.constants import HTTPModes, Interfaces, TaskImpl
    from granian.server.embed import Server

    async def serve() -> None:
        server = Server(
            app,
            address="127.0.0.1",
            port=int(sys.argv[1]),
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            task_impl=TaskImpl.asyncio,
            runtime_threads=1,
            websockets=False,
            log_enabled=False,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    _main()
