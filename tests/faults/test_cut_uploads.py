"""Uploads cut at any byte, by a close or by a reset: nothing is stored, and no file is left.

`AMUR_SEED` picks the places.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from amur.gateway.presign import encode_chunks
from amur.gateway.sigv4 import amz_date_of, signing_key
from amur.serve.testing import ServedAmur
from tests.faults.client import NAMESPACE, Client

SEED = int(os.environ.get("AMUR_SEED", "1"))
CUTS = int(os.environ.get("AMUR_CUTS", "25"))  # of each kind of upload
SIZES = (1, 3000, 50_000, 1_500_000, 3_000_000)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST

Upload = Callable[[Random], bytes]


class Uploads:
    """Whole requests of every kind of upload, as bytes."""

    def __init__(self, client: Client, server: ServedAmur) -> None:
        self._client = client
        self._server = server
        client.ok("PUT", "/cuts")
        client.ok("PUT", "/cuts/there", "", {}, b"what was there before")
        answer = client.ok("POST", "/cuts/there", "uploads")
        self.upload_id = ElementTree.fromstring(answer.body).findtext(f"{NAMESPACE}UploadId") or ""

    def _request(self, path: str, query: str, headers: dict[str, str], body: bytes) -> bytes:
        sent = self._client.signed("PUT", path, query, headers)
        sent["content-length"] = str(len(body))
        return self._raw("PUT", quote(path) + (f"?{query}" if query else ""), sent, body)

    def _raw(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def put(self, dice: Random) -> bytes:
        key = dice.choice(("there", "new"))
        return self._request(f"/cuts/{key}", "", {}, dice.randbytes(dice.choice(SIZES)))

    def part(self, dice: Random) -> bytes:
        query = f"partNumber=1&uploadId={self.upload_id}"
        return self._request("/cuts/there", query, {}, dice.randbytes(dice.choice(SIZES)))

    def chunked(self, dice: Random) -> bytes:
        size = dice.choice(SIZES)
        pieces = [dice.randbytes(min(65_536, size - at)) for at in range(0, size, 65_536)]
        headers = {
            "x-amz-decoded-content-length": str(size),
            "content-encoding": "aws-chunked",
            "x-amz-trailer": "x-amz-checksum-sha256",
        }
        digest = base64.b64encode(hashlib.sha256(b"".join(pieces)).digest()).decode()
        body = encode_chunks(pieces, None, {"x-amz-checksum-sha256": digest})
        sent = self._client.signed(
            "PUT", "/cuts/new", "", headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        )
        sent["content-length"] = str(len(body))
        return self._raw("PUT", "/cuts/new", sent, body)

    def form(self, dice: Random) -> bytes:
        now = int(time.time())
        date = amz_date_of(now)
        scope = f"{date[:8]}/auto/s3/aws4_request"
        fields = {
            "key": "new",
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": f"{self._server.key_id}/{scope}",
            "x-amz-date": date,
        }
        conditions = [{"bucket": "cuts"}, *({name: value} for name, value in fields.items())]
        expiration = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now + 600))
        policy = base64.b64encode(
            json.dumps({"expiration": expiration, "conditions": conditions}).encode()
        )
        key = signing_key(self._server.secret, scope)
        fields["policy"] = policy.decode()
        fields["x-amz-signature"] = hmac.new(key, policy, "sha256").hexdigest()
        parts = "".join(
            f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head = f'{parts}--cut\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        body = head.encode() + dice.randbytes(dice.choice(SIZES)) + b"\r\n--cut--\r\n"
        headers = {
            "host": f"127.0.0.1:{self._server.port}",
            "content-type": "multipart/form-data; boundary=cut",
            "content-length": str(len(body)),
        }
        return self._raw("POST", "/cuts", headers, body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAmur]:
    with ServedAmur(tmp_path_factory.mktemp("cuts") / "data", workers=1) as served:
        yield served


def send(server: ServedAmur, request: bytes, *, is_reset: bool) -> None:
    """Send what there is, and be gone."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request)
        if is_reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def answer_to(server: ServedAmur, request: bytes) -> bytes:
    """The status line."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(100).split(b"\r\n")[0]


def test_cut_uploads_leave_nothing(
    server: ServedAmur, swept: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    dice = Random(SEED)
    client = Client(server)
    uploads = Uploads(client, server)
    kinds: list[Upload] = [uploads.put, uploads.part, uploads.chunked, uploads.form]
    for _ in range(CUTS):
        for kind in kinds:
            request = kind(dice)
            head = request.index(b"\r\n\r\n") + 4
            at = dice.choice((dice.randrange(head, len(request)), len(request) - 1, head))
            send(server, request[:at], is_reset=dice.random() < 0.5)
    time.sleep(0.5)  # for the last of them to be noticed
    answer = client.ok("GET", "/cuts", "list-type=2")
    keys = [
        (item.findtext(f"{NAMESPACE}Key"), item.findtext(f"{NAMESPACE}Size"))
        for item in ElementTree.fromstring(answer.body).iter(f"{NAMESPACE}Contents")
    ]
    assert keys == [("there", "21")], f"AMUR_SEED={SEED}"
    assert client.ok("GET", "/cuts/there").body == b"what was there before"
    answer = client.ok("GET", "/cuts/there", f"uploadId={uploads.upload_id}")
    assert b"<Part>" not in answer.body
    for kind in kinds:  # whole, each of them is taken: they were refused for being cut
        status = answer_to(server, kind(dice))
        assert status.split()[1] in (b"200", b"204"), (kind, status)
    for key in ("new", "there"):
        client.ok("DELETE", f"/cuts/{key}")
    client.ok("DELETE", "/cuts/there", f"uploadId={uploads.upload_id}")
    client.close()
    assert "Traceback" not in server.output(), server.output()
    server.stop()
    assert swept(server.directory) == [], f"AMUR_SEED={SEED}: files are left"
