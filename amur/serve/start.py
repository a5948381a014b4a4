"""From settings to a running server: check, lay out, fork, say where it is."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path

from amur.affinity import CPUS
from amur.config import ROLES, Settings
from amur.serve import checks, held
from amur.serve.layout import Layout, Refusal, RootKey
from amur.serve.master import Secrets, take_master_key
from amur.serve.supervisor import Process, Supervisor

_LISTEN_WAIT_SECONDS = 20.0


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. The exit code; raises Refusal before anything is started."""
    layout = Layout(settings.data.absolute(), settings.blocks)
    checks.clock()
    checks.tls(settings.tls_cert, settings.tls_key)
    checks.tls(settings.blocks_tls_cert, settings.blocks_tls_key)
    checks.ca(settings.peers_ca)
    if "gateway" in settings.roles:
        checks.port(settings.host, settings.port)
        if settings.iam_address:
            checks.port(*settings.iam_address, "iam_listen")
    if "blocks" in settings.roles and settings.blocks_address:
        checks.port(*settings.blocks_address, "blocks_listen")
    is_new = not layout.identity.exists()
    layout.create()
    lock = layout.lock(settings.roles)
    starting = layout.starting()
    warning = checks.disk(layout, is_new=is_new)
    layout.claim(settings.region, _numbers(settings))
    root = layout.take_root_key(settings.root_access_key_id, settings.root_secret_access_key)
    key = Secrets(root, take_master_key(settings, layout))
    checks.access_keys(settings, root)
    checks.open_files()
    _clear(layout, settings.roles)
    if warning:
        _say(f"amur: {warning}")
    _try_storage(settings, layout)
    starting.close()  # before the fork: the children would keep it
    pids = layout.pids(settings.roles)
    try:
        return _run(settings, layout, key, pids)
    finally:
        pids.unlink(missing_ok=True)
        lock.close()


def _numbers(settings: Settings) -> dict[str, int]:
    """Of all regions of the cluster; {} of a region alone."""
    of_peers = {peer.name: peer.number for peer in settings.peers}
    return {settings.region: settings.region_number, **of_peers} if of_peers else {}


def _run(settings: Settings, layout: Layout, key: Secrets, pids: Path) -> int:
    processes = _processes(settings, layout, key)
    if not processes:
        raise Refusal(f"there is nothing to run: {', '.join(settings.roles)} needs peers")
    gc.freeze()
    supervisor = Supervisor(
        processes, _say, partial(held.note, pids), lambda role: role in held.roles(layout.held)
    )
    supervisor.start()
    if "gateway" not in settings.roles:
        _say(f"amur runs {', '.join(settings.roles)} of region {settings.region}: {layout.root}")
    elif _wait_until_listening(settings, supervisor):
        _banner(settings, layout, key.root)
    elif supervisor.alive():
        _say(f"amur: nothing answers on {settings.listen} yet; waiting on")
    return supervisor.run()


def _processes(settings: Settings, layout: Layout, key: Secrets) -> list[Process]:
    """Those of the roles that this region has need of."""
    # Imported once, before the fork: the children share the code and start at once.
    from amur.serve import jobs, worker

    processes = []
    if "gateway" in settings.roles:
        for i, cpu in enumerate(_cpus(settings)):
            main = partial(worker.main, settings, layout, key, f"worker-{i}", cpu)
            processes.append(Process(f"worker {i}", main, "gateway"))
    if "blocks" in settings.roles and settings.peers:
        from amur.serve import blocks  # with its HTTP client, which a region alone does not need

        processes.append(Process("blocks", partial(blocks.main, settings, layout), "blocks"))
    if "replicate" in settings.roles and settings.peers:
        from amur.serve import replicate

        main = partial(replicate.main, settings, layout)
        processes.append(Process("replicate", main, "replicate"))
    if "jobs" in settings.roles:
        processes.append(Process("jobs", partial(jobs.main, settings, layout), "jobs"))
    return processes


def _clear(layout: Layout, roles: Collection[str]) -> None:
    """What earlier processes of these roles left: their numbers, and that they were held down."""
    held.hold(layout.held, held.roles(layout.held).difference(roles))
    for old in layout.metrics.iterdir():
        role = "gateway" if old.stem.startswith("worker-") else old.stem
        if role in roles or role not in ROLES:
            old.unlink(missing_ok=True)


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
    """Where it is, and three lines to paste."""
    said, pasted = shown_secret(key, is_new=key.is_new)
    iam = f"  IAM endpoint       {settings.iam_endpoint}\n" if settings.iam_listen else ""
    sys.stdout.write(
        f"amur serves {layout.root} as region {settings.region}\n"
        f"  endpoint           {settings.endpoint}\n"
        f"  access key id      {key.id}\n"
        f"  secret access key  {said}\n"
        f"{iam}"
        "to use it, paste:\n"
        f"  export AWS_ENDPOINT_URL={settings.endpoint} AWS_DEFAULT_REGION=auto"
        f" AWS_ACCESS_KEY_ID={key.id} AWS_SECRET_ACCESS_KEY={pasted}\n"
        "  aws s3 mb s3://first\n"
        "  aws s3 cp README.md s3://first/\n"
    )
    sys.stdout.flush()


def shown_secret(key: RootKey, *, is_new: bool) -> tuple[str, str]:
    """What to say of a root key's secret, and what to paste into a shell for it.

    The secret is shown on a terminal and when it was just made; else only where it is kept, so
    that the logs of a service manager do not collect it.
    """
    where = f"kept in {key.path}" if key.path else "taken from the settings"
    if sys.stdout.isatty() or is_new:
        return f"{key.secret}  ({where})", key.secret
    if key.path is None:
        return f"({where})", '"$AMUR_ROOT_SECRET_ACCESS_KEY"'
    pattern = r's/.*"secret_access_key": "\(.*\)".*/\1/p'
    return f"({where})", f"\"$(sed -n '{pattern}' '{key.path}')\""


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
