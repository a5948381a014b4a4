"""Where the master key comes from, under which access keys' secrets are sealed.

In this order: `master_key`, `master_key_file` or `master_key_command` (the hook for a key
management service: what it prints) of the settings; in a cluster, what is derived from the
cluster's secret, as all regions must have the same; else DIR/master-key, made at the first start.
"""

from __future__ import annotations

import shlex
import subprocess
from base64 import b64encode
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import NamedTuple

from amur.config import Settings
from amur.iam.sealing import MasterKey, generate, parse_master_keys
from amur.serve.layout import Layout, Refusal, RootKey, write_durably

_COMMAND_SECONDS = 30.0
_COMMAND_BYTES_MAX = 64 * 1024
_PURPOSE = b"amur master key of a cluster"


class Secrets(NamedTuple):
    """What the gateways of a region know, and nobody else."""

    root: RootKey
    master: MasterKey


def take_master_key(settings: Settings, layout: Layout) -> MasterKey:
    """Raises Refusal."""
    text, where = _given(settings)
    own = _own(layout)
    if text:
        return _parsed(text + own, where)
    if settings.peers:
        key = hmac_digest(settings.cluster_secret.encode(), _PURPOSE, sha256)
        return _parsed(b64encode(key).decode() + "\n" + own, "cluster_secret")
    if not own:
        own = b64encode(generate()).decode() + "\n"
        write_durably(layout.master_key, own.encode(), 0o600)
    return _parsed(own, str(layout.master_key))


def _given(settings: Settings) -> tuple[str, str]:
    """The text of the settings' key, ended by a newline, and what to call it."""
    if settings.master_key:
        return settings.master_key + "\n", "master_key"
    if settings.master_key_file is not None:
        return _read(settings), f"master_key_file {settings.master_key_file}"
    if settings.master_key_command:
        return _run(settings.master_key_command), "what master_key_command prints"
    return "", ""


def _read(settings: Settings) -> str:
    path = settings.master_key_file
    assert path is not None
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except OSError as error:
        raise Refusal(f"can't read master_key_file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refusal(f"master_key_file {path} is not text") from None
    if mode & 0o007:
        raise Refusal(f"everybody can read master_key_file {path}: chmod 600 it")
    return text + "\n"


def _run(command: str) -> str:
    """What a command prints; nothing of it is ever shown."""
    try:
        done = subprocess.run(
            shlex.split(command), capture_output=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Refusal(f"master_key_command can't be run: {type(error).__name__}") from None
    if done.returncode != 0:
        raise Refusal(f"master_key_command failed with exit code {done.returncode}")
    try:
        return done.stdout[:_COMMAND_BYTES_MAX].decode() + "\n"
    except UnicodeDecodeError:
        raise Refusal("what master_key_command prints is not text") from None


def _own(layout: Layout) -> str:
    """The directory's own; it also opens what was sealed before another one was set."""
    path = layout.master_key
    if not path.exists():
        return ""
    if path.stat().st_mode & 0o077:
        raise Refusal(f"others can read {path}: chmod 600 it")
    return path.read_text(errors="replace")


def _parsed(text: str, where: str) -> MasterKey:
    try:
        return parse_master_keys(text)
    except ValueError as error:
        raise Refusal(f"{where}: {error}; make one with: openssl rand -base64 32") from None
