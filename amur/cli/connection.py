"""Where the server is and who asks: flags, environment, the file of `amur configure`, defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

ENDPOINT_DEFAULT = "http://127.0.0.1:9000"
REGION_DEFAULT = "auto"


class ConnectionProblem(Exception):
    """Settings that can't be used; the message is for people."""


class Stored(msgspec.Struct, omit_defaults=True):
    """What `amur configure` writes."""

    endpoint: str = ""
    access_key: str = ""
    access_secret: str = ""


@dataclass(frozen=True)
class Connection:
    """`sources` tells where each came from, for people. Without keys: a profile of ~/.aws."""

    endpoint: str
    access_key: str
    access_secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    profile: str = ""
    region: str = REGION_DEFAULT
    endpoint_source: str = "default"
    keys_source: str = ""


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """By the XDG base directory specification."""
    base = environment.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".config"
    return root / "amur" / "client.json"


def load(file: Path) -> Stored:
    """Empty when there is none. Raises ConnectionProblem."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Stored)
    except FileNotFoundError:
        return Stored()
    except OSError as error:
        raise ConnectionProblem(f"can't read {file}: {error.strerror}") from None
    except msgspec.MsgspecError:
        raise ConnectionProblem(f"{file} is damaged: run amur configure again") from None


def store(file: Path, stored: Stored) -> None:
    """Only its owner can read it; it is replaced whole or not at all. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def resolve(
    endpoint: str = "",
    access_key: str = "",
    access_secret: str = "",
    *,
    environment: Mapping[str, str] = os.environ,
    stored: Stored | None = None,
) -> Connection:
    """Flags first. The two halves of a key come from one place. Raises ConnectionProblem."""
    stored = load(config_file(environment)) if stored is None else stored
    place, endpoint_source = next(
        (value, source)
        for source, value in (
            ("--endpoint", endpoint),
            ("AMUR_ENDPOINT", environment.get("AMUR_ENDPOINT", "")),
            ("AWS_ENDPOINT_URL_S3", environment.get("AWS_ENDPOINT_URL_S3", "")),
            ("AWS_ENDPOINT_URL", environment.get("AWS_ENDPOINT_URL", "")),
            ("amur configure", stored.endpoint),
            ("default", ENDPOINT_DEFAULT),
        )
        if value
    )
    pairs = (
        ("--access-key and --access-secret", access_key, access_secret),
        *(
            (f"{name}_ACCESS_KEY_ID and {name}_SECRET_ACCESS_KEY",
             environment.get(f"{name}_ACCESS_KEY_ID", ""),
             environment.get(f"{name}_SECRET_ACCESS_KEY", ""))
            for name in ("AMUR", "AWS")
        ),
    )  # fmt: skip
    common = {
        "endpoint": checked_endpoint(place),
        "endpoint_source": endpoint_source,
        "region": environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or REGION_DEFAULT,
    }
    for source, given, secret in pairs:
        if bool(given) != bool(secret):
            raise ConnectionProblem(f"{source} go together; one is missing")
        if given:
            from_aws = source.startswith("AWS")
            token = environment.get("AWS_SESSION_TOKEN", "") if from_aws else ""
            return Connection(
                access_key=given, access_secret=secret, session_token=token, keys_source=source,
                **common,
            )  # fmt: skip
    if profile := environment.get("AWS_PROFILE", ""):
        return Connection(
            access_key="", access_secret="", profile=profile, keys_source="AWS_PROFILE", **common
        )
    if stored.access_key:
        return Connection(
            access_key=stored.access_key, access_secret=stored.access_secret,
            keys_source="amur configure", **common,
        )  # fmt: skip
    raise ConnectionProblem(
        "no access key: run amur configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def checked_endpoint(text: str) -> str:
    """`http://host[:port]`, without a slash at its end. Raises ConnectionProblem."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in text:
        raise ConnectionProblem(
            f"the endpoint {text!r} is not a URL like {ENDPOINT_DEFAULT} or https://s3.example.com"
        )
    return text.rstrip("/")
