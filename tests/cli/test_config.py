"""Flags over environment over file over defaults; mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from amur import config


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGION", "LISTEN", "DOMAINS", "DATA", "WORKERS", "ROLES", "PEERS", "BLOCK_STORE"):
        monkeypatch.delenv(f"AMUR_{name}", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "amur.toml"
    path.write_text(
        'region = "fra"\nlisten = "[::]:9100"\ndomains = ["S3.example.com"]\n'
        '[[access_keys]]\nid = "a"\nsecret = "12345678"\n'
    )
    return path


BUCKET = 'block_store = "s3://b/p/"\n[block_store_options]\n'


def test_defaults() -> None:
    settings = config.load()
    assert (settings.host, settings.port) == ("127.0.0.1", 9000)
    assert settings.endpoint == "http://127.0.0.1:9000"
    assert (settings.region, settings.data) == ("local", Path("amur-data"))
    assert settings.workers >= 1


def test_file(file: Path) -> None:
    settings = config.load(file)
    assert (settings.region, settings.host, settings.port) == ("fra", "::", 9100)
    assert settings.endpoint == "http://[::1]:9100"
    assert settings.domains == ("s3.example.com",)
    assert settings.access_keys[0].secret == "12345678"


def test_precedence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMUR_REGION", "ord")
    monkeypatch.setenv("AMUR_DOMAINS", "a.example, b.example")
    assert config.load(file).region == "ord"
    assert config.load(file).domains == ("a.example", "b.example")
    assert config.load(file, region="sjc", domains=["c.example"]).region == "sjc"
    assert config.load(file, domains=["c.example"]).domains == ("c.example",)
    assert config.load(file, region=None, domains=[]).region == "ord"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('lisen = "x"', "unknown setting 'lisen'"),
        ('listen = "9000"', "listen: must be HOST:PORT"),
        ('listen = "h:99999"', "listen: must be HOST:PORT"),
        ('region = "Fra_1"', "region: must be"),
        ("workers = 0", "workers: "),
        ('domains = ["a b"]', "'a b' is not a domain name"),
        ('tls_cert = "a"', "tls_cert and tls_key must be given together"),
        ('root_access_key_id = "a"', "must be given together"),
        ('root_access_key_id = "a"\nroot_secret_access_key = "short"', "at least 8"),
        ('block_store = "/mnt/blocks"', "block_store: must be s3://BUCKET/PREFIX"),
        ('block_store = "s3://"', "block_store: must be s3://BUCKET/PREFIX"),
        ('block_store = "s3://b/../c"', "block_store: must be s3://BUCKET/PREFIX"),
        ('block_store = "https://host/b"', "block_store: must be s3://BUCKET/PREFIX"),
        ("[block_store_options]\nregion = 'x'", "block_store is missing"),
        (BUCKET + "allow_http = true", "block_store_options.allow_http: must be a string"),
        ("block_store_cache_bytes = -1", "block_store_cache_bytes: "),
        ("presign_seconds_max = 99999999", "presign_seconds_max: "),
        ('[[access_keys]]\nid = "a"\nsecrit = "12345678"', "access_keys.0.secret"),
        ("x = ", "is not valid TOML"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "amur.toml"
    path.write_text(text)
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_block_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().blocks.url == ""
    settings = _load(tmp_path, BUCKET + 'secret_access_key = "hush-hush"')
    assert settings.blocks.url == "s3://b/p"
    assert settings.blocks.options["secret_access_key"] == "hush-hush"
    assert "hush" not in repr(settings) + repr(settings.blocks)
    monkeypatch.setenv("AMUR_BLOCK_STORE", "gs://b")
    monkeypatch.setenv("AMUR_BLOCK_STORE_OPTIONS", '{"region": "x"}')
    assert (config.load().blocks.url, config.load().blocks.options) == ("gs://b", {"region": "x"})
    monkeypatch.setenv("AMUR_BLOCK_STORE_OPTIONS", "secret_access_key=hush-hush")
    with pytest.raises(config.ConfigError, match="AMUR_BLOCK_STORE_OPTIONS is not JSON") as caught:
        config.load()
    assert "hush" not in str(caught.value)


CLUSTER = f"""
region = "sjc"
blocks_listen = "127.0.0.1:9001"
cluster_secret = "{"s" * 32}"
"""
PEER = """
[[peers]]
name = "fra"
number = 1
gateway = "https://fra.example.com/"
block_service = "http://10.0.0.2:9001"
"""


def _load(tmp_path: Path, text: str) -> config.Settings:
    path = tmp_path / "amur.toml"
    path.write_text(text)
    return config.load(path)


def test_peers(tmp_path: Path) -> None:
    settings = _load(tmp_path, CLUSTER + PEER)
    assert settings.peers == (
        config.PeerSettings(
            name="fra", number=1, gateway="https://fra.example.com",
            block_service="http://10.0.0.2:9001",
        ),
    )  # fmt: skip
    assert settings.blocks_address == ("127.0.0.1", 9001)
    assert (settings.region_number, settings.cache_bytes) == (0, 0)
    alone = config.load()
    assert (alone.peers, alone.blocks_address, alone.cluster_secret) == ((), None, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLUSTER + PEER + PEER.replace("= 1", "= 2"), "two regions are named fra"),
        (CLUSTER + PEER + PEER.replace("fra", "ord"), "two regions have the number 1"),
        (CLUSTER + PEER.replace("fra", "sjc"), "two regions are named sjc"),
        (CLUSTER + PEER.replace("= 1", "= 0"), "two regions have the number 0"),
        (CLUSTER + PEER.replace("= 1", "= 64"), "peers.0.number: "),
        (CLUSTER + PEER.replace('"fra"', '"Fra"'), "peers.0.name: must be 1 to 32"),
        (CLUSTER + PEER.replace("https:", "ftp:"), "peers.0.gateway: must be a URL"),
        (CLUSTER + PEER.replace(".com/", ".com/x"), "peers.0.gateway: must be a URL"),
        (CLUSTER + PEER.replace(".2:9001", ".2:90001"), "peers.0.block_service: must be a URL"),
        (CLUSTER + PEER.replace("http://", ""), "peers.0.block_service: must be a URL"),
        (CLUSTER + "[[peers]]\nname = 'fra'", "peers.0.number: is missing"),
        (CLUSTER.replace("127.0.0.1:9001", "") + PEER, "blocks_listen is missing"),
        (CLUSTER.replace("9001", "0"), "blocks_listen: must be HOST:PORT"),
        (CLUSTER.replace("9001", "9000"), "listen and blocks_listen must be two"),
        (CLUSTER.replace("s" * 32, "") + PEER, "cluster_secret or cluster_secret_file is missing"),
        (CLUSTER.replace("s" * 32, "s" * 31), "cluster_secret must be at least 32"),
        (CLUSTER + "cluster_secret_file = 'x'", "cluster_secret_file, not both"),
        ("cluster_secret_file = '/none/there'", "can't read cluster_secret_file /none/there"),
        ("region_number = 64", "region_number: "),
        ("cache_bytes = -1", "cache_bytes: "),
        ("roles = ['gateway', 'cook']", "roles: must be some of gateway, blocks"),
        ("roles = []", "roles: must be some of"),
        ("roles = 1", "roles: must be a list"),
    ],
)
def test_mistakes_of_clusters(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        _load(tmp_path, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secret_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("t" * 40 + "\n")
    secret.chmod(0o600)
    settings = _load(tmp_path, f"cluster_secret_file = '{secret}'")
    assert settings.cluster_secret == "t" * 40
    assert "ttt" not in repr(settings)
    secret.chmod(0o604)
    with pytest.raises(config.ConfigError, match="chmod 600"):
        _load(tmp_path, f"cluster_secret_file = '{secret}'")


def test_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().roles == config.ROLES
    assert config.load(roles="jobs,gateway").roles == ("gateway", "jobs")
    monkeypatch.setenv("AMUR_ROLES", "blocks, replicate")
    assert config.load().roles == ("blocks", "replicate")
    assert _load(tmp_path, "roles = ['jobs']").roles == ("blocks", "replicate")
    assert config.load(roles="jobs").roles == ("jobs",)


def test_peers_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMUR_PEERS", "fra")
    with pytest.raises(config.ConfigError, match="AMUR_PEERS is not JSON"):
        config.load()


def test_secrets_are_not_shown(file: Path) -> None:
    assert "12345678" not in repr(config.load(file))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="can't read"):
        config.load(tmp_path / "none.toml")
