"""The workers that every region runs."""

from __future__ import annotations

from amur.objects.core import Core
from amur.workers.census import Census
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.evict import Evictor
from amur.workers.expire import Expirer
from amur.workers.forget import Forgetter
from amur.workers.place import Placer
from amur.workers.scrub import Scrubber
from amur.workers.sweep import Sweeper
from amur.workers.worker import Worker


def standard_workers(core: Core) -> list[Worker]:
    workers: list[Worker] = [
        Collector(core),
        Sweeper(core),
        Expirer(core),
        Forgetter(core),
        Compactor(core),
        Scrubber(core),
    ]
    return [*workers, Placer(core), Evictor(core), Census(core)] if core.is_cluster else workers
