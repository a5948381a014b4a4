"""Threads that keep to a CPU, and those that may leave it."""

import os
import subprocess
import sys

import pytest

from amur.affinity import CPUS

SCRIPT = """
import os
from concurrent.futures import ThreadPoolExecutor
from amur import affinity

where = lambda: sorted(os.sched_getaffinity(0))
affinity.keep_to(affinity.CPUS[-1])
print(where())
print(ThreadPoolExecutor(1).submit(where).result())
print(ThreadPoolExecutor(1, "", affinity.roam).submit(where).result())
"""
UNKEPT = """
import os
from amur import affinity

os.sched_setaffinity(0, affinity.CPUS[:1])
affinity.roam()
print(sorted(os.sched_getaffinity(0)))
"""


def told(script: str) -> list[str]:
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_only_pools_for_long_work_roam() -> None:
    assert told(SCRIPT) == [str([CPUS[-1]]), str([CPUS[-1]]), str(list(CPUS))]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_nobody_else_s_affinity_is_widened() -> None:
    assert told(UNKEPT) == [str([CPUS[0]])]
