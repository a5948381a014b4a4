"""`amur audit`: what was changed and what was refused, the newest last."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from amur.cli.audit import WIDE, lines_of
from amur.serve.testing import ServedAmur

EVENT = {
    "time": "2026-11-25T18:00:00Z", "key": "tid_" + "a" * 26, "action": "s3:GetObject",
    "resource": "arn:aws:s3:::box/" + "k" * 100, "decision": "denied", "times": 3,
    "reason": "no role or policy allows it", "source_ip": "192.0.2.1",
    "detail": {"name": "x\x1b[2J", "overlap_s": 0},
}  # fmt: skip


@pytest.fixture
def key(cli: Any) -> dict[str, str]:
    made = cli("access-keys", "create", f"k-{secrets.token_hex(5)}", "--json").stdout
    found: dict[str, str] = json.loads(made)
    return found


def events(cli: Any, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("audit", *arguments, "--json").stdout)["items"]
    return found


def eventually(ask: Callable[[], Any]) -> Any:
    """Refusals are gathered for a moment before they are written."""
    for _ in range(200):
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError("it does not come")


def test_changes_of_a_key(cli: Any, key: dict[str, str], store: ServedAmur) -> None:
    cli("access-keys", "disable", key["id"])
    cli("access-keys", "enable", key["id"])
    found = events(cli, "--key", key["id"])
    actions = ["iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:UpdateAccessKey"]
    assert [each["action"] for each in found] == actions
    assert {each["key"] for each in found} == {store.key_id}
    assert {each["decision"] for each in found} == {"allowed"}
    assert [each["detail"].get("status") for each in found] == [None, "inactive", "active"]
    assert key["secret"] not in json.dumps(found)
    assert events(cli, "--key", key["id"], "--action", "iam:Create*") == found[:1]
    assert events(cli, "--key", key["id"], "--limit", "1") == found[-1:]
    assert events(cli, "--key", key["id"], "--since", "1h") == found
    assert events(cli, "--key", key["id"], "--since", "2040-01-01") == []
    lines = cli("audit", "--key", key["id"]).stdout.splitlines()
    assert len(lines) == 3
    assert f":user/{key['id']}" in lines[0]


def test_refusals(cli: Any, key: dict[str, str], bucket: str) -> None:
    flags = ("--access-key", key["id"], "--access-secret", key["secret"])
    cli("ls", bucket, *flags, code=1)
    ask = ("--key", key["id"], "--decision", "denied")
    (found, *_) = eventually(lambda: events(cli, *ask))
    assert (found["action"], found["resource"]) == ("s3:ListBucket", f"arn:aws:s3:::{bucket}")
    assert (found["reason"], found["source_ip"]) == ("no role or policy allows it", "127.0.0.1")
    assert "DENIED" in cli("audit", *ask).stdout
    assert events(cli, "--key", key["id"], "--action", "s3:PutObject") == []
    assert "may not iam:ListEvents" in cli("audit", *flags, code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--decision", "maybe"), "denied or allowed"), (("--since", "x"), "is no time")],
)
def test_audit_refuses(cli: Any, arguments: tuple[str, str], said: str) -> None:
    assert said in cli("audit", *arguments, code=1).stderr


def test_nothing_to_tell(cli: Any) -> None:
    done = cli("audit", "--key", "tid_nobody")
    assert (done.stdout, done.stderr) == ("", "amur: no events\n")


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    head, *why = lines_of(EVENT, 80)
    assert max(map(len, (head, *why))) <= 80
    assert head.endswith("…")
    assert "tid_aaaaa…  DENIED  s3:GetObject" in head
    told = " ".join(line.strip() for line in why)
    assert told.startswith("3 times; no role or policy allows it; from 192.0.2.1")
    assert "\x1b" not in "".join((head, *why))
    (line,) = lines_of(EVENT, WIDE)
    assert EVENT["resource"] in line
    assert told in line
    assert len(lines_of(EVENT | {"decision": "allowed"}, 80)) == 1


def test_follow(cli: Any, key: dict[str, str], store: ServedAmur) -> None:
    """It shows what there is, then what comes, each once, until it is interrupted."""
    # a shell that runs tests in the background has SIGINT ignored, for its children as well
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from amur.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, "audit", "--follow", "--json", "--key", key["id"]]
    with subprocess.Popen(
        command, env=os.environ | store.client_environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        shown = [json.loads(process.stdout.readline())]
        cli("access-keys", "disable", key["id"])
        shown.append(json.loads(process.stdout.readline()))
        cli("access-keys", "enable", key["id"])
        shown.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=30)
    assert [each["action"].rpartition(":")[2][:6] for each in shown] == [
        "Create",
        "Update",
        "Update",
    ]
    assert len({each["id"] for each in shown}) == 3
    assert (rest, said, process.returncode) == ("", "amur: interrupted\n", 130)
