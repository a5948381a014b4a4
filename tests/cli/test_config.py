"""Flags over environment over file over defaults; mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from amur import config


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGION", "LISTEN", "DOMAINS", "DATA", "WORKERS"):
        monkeypatch.delenv(f"AMUR_{name}", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "amur.toml"
    path.write_text(
        'region = "fra"\nlisten = "[::]:9100"\ndomains = ["S3.example.com"]\n'
        '[[access_keys]]\nid = "a"\nsecret = "12345678"\n'
    )
    return path


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


def test_secrets_are_not_shown(file: Path) -> None:
    assert "12345678" not in repr(config.load(file))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="can't read"):
        config.load(tmp_path / "none.toml")
