"""S5: secrets and signatures are in nothing that the server writes or answers."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from amur.gateway.app import App
from amur.gateway.presign import presign_url, sign_request
from amur.iam.service import Iam
from amur.serve.testing import ServedAmur

ALICE = ("tid_canary_alice", "tsec_canary_alice_0123456789")
LOST = "canary-of-a-query"

CONFIG = f"""
access_keys = [{{ id = "{ALICE[0]}", secret = "{ALICE[1]}", owner = "alice" }}]
"""


class Wire:
    """Sends what it is told and keeps every answer and every secret that it used."""

    def __init__(self, server: ServedAmur) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.port}"
        self.root = (server.key_id, server.secret)
        self.answers: list[bytes] = []
        self.canaries = {server.secret, ALICE[1], LOST}

    def send(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> int:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        sent = {"host": self.host} | headers
        self.canaries |= set(re.findall("Signature=([0-9a-f]{64})", str(sent) + target))
        connection.request(method, target, body, sent)
        answer = connection.getresponse()
        told = "".join(f"{name}: {value}\n" for name, value in answer.getheaders())
        self.answers.append(told.encode() + answer.read())
        connection.close()
        return answer.status

    def signed(
        self, method: str, path: str, query: str = "", *, key: tuple[str, str], body: bytes = b"",
        skew_s: int = 0, headers: dict[str, str] | None = None,
    ) -> int:  # fmt: skip
        sent = sign_request(
            method, path, query, {"host": self.host} | (headers or {}), key_id=key[0],
            secret=key[1],
            now_s=int(time.time()) + skew_s,
        )  # fmt: skip
        return self.send(method, f"{path}?{query}" if query else path, sent, body)

    def asked(self, action: str, **params: str) -> Any:
        """What IAM answers the root key; not kept."""
        body = urlencode({"Action": action} | params).encode()
        headers = {
            "host": self.host,
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        sent = sign_request(
            "POST", "/", "", headers, key_id=self.root[0], secret=self.root[1],
            now_s=int(time.time()), service="iam", payload=sha256(body).hexdigest(),
        )  # fmt: skip
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        connection.request("POST", "/", body, sent)
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        assert answer.status == 200, told
        return json.loads(told)

    def link(self, method: str, path: str, *, key: tuple[str, str], skew_s: int = 0) -> str:
        url = presign_url(
            method, f"http://{self.host}", path, [("response-content-type", LOST)], key_id=key[0],
            secret=key[1], now_s=int(time.time()) + skew_s, expires_s=60,
        )  # fmt: skip
        return url.removeprefix(f"http://{self.host}")


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "amur.toml").write_text(CONFIG)
    arguments = ["--config", str(folder / "amur.toml")]
    with ServedAmur(folder / "data", workers=1, arguments=arguments) as server:
        wire = Wire(server)
        send_everything(wire)
        yield wire


def send_everything(wire: Wire) -> None:
    """Requests that succeed, and that fail in every place where a signature was at hand."""
    root, wrong = wire.root, (wire.root[0], "canary-wrong-secret-0123456789")
    unknown = ("tid_canary_nobody", ALICE[1])
    assert wire.signed("PUT", "/bucket", key=root) == 200
    assert wire.signed("PUT", "/bucket/key", key=root, body=b"x") == 200
    assert wire.signed("GET", "/bucket/key", key=ALICE) == 403
    for key in (wrong, unknown):
        wire.canaries.add(key[1])
        assert wire.signed("GET", "/bucket/key", key=key) == 403
        assert wire.send("GET", wire.link("GET", "/bucket/key", key=key), {}) == 403
    assert wire.signed("GET", "/bucket/key", key=root, skew_s=-3600) == 403
    assert wire.send("GET", wire.link("GET", "/bucket/key", key=root), {}) == 200
    assert wire.send("GET", wire.link("GET", "/bucket/key", key=root, skew_s=-3600), {}) == 403
    assert wire.send("PUT", wire.link("GET", "/bucket/key", key=root), {}) == 403
    link = wire.link("GET", "/bucket/key", key=root)
    for broken in (link + "%zz", link.replace("Expires=60", "Expires=x"), link + "&acl&tagging"):
        assert wire.send("GET", broken, {}) >= 400
    token = "canary-token-0123456789"
    wire.canaries.add(token)
    assert (
        wire.signed("GET", "/bucket/key", key=root, headers={"x-amz-security-token": token}) == 400
    )
    basic = "Basic canary-basic-0123456789"
    wire.canaries.add(basic)
    assert wire.send("GET", "/bucket/key", {"authorization": basic}) == 400
    document = b"<Tagging><TagSet><Tag><Key>" + ALICE[1].encode()
    assert wire.signed("PUT", "/bucket", "tagging", key=root, body=document) == 400
    send_form(wire)
    send_managed(wire)
    for page in ("/-/health", "/-/metrics"):
        assert wire.send("GET", page, {}) == 200


def send_managed(wire: Wire) -> None:
    """Keys of the directory and sessions: made, used, misused, rotated. The two answers that show a
    secret once are not kept; all others, the audit's among them, are."""
    master = (wire.server.directory / "master-key").read_text().strip()
    wire.canaries.add(master)
    made = wire.asked("CreateAccessKeyWithBucketsRole", Req='{"name":"job","buckets_role":[]}')
    key = made["CreateAccessKeyResult"]["AccessKey"]
    job = (key["AccessKeyId"], key["SecretAccessKey"])
    wire.canaries.add(job[1])
    assert wire.signed("GET", "/bucket/key", key=job) == 403
    assert wire.signed("GET", "/bucket/key", key=(job[0], job[1][:-1])) == 403
    turned = wire.asked("RotateAccessKey", AccessKeyId=job[0])
    wire.canaries.add(turned["rotate_access_key_result"]["new_secret"])
    assert wire.signed("GET", "/bucket/key", key=job) == 403
    given = wire.asked("GetSessionToken", DurationSeconds="900")["GetSessionTokenResult"]
    session = given["Credentials"]
    token, temporary = session["SessionToken"], (session["AccessKeyId"], session["SecretAccessKey"])
    wire.canaries |= {token, temporary[1]}
    signed = {"x-amz-security-token": token}
    assert wire.signed("GET", "/bucket/key", key=temporary, headers=signed) == 200
    assert wire.signed("GET", "/bucket/key", key=wire.root, headers=signed) == 400
    signed = {"x-amz-security-token": token[:-4] + "AAAA"}
    assert wire.signed("GET", "/bucket/key", key=temporary, headers=signed) == 400
    for action in ("ListAuditEvents", "ListAccessKeys", "GetAccountSummary"):
        wire.answers.append(str(wire.asked(action)).encode())


