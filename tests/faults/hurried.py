"""Runs `amur` with background work that never rests, short graces and small files.

As a wrapper of the command: `python hurried.py python -m amur.cli.main serve ...`. Nothing in the
product is told of it, so that nobody can ask for such graces by mistake.
"""

from __future__ import annotations

import sys
from functools import partial

GRACE_SECONDS = 4.0
"""Longer than any request of the load takes, kills and a busy machine included."""
FILE_BYTES = 2 << 20


def main() -> None:
    from amur.cli.main import main as amur
    from amur.data.local import LocalDataStore
    from amur.objects.core import Core
    from amur.serve import wiring
    from amur.workers import survey
    from amur.workers.collect import Collector
    from amur.workers.compact import Compactor
    from amur.workers.expire import Expirer
    from amur.workers.scrub import Scrubber
    from amur.workers.sweep import Sweeper
    from amur.workers.worker import Worker

    def workers(core: Core) -> list[Worker]:
        surveyor = survey.Surveyor(core, file_bytes_max=FILE_BYTES)
        hurried: list[Worker] = [
            Collector(core, grace_seconds=GRACE_SECONDS),
            Sweeper(core),
            Expirer(core),
            Compactor(core, file_bytes_max=FILE_BYTES, surveyor=surveyor),
            Scrubber(core),
        ]
        for worker in hurried:
            worker.wait_seconds = 0.1
        return hurried

    wiring.standard_workers = workers  # type: ignore[attr-defined]
    wiring.LocalDataStore = partial(  # type: ignore[misc,assignment]
        LocalDataStore, file_bytes_max=FILE_BYTES
    )
    sys.argv = ["amur", *sys.argv[sys.argv.index("serve") :]]
    amur()


if __name__ == "__main__":
    main()
