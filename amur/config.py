"""Settings from flags, `AMUR_*` environment variables, a TOML file and defaults, in this order."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from amur.limits import PRESIGN_SECONDS_DEFAULT, PRESIGN_SECONDS_MAX

_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_HOST_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:]*)):([0-9]{1,5})")


_MESSAGES = {
    "missing": "is missing",
    "model_type": "must be a table",
    "tuple_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
}
"""pydantic's error types in words that fit a file, a variable and a flag; else its own words."""


class ConfigError(Exception):
    """A setting is wrong. The message is one line and says what to do."""


class AccessKey(BaseModel):
    """One more access key. `owner` owns what it creates; keys may share one; by default its id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, max_length=128)
    secret: str = Field(min_length=8, max_length=256, repr=False)
    owner: str = Field(default="", max_length=128)


class Settings(BaseSettings):
    """Everything `amur serve` can be told. A file's keys are these names."""

    model_config = SettingsConfigDict(env_prefix="AMUR_", extra="forbid", frozen=True)

    data: Path = Path("amur-data")
    listen: str = "127.0.0.1:9000"
    region: str = "local"
    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, le=256)
    domains: Annotated[tuple[str, ...], NoDecode] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    root_access_key_id: str = ""
    root_secret_access_key: str = Field(default="", repr=False)
    access_keys: tuple[AccessKey, ...] = ()
    presign_seconds_max: int = Field(default=PRESIGN_SECONDS_DEFAULT, ge=1, le=PRESIGN_SECONDS_MAX)
    pin_workers: bool = True  # each gateway worker keeps to a CPU of its own
    access_log: Literal["file", "stdout", "off"] = "file"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileSource(settings_cls)

    @property
    def host(self) -> str:
        return _split(self.listen)[0]

    @property
    def port(self) -> int:
        return _split(self.listen)[1]

    @property
    def endpoint(self) -> str:
        """What a client on this machine would use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        scheme = "https" if self.tls_cert else "http"
        return (
            f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"
        )

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        _split(value)
        return value

    @field_validator("region")
    @classmethod
    def _region(cls, value: str) -> str:
        if not _REGION.fullmatch(value):
            raise ValueError("must be 1 to 32 of a-z, 0-9 and hyphens, like fra or us-east-1")
        return value

    @field_validator("domains", mode="before")
    @classmethod
    def _domains(cls, value: object) -> object:
        """A list, or a comma-separated string (from the environment)."""
        given = value.split(",") if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return given
        names = tuple(str(name).strip().lower().lstrip(".") for name in given if str(name).strip())
        for name in names:
            if not _DOMAIN.fullmatch(name):
                raise ValueError(f"{name!r} is not a domain name")
        return names

    @model_validator(mode="after")
    def _pairs(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key must be given together")
        if bool(self.root_access_key_id) != bool(self.root_secret_access_key):
            raise ValueError(
                "root_access_key_id and root_secret_access_key must be given together "
                "(AMUR_ROOT_ACCESS_KEY_ID and AMUR_ROOT_SECRET_ACCESS_KEY)"
            )
        if self.root_secret_access_key and len(self.root_secret_access_key) < 8:
            raise ValueError("root_secret_access_key must be at least 8 characters")
        return self


_OF_CLIENTS = {"AMUR_ENDPOINT", "AMUR_ACCESS_KEY_ID", "AMUR_SECRET_ACCESS_KEY"}
"""Of the commands that talk to a server (amur/cli/connection.py)."""


class _FileSource(PydanticBaseSettingsSource):
    """The TOML file that `load` has read."""

    values: ClassVar[dict[str, Any]] = {}

    def get_field_value(self, field: object, field_name: str) -> tuple[Any, str, bool]:
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self.values


def load(config: Path | None = None, **flags: Any) -> Settings:
    """Settings from a file and flags (None: not given). Raises ConfigError."""
    _FileSource.values = _read(config) if config else {}
    try:
        return Settings(**{name: value for name, value in flags.items() if value not in (None, [])})
    except ValidationError as error:
        raise ConfigError(_one_line(error, config)) from None
    except SettingsError:  # of our settings only this one is JSON in the environment
        raise ConfigError(
            'AMUR_ACCESS_KEYS is not JSON like [{"id": "...", "secret": "..."}]'
        ) from None
    finally:
        _FileSource.values = {}


def unknown_variables() -> list[str]:
    """Names of `AMUR_*` in the environment that are no settings: typing errors, most likely."""
    known = {f"AMUR_{name.upper()}" for name in Settings.model_fields} | _OF_CLIENTS
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith("AMUR_") and name.upper() not in known
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _one_line(error: ValidationError, config: Path | None) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"unknown setting {name!r}{f' in {config}' if config else ''}; known are {known}"
    message = _MESSAGES.get(first["type"], first["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


def _split(listen: str) -> tuple[str, int]:
    match = _HOST_PORT.fullmatch(listen)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError(
            "must be HOST:PORT, like 127.0.0.1:9000 or [::]:9000; ports are 1 to 65535"
        )
    return match[1] or match[2] or "0.0.0.0", int(match[3])  # noqa: S104 - ":9000" asks for it
