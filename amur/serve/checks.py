"""What a person can get wrong, found before anything starts. All raise Refusal."""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
import time
from pathlib import Path

from amur.config import Settings
from amur.limits import DISK_RESERVE_BYTES, DISK_RESERVE_FRACTION, MIB
from amur.serve.layout import Layout, Refusal, RootKey

_EPOCH_2024 = 1_704_067_200
_DISK_BYTES_MIN = 64 * MIB  # below this not even the metadata can be opened for writing
_OPEN_FILES_WANTED = 65_536
_OPEN_FILES_MIN = 256  # of one process: metadata, data files, and some connections


def clock() -> None:
    if time.time() < _EPOCH_2024:
        now = time.strftime("%Y-%m-%d", time.gmtime())
        raise Refusal(
            f"the clock says {now}: set it (timedatectl set-ntp true), signatures need it"
        )


def port(host: str, number: int, setting: str = "--listen") -> None:
    """Nobody listens there, and we may. (The workers share the port, so they would not notice.)"""
    where = f"{host}:{number}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror:
        raise Refusal(f"can't listen on {where}: no such address") from None
    except OSError as error:
        advice = {
            errno.EADDRINUSE: f"the port is taken; stop what uses it or choose another: {setting}",
            errno.EACCES: f"ports below 1024 need root; choose another: {setting}",
            errno.EADDRNOTAVAIL: f"not an address of this machine; choose another: {setting}",
        }.get(error.errno or 0, error.strerror)
        raise Refusal(f"can't listen on {where}: {advice}") from None


def disk(layout: Layout, *, is_new: bool) -> str:
    """A warning when only reads and deletes will work; "" when there is room."""
    usage = os.statvfs(layout.root)
    free, total = usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize
    reserve = min(DISK_RESERVE_BYTES, int(total * DISK_RESERVE_FRACTION))
    said = f"the disk of {layout.root} is nearly full ({free // MIB} MiB free)"
    if free < _DISK_BYTES_MIN or (is_new and free < reserve):
        raise Refusal(f"{said}; make room or name another data directory")
    return f"{said}: writes are refused until there is room" if free < reserve else ""


def tls(cert: Path | None, key: Path | None) -> None:
    if cert is None or key is None:
        return
    for path in (cert, key):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise Refusal(f"can't read the TLS file {path}: {error.strerror}") from None
    try:
        # an empty passphrase, so that OpenSSL does not ask for one on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Refusal(f"the TLS key {key} is not the key of the certificate {cert}") from None
        raise Refusal(
            f"{cert} and {key} are no TLS certificate and key: both must be PEM, "
            "the key without a passphrase"
        ) from None


def ca(path: Path | None) -> None:
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise Refusal(f"{path} holds no certificate in PEM") from None
    except OSError as error:
        raise Refusal(f"can't read the certificates {path}: {error.strerror}") from None


def access_keys(settings: Settings, root: RootKey) -> None:
    from amur.serve.wiring import settings_keys

    try:
        settings_keys(settings, root)
    except ValueError as error:
        raise Refusal(f"access keys: {error}") from None


def open_files() -> None:
    """Take as many file descriptors as we may have: each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES_MIN:
        raise Refusal(
            f"only {hard} open files are allowed and each connection is one: raise the limit "
            f"(ulimit -n {_OPEN_FILES_WANTED}, or LimitNOFILE={_OPEN_FILES_WANTED} in systemd)"
        )
    wanted = min(_OPEN_FILES_WANTED, hard) if hard != resource.RLIM_INFINITY else _OPEN_FILES_WANTED
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
