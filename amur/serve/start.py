"""From settings to a running server: check, lay out, fork, say where it is."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from functools import partial

from amur.affinity import CPUS
from amur.config import Settings
from amur.serve import checks
from amur.serve.layout import Layout, Refusal, RootKey
from amur.serve.supervisor import Process, Supervisor

_LISTEN_WAIT_SECONDS = 20.0


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. The exit code; raises Refusal before anything is started."""
    layout = Layout(settings.data.absolute())
    checks.clock()
    checks.tls(settings.tls_cert, settings.tls_key)
    checks.port(settings)
    is_new = not layout.identity.exists()
    layout.create()
    lock = layout.lock()
    warning = checks.disk(layout, is_new=is_new)
    layout.claim(settings.region)
    key = layout.take_root_key(settings.root_access_key_id, settings.root_secret_access_key)
    checks.access_keys(settings, key)
    checks.open_files()
    for old in layout.metrics.iterdir():
        old.unlink()
    if warning:
        _say(f"amur: {warning}")
    try:
        return _run(settings, layout, key)
    finally:
        os.close(lock)


def _run(settings: Settings, layout: Layout, key: RootKey) -> int:
    # Imported once, before the fork: the children share the code and start at once.
    from amur.serve import jobs, worker

    _try_storage(settings, layout)
    processes = [
        Process(f"worker {i}", partial(worker.main, settings, layout, key, f"worker-{i}", cpu))
        for i, cpu in enumerate(_cpus(settings))
    ]
    processes.append(Process("jobs", partial(jobs.main, settings, layout)))
    gc.freeze()
    supervisor = Supervisor(processes, _say)
    supervisor.start()
    if _wait_until_listening(settings, supervisor):
        _banner(settings, layout, key)
    elif supervisor.alive():
        _say(f"amur: nothing answers on {settings.listen} yet; waiting on")
    return supervisor.run()


def _cpus(settings: Settings) -> list[int | None]:
    """One for each worker; more workers than CPUs are better left to the system."""
    count = settings.workers
    return [*CPUS[:count]] if settings.pin_workers and count <= len(CPUS) else [None] * count


def _try_storage(settings: Settings, layout: Layout) -> None:
    """Open everything once in a child (never in the process that forks), creating what is new.

    What can't be opened is told here, in one line, and not by every worker again and again.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            from amur.meta.engine import EngineFull
            from amur.serve.wiring import try_store

            try_store(layout, settings.region)
        except (Refusal, EngineFull, OSError) as error:
            os.write(tell, f"{error}".encode())
        except BaseException as error:
            advice = f"run amur fsck {layout.root}, or restore a backup (amur restore)"
            os.write(tell, f"{error or type(error).__name__}; {advice}".encode())
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, "rb") as pipe:
        message = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if status and not message:
        message = f"the storage in {layout.root} can't be opened: run amur fsck {layout.root}"
    if message:
        raise Refusal(" ".join(message.split()))


def _wait_until_listening(settings: Settings, supervisor: Supervisor) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    deadline = time.monotonic() + _LISTEN_WAIT_SECONDS
    while supervisor.alive() and time.monotonic() < deadline:
        try:
            socket.create_connection((host, settings.port), timeout=1).close()
        except OSError:
            time.sleep(0.005)
        else:
            return True
    return False


def _banner(settings: Settings, layout: Layout, key: RootKey) -> None:
    """Where it is, and three lines to paste.

    The secret is shown on a terminal and when it was just made; else only where it is kept, so
    that the logs of a service manager do not collect it.
    """
    where = f"kept in {key.path}" if key.path else "taken from the settings"
    if sys.stdout.isatty() or key.is_new:
        said, pasted = f"{key.secret}  ({where})", key.secret
    elif key.path is None:
        said, pasted = f"({where})", '"$AMUR_ROOT_SECRET_ACCESS_KEY"'
    else:
        pattern = r's/.*"secret_access_key": "\(.*\)".*/\1/p'
        said, pasted = f"({where})", f"\"$(sed -n '{pattern}' '{key.path}')\""
    sys.stdout.write(
        f"amur serves {layout.root} as region {settings.region}\n"
        f"  endpoint           {settings.endpoint}\n"
        f"  access key id      {key.id}\n"
        f"  secret access key  {said}\n"
        "to use it, paste:\n"
        f"  export AWS_ENDPOINT_URL={settings.endpoint} AWS_DEFAULT_REGION=auto"
        f" AWS_ACCESS_KEY_ID={key.id} AWS_SECRET_ACCESS_KEY={pasted}\n"
        "  aws s3 mb s3://first\n"
        "  aws s3 cp README.md s3://first/\n"
    )
    sys.stdout.flush()


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
