"""Where the master key comes from, and what is said when it can't."""

from __future__ import annotations

import shlex
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from amur.config import ConfigError, load
from amur.iam.sealing import MasterKey
from amur.serve.layout import Layout, Refusal
from amur.serve.master import take_master_key

ONE, TWO = b64encode(b"1" * 32).decode(), (b"2" * 32).hex()
PEER = {"name": "b", "number": 1, "gateway": "http://b:1", "block_service": "http://b:2"}
CLUSTER = {"peers": (PEER,), "blocks_listen": "127.0.0.1:9001", "cluster_secret": "s" * 32}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "dir")
    made.create()
    return made


def taken(layout: Layout, **settings: Any) -> MasterKey:
    return take_master_key(load(**settings), layout)


def test_made_once_and_kept(layout: Layout) -> None:
    first = taken(layout)
    assert layout.master_key.stat().st_mode & 0o777 == 0o600
    sealed = first.seal(b"secret", "x")
    assert taken(layout).open(sealed, "x") == b"secret"
    assert b"secret" not in sealed


def test_of_the_settings(layout: Layout, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{ONE}\n")
    file.chmod(0o600)
    command = shlex.join([sys.executable, "-c", f"print({ONE!r})"])
    by_value = taken(layout, master_key=ONE)
    for other in (
        taken(layout, master_key_file=file),
        taken(layout, master_key_command=command),
        taken(layout, master_key=(b"1" * 32).hex()),
    ):
        assert other.open(by_value.seal(b"s", "x"), "x") == b"s"
        assert other.fingerprint == by_value.fingerprint
    assert not layout.master_key.exists()  # nothing is made that is not needed


def test_a_new_key_opens_what_the_old_one_sealed(layout: Layout) -> None:
    old = taken(layout, master_key=ONE)
    sealed = old.seal(b"s", "x")
    both = taken(layout, master_key=f"{TWO}\n{ONE}")
    assert both.open(sealed, "x") == b"s"
    assert taken(layout, master_key=TWO).open(both.seal(b"t", "x"), "x") == b"t"


def test_the_directorys_own_goes_on_opening(layout: Layout) -> None:
    sealed = taken(layout).seal(b"s", "x")
    assert taken(layout, master_key=ONE).open(sealed, "x") == b"s"
    assert taken(layout, **CLUSTER).open(sealed, "x") == b"s"


def test_regions_have_the_same_one(tmp_path: Path, layout: Layout) -> None:
    other = Layout(tmp_path / "other")
    other.create()
    sealed = taken(layout, **CLUSTER).seal(b"s", "x")
    assert taken(other, **CLUSTER).open(sealed, "x") == b"s"
    assert not other.master_key.exists()
    stranger = taken(other, **CLUSTER | {"cluster_secret": "t" * 32})
    assert stranger.fingerprint != taken(layout, **CLUSTER).fingerprint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"master_key": "short"}, "32 bytes"),
        ({"master_key": "é" * 44}, "32 bytes"),
        ({"master_key_file": Path("/nowhere/key")}, "can't read"),
        ({"master_key_command": "/nowhere/program"}, "can't be run"),
        ({"master_key_command": "false"}, "exit code 1"),
        ({"master_key_command": "true"}, "no master key"),
        ({"master_key_command": "'"}, "can't be run"),
    ],
)
def test_what_is_wrong_is_said(layout: Layout, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said) as caught:
        taken(layout, **settings)
    assert "\n" not in str(caught.value)


def test_a_file_that_everybody_reads(layout: Layout, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(ONE)
    file.chmod(0o644)
    with pytest.raises(Refusal, match="chmod 600"):
        taken(layout, master_key_file=file)
    taken(layout)
    layout.master_key.chmod(0o640)
    with pytest.raises(Refusal, match="chmod 600"):
        taken(layout)


def test_what_a_command_prints_is_never_shown(layout: Layout) -> None:
    command = shlex.join([sys.executable, "-c", "print('almost-a-key')"])
    with pytest.raises(Refusal) as caught:
        taken(layout, master_key_command=command)
    assert "almost-a-key" not in str(caught.value)


def test_one_source_only() -> None:
    with pytest.raises(ConfigError, match="one of master_key"):
        load(master_key=ONE, master_key_command="true")
    assert ONE not in repr(load(master_key=ONE))
