"""Requests signed beforehand, as the bytes that go over the wire."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote

EMPTY = hashlib.sha256(b"").hexdigest()
_SIGNED = "host;x-amz-content-sha256;x-amz-date"


class Signer:
    """AWS Signature Version 4 for one endpoint and one moment (good for 15 minutes)."""

    def __init__(self, host: str, key_id: str, secret: str) -> None:
        self.host = host
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        day = self._date[:8]
        self._scope = f"{day}/auto/s3/aws4_request"
        key = b"AWS4" + secret.encode()
        for part in (day, "auto", "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key
        self._key_id = key_id
        self._credential = f"AWS4-HMAC-SHA256 Credential={key_id}/{self._scope}"

    def request(
        self, method: str, path: str, query: str = "", body: bytes = b"", body_hash: str = ""
    ) -> bytes:
        """A whole HTTP/1.1 request. `path` and `query` are encoded and sorted already."""
        digest = body_hash or (hashlib.sha256(body).hexdigest() if body else EMPTY)
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{self.host}\nx-amz-content-sha256:{digest}\n"
            f"x-amz-date:{self._date}\n\n{_SIGNED}\n{digest}"
        )
        signature = self._sign(canonical)
        target = f"{path}?{query}" if query else path
        length = f"Content-Length: {len(body)}\r\n" if body or method in ("PUT", "POST") else ""
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {self.host}\r\nUser-Agent: amur-bench\r\n"
            f"Accept-Encoding: identity\r\nx-amz-date: {self._date}\r\n"
            f"x-amz-content-sha256: {digest}\r\n{length}Authorization: {self._credential}, "
            f"SignedHeaders={_SIGNED}, Signature={signature}\r\n\r\n"
        )
        return head.encode() + body

    @staticmethod
    def digest(body: bytes) -> str:
        return hashlib.sha256(body).hexdigest()

    def link(self, method: str, path: str, query: str = "") -> str:
        """A presigned URL, good for an hour."""
        values = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self._key_id}/{self._scope}",
            "X-Amz-Date": self._date,
            "X-Amz-Expires": "3600",
            "X-Amz-SignedHeaders": "host",
            **(dict(pair.split("=", 1) for pair in query.split("&")) if query else {}),
        }
        listed = "&".join(f"{name}={quote(values[name], safe='~')}" for name in sorted(values))
        canonical = f"{method}\n{path}\n{listed}\nhost:{self.host}\n\nhost\nUNSIGNED-PAYLOAD"
        return f"http://{self.host}{path}?{listed}&X-Amz-Signature={self._sign(canonical)}"

    def _sign(self, canonical: str) -> str:
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self._date}\n{self._scope}\n{digest}"
        return hmac.digest(self._key, text.encode(), "sha256").hex()