def send_form(wire: Wire) -> None:
    signature = "0123456789abcdef" * 4
    wire.canaries |= {signature, "canary-of-a-policy"}
    day = time.strftime("%Y%m%d", time.gmtime())
    fields = {
        "key": "key",
        "policy": b64encode(b'{"conditions": ["canary-of-a-policy"]}').decode(),
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{wire.root[0]}/{day}/auto/s3/aws4_request",
        "x-amz-date": f"{day}T000000Z",
        "x-amz-signature": signature,
        "file": "x",
    }
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert wire.send("POST", "/bucket", kind, f"{body}--b--\r\n".encode()) == 403


def test_there_was_something_to_find(wire: Wire) -> None:
    assert len(wire.canaries) > 25
    assert b"CanonicalRequest" in b"".join(wire.answers)


def test_no_answer_holds_a_secret(wire: Wire) -> None:
    """A canonical request is the client's own; neither its signature nor ours is in it."""
    for answer in wire.answers:
        for canary in wire.canaries - {LOST}:
            assert canary.encode() not in answer, answer


def test_nothing_written_holds_a_secret(wire: Wire) -> None:
    deadline = time.monotonic() + 10
    log = wire.server.directory / "run" / "access.log"
    while not log.exists() or log.read_text().count("\n") < len(wire.answers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    written = [wire.server.log, *(path for path in log.parent.rglob("*") if path.is_file())]
    written += [path for path in wire.server.directory.rglob("*") if path.is_file()]
    assert any(path.name == "data.mdb" for path in written)  # secrets at rest are sealed
    kept = {wire.server.directory / name for name in ("root-key.json", "master-key")}
    for path in set(written) - kept:
        data = path.read_bytes()
        for canary in wire.canaries:
            assert canary.encode() not in data, f"{canary} in {path}"


def test_the_log_knows_the_key_but_not_the_query(wire: Wire) -> None:
    log = (wire.server.directory / "run" / "access.log").read_text()
    assert wire.root[0] in log
    assert '"path":"/bucket/key"' in log
    assert "X-Amz-" not in log


def test_the_command_line_shows_no_secret(wire: Wire) -> None:
    for pid in wire.server.processes():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not any(canary.encode() in command for canary in wire.canaries)


async def test_a_failure_inside_tells_nothing(
    app: App, client: Any, iam: Iam, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The log has the traceback, the client only a number to ask for it with."""

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"inner detail of {iam!r}")

    await client("PUT", "/bucket")
    monkeypatch.setattr("amur.objects.store.Store.head", broken)
    answer = await client("GET", "/bucket/key?acl")
    assert (answer.status, answer.code) == (500, "InternalError")
    assert b"inner detail" not in answer.body
    assert answer.headers["x-amz-request-id"] in caplog.text
    assert "tsec_" not in caplog.text
    assert "Signature=" not in caplog.text
