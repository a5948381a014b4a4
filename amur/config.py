"""Settings from flags, `AMUR_*` environment variables, a TOML file and defaults, in this order."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from amur.limits import GIB, PRESIGN_SECONDS_DEFAULT, PRESIGN_SECONDS_MAX

_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_REGION_SAID = "must be 1 to 32 of a-z, 0-9 and hyphens, like fra or us-east-1"
_REGION_NUMBER_MAX = 63  # six bits of each version are the region's number
_CLUSTER_SECRET_CHARS_MIN = 32
_BLOCK_STORE = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)*")
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


Role = Literal["gateway", "blocks", "replicate", "jobs"]
ROLES: tuple[Role, ...] = get_args(Role)
"""What the processes of a region are for."""


class ConfigError(Exception):
    """A setting is wrong. The message is one line and says what to do."""


class AccessKey(BaseModel):
    """One more access key. `owner` owns what it creates; keys may share one; by default its id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, max_length=128)
    secret: str = Field(min_length=8, max_length=256, repr=False)
    owner: str = Field(default="", max_length=128)


class PeerSettings(BaseModel):
    """Another region: where its S3 gateway and its block service are, as URLs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    number: int = Field(ge=0, le=_REGION_NUMBER_MAX)
    gateway: str
    block_service: str

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return region_name(value)

    @field_validator("gateway", "block_service")
    @classmethod
    def _address(cls, value: str) -> str:
        return _url(value)


@dataclass(frozen=True)
class BlockStore:
    """Where packs and block files are, and how to get there; "": files in the data directory."""

    url: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)  # secrets are in it
    cache_bytes: int = 0


class Settings(BaseSettings):
    """Everything `amur serve` can be told. A file's keys are these names."""

    model_config = SettingsConfigDict(env_prefix="AMUR_", extra="forbid", frozen=True)

    data: Path = Path("amur-data")
    listen: str = "127.0.0.1:9000"
    region: str = "local"
    region_number: int = Field(default=0, ge=0, le=_REGION_NUMBER_MAX)
    roles: Annotated[tuple[Role, ...], NoDecode] = ROLES  # which of the region's processes to run
    blocks_listen: str = ""  # of the block service, for peers; "": a region of its own
    cluster_secret: str = Field(default="", repr=False)
    cluster_secret_file: Path | None = None
    peers: tuple[PeerSettings, ...] = ()
    block_store: str = ""  # s3://bucket/prefix, gs:// or az://; "": files in the data directory
    block_store_options: dict[str, str] = Field(default_factory=dict, repr=False)  # obstore's
    block_store_cache_bytes: int = Field(default=10 * GIB, ge=0)  # read from it; 0: no cache
    cache_bytes: int = Field(default=0, ge=0)  # of pulled bytes; 0: a tenth of the disk
    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, le=256)
    domains: Annotated[tuple[str, ...], NoDecode] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    blocks_tls_cert: Path | None = None  # of the block service, and shown to peers
    blocks_tls_key: Path | None = None
    peers_ca: Path | None = None  # peers must show a certificate of it, both ways
    root_access_key_id: str = ""
    root_secret_access_key: str = Field(default="", repr=False)
    access_keys: tuple[AccessKey, ...] = ()
    master_key: str = Field(default="", repr=False)  # 32 bytes in base64; see serve/master.py
    master_key_file: Path | None = None
    master_key_command: str = ""  # prints it: the hook for a key management service
    iam_listen: str = ""  # of the IAM API's own port; "": only on the gateway's
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()  # whose X-Forwarded-For is believed
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
        return host_and_port(self.listen)[0]

    @property
    def port(self) -> int:
        return host_and_port(self.listen)[1]

    @property
    def blocks_address(self) -> tuple[str, int] | None:
        """Host and port of the block service; None without one."""
        return host_and_port(self.blocks_listen) if self.blocks_listen else None

    @property
    def iam_address(self) -> tuple[str, int] | None:
        """Host and port of the IAM API's own listener; None without one."""
        return host_and_port(self.iam_listen) if self.iam_listen else None

    @property
    def iam_endpoint(self) -> str:
        """What a client on this machine would use of the IAM API's own listener."""
        return endpoint_of(self.iam_listen, "https" if self.tls_cert else "http")

    @property
    def blocks(self) -> BlockStore:
        return BlockStore(self.block_store, self.block_store_options, self.block_store_cache_bytes)

    @property
    def endpoint(self) -> str:
        """What a client on this machine would use."""
        return endpoint_of(self.listen, "https" if self.tls_cert else "http")

    @field_validator("listen", "blocks_listen", "iam_listen")
    @classmethod
    def _listen(cls, value: str, info: ValidationInfo) -> str:
        if value or info.field_name == "listen":
            host_and_port(value)
        return value

    @field_validator("region")
    @classmethod
    def _region(cls, value: str) -> str:
        return region_name(value)

    @field_validator("block_store")
    @classmethod
    def _block_store(cls, value: str) -> str:
        bare = value.rstrip("/")
        names = bare.split("/")[3:]
        if value and (not _BLOCK_STORE.fullmatch(bare) or {".", ".."} & set(names)):
            raise ValueError(
                "must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            )
        return bare

    @field_validator("roles", mode="before")
    @classmethod
    def _roles(cls, value: object) -> object:
        """A list, or a comma-separated string (from the environment or a flag)."""
        given = value.split(",") if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return given
        named = {part.strip() for each in given for part in str(each).split(",") if part.strip()}
        if not named or not named <= set(ROLES):
            raise ValueError(f"must be some of {', '.join(ROLES)}")
        return tuple(role for role in ROLES if role in named)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _proxies(cls, value: object) -> object:
        """A list, or a comma-separated string (from the environment)."""
        given = value.split(",") if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return given
        networks = tuple(str(each).strip() for each in given if str(each).strip())
        for each in networks:
            try:
                ip_network(each)
            except ValueError:
                raise ValueError(f"{each!r} is not an address or a network") from None
        return networks

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

    @model_validator(mode="before")
    @classmethod
    def _cluster_secret(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The secret that stands in a file becomes the setting."""
        path = values.get("cluster_secret_file")
        if not path:
            return values
        if values.get("cluster_secret"):
            raise ValueError("give cluster_secret or cluster_secret_file, not both")
        return values | {"cluster_secret": _secret_in(Path(str(path)))}

    @model_validator(mode="after")
    def _cluster(self) -> Settings:
        names, numbers = {self.region}, {self.region_number}
        for peer in self.peers:
            if peer.name in names:
                raise ValueError(f"peers: two regions are named {peer.name}")
            if peer.number in numbers:
                raise ValueError(f"peers: two regions have the number {peer.number}")
            names.add(peer.name)
            numbers.add(peer.number)
        if self.peers and not self.blocks_listen:
            raise ValueError("blocks_listen is missing: peers need it, like 10.0.0.1:9001")
        if self.peers and not self.cluster_secret:
            raise ValueError("cluster_secret or cluster_secret_file is missing: peers need it")
        if self.cluster_secret and len(self.cluster_secret) < _CLUSTER_SECRET_CHARS_MIN:
            raise ValueError(
                f"cluster_secret must be at least {_CLUSTER_SECRET_CHARS_MIN} characters"
            )
        if self.blocks_listen and self.blocks_listen == self.listen:
            raise ValueError("listen and blocks_listen must be two addresses")
        return self

    @model_validator(mode="after")
    def _pairs(self) -> Settings:
        if self.block_store_options and not self.block_store:
            raise ValueError("block_store is missing: block_store_options belong to it")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key must be given together")
        if (self.blocks_tls_cert is None) != (self.blocks_tls_key is None):
            raise ValueError("blocks_tls_cert and blocks_tls_key must be given together")
        if self.peers_ca is not None and self.blocks_tls_cert is None:
            raise ValueError("blocks_tls_cert is missing: with peers_ca each region shows its own")
        if bool(self.root_access_key_id) != bool(self.root_secret_access_key):
            raise ValueError(
                "root_access_key_id and root_secret_access_key must be given together "
                "(AMUR_ROOT_ACCESS_KEY_ID and AMUR_ROOT_SECRET_ACCESS_KEY)"
            )
        sources = (self.master_key, self.master_key_file, self.master_key_command)
        if sum(bool(source) for source in sources) > 1:
            raise ValueError("give one of master_key, master_key_file and master_key_command")
        if self.iam_listen and self.iam_listen in (self.listen, self.blocks_listen):
            raise ValueError("iam_listen must be an address of its own")
        if self.root_secret_access_key and len(self.root_secret_access_key) < 8:
            raise ValueError("root_secret_access_key must be at least 8 characters")
        return self


_OF_CLIENTS = {
    "AMUR_ENDPOINT", "AMUR_IAM_ENDPOINT", "AMUR_ACCESS_KEY_ID", "AMUR_SECRET_ACCESS_KEY",
    "AMUR_ORGANIZATION",
}  # fmt: skip
"""Of the commands that talk to a server (amur/cli/connection.py, iam_remote.py)."""


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
    except SettingsError as error:  # of our settings only these are JSON in the environment
        if '"peers"' in str(error):
            raise ConfigError(
                'AMUR_PEERS is not JSON like [{"name": "...", "number": 1, "gateway": "http://...",'
                ' "block_service": "http://..."}]'
            ) from None
        if '"block_store_options"' in str(error):
            raise ConfigError(
                'AMUR_BLOCK_STORE_OPTIONS is not JSON like {"endpoint": "https://..."}'
            ) from None
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


def endpoint_of(listen: str, scheme: str = "http") -> str:
    """What a client on this machine would use of a server that listens there."""
    host, port = host_and_port(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def host_and_port(listen: str) -> tuple[str, int]:
    """Of `HOST:PORT`. Raises ValueError."""
    match = _HOST_PORT.fullmatch(listen)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError(
            "must be HOST:PORT, like 127.0.0.1:9000 or [::]:9000; ports are 1 to 65535"
        )
    return match[1] or match[2] or "0.0.0.0", int(match[3])  # noqa: S104 - ":9000" asks for it


def region_name(value: str) -> str:
    """The name; raises ValueError when it can't be one."""
    if not _REGION.fullmatch(value):
        raise ValueError(_REGION_SAID)
    return value


def _url(value: str) -> str:
    """Of a server, without the slash at its end."""
    said = "must be a URL like https://fra.example.com:9001"
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises for what is no port
    except ValueError:
        raise ValueError(said) from None
    is_bare = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_bare:
        raise ValueError(said)
    return value.removesuffix("/")


def _secret_in(path: Path) -> str:
    try:
        mode, secret = path.stat().st_mode, path.read_text().strip()
    except OSError as error:
        raise ValueError(f"can't read cluster_secret_file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"cluster_secret_file {path} is not text") from None
    if mode & 0o007:
        raise ValueError(f"everybody can read cluster_secret_file {path}: chmod 600 it")
    return secret
