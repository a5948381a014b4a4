"""Random requests for every endpoint: mostly right, with one or a few things badly wrong.

`Fuzzer(seed)` takes its shapes from the endpoint table, so a new endpoint is fuzzed at once.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5
from random import Random
from typing import NamedTuple
from urllib.parse import quote

from amur.gateway.encoding import parse_query
from amur.gateway.endpoints import ALL, Endpoint
from amur.gateway.presign import encode_chunks, presign_url, sign_request

HOST = "s3.test"
PART_BODY = b"part"
PART_ETAG = md5(PART_BODY).hexdigest()
BUCKETS = ("fuzz", "fuzz", "fuzz", "fuzz", "versioned", "versioned", "public", "absent")
KEYS = ("small", "small", "large", "a/b", "a/../b", "//", "é\u2028", "x" * 1024)

NAMES = (
    "", ".", "..", "../..", "/", "//", "a//b", "a/./b", "%2e%2e", "%252e", "a%2Fb", "\\", "..\\..",
    "a\nb", "a\rb", "\r\nx-evil: 1", "a\tb", "\x01", "\x7f", "\x85", "\ufffd", "\ufffe", "\uffff",
    "\U0010ffff", "<x>&amp;", "]]>", '"', "'", "é", "e\u0301", "\u202e", "日本", "🦭", "a b", "a+b",
    "?", "#", ";", "*", "null", "-", "x" * 1025, "é" * 513, "k" * 3000, "{}", "${filename}",
)  # fmt: skip
"""Text for wherever a client may send text."""

VALUES = (
    *NAMES, "0", "1", "2", "-1", "+1", "1e3", "0x10", "00", "٣", "²", "9" * 9, "9" * 19, "9" * 20,
    "9" * 400, "9" * 5000, "true", "TRUE", "false", "2", "url", "STANDARD", "GLACIER", "private",
    "public-read", "COPY", "REPLACE", "SHA256", "CRC32C", "FULL_OBJECT", "COMPOSITE", "bytes=0-0",
    "bytes=-1", "bytes=5-2", "bytes=99999-", "bytes=0-1,3-4", "bytes=-", "*", '"*"', "W/x", ",,,",
    "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 2026 99999999999999:00:00 GMT",
    "Mon, 01 Jan 0000 00:00:00 +9999", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "Sunday, 06-Nov-94 08:49:37 EST", "Sun Nov  6 08:49:37 1994", "Mon, 99 Foo 1 1:1:1 X", "T",
    "fuzz/small", "/fuzz/small", "fuzz/small?versionId=null", "fuzz/small?versionId=", "fuzz%00/x",
    "fuzz/%", "fuzz/%ff", "%66uzz/small", "a=b", "a=b&a=c", "&&=&", "=", "%", "%zz", "%ff", "%00",
    "AAAAAA==", "AAAAAAAAAAA=", "d41d8cd98f00b204e9800998ecf8427e", "1B2M2Y8AsgTpgAmY7PhCfg==",
    "gzip, aws-chunked", "aws-chunked", "text/html; charset=é", "multipart/form-data; boundary=b",
    "application/json", "ETag,ObjectParts,Checksum,ObjectSize,StorageClass", "Enabled", "http://x",
)  # fmt: skip

PARAMS = (
    "prefix", "delimiter", "marker", "max-keys", "start-after", "continuation-token", "list-type",
    "encoding-type", "fetch-owner", "key-marker", "version-id-marker", "upload-id-marker",
    "max-uploads", "max-parts", "part-number-marker", "partNumber", "uploadId", "versionId",
    "max-buckets", "bucket-region", "response-content-type", "response-expires", "x-id",
    "response-content-disposition", "X-Amz-Acl", "x-amz-meta-q", "X-Tigris-Rename", "X-Amz-Tagging",
)  # fmt: skip

HEADERS = (
    "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "date",
    "content-type", "content-md5", "content-encoding", "content-disposition", "expires", "origin",
    "cache-control", "content-language", "accept", "access-control-request-method", "user-agent",
    "access-control-request-headers", "x-amz-acl", "x-amz-tagging", "x-amz-meta-a", "x-amz-meta-",
    "x-amz-storage-class", "x-amz-copy-source", "x-amz-copy-source-range", "x-amz-object-ownership",
    "x-amz-copy-source-if-match", "x-amz-copy-source-if-modified-since", "x-amz-metadata-directive",
    "x-amz-tagging-directive", "x-amz-checksum-crc32", "x-amz-checksum-crc64nvme", "x-amz-trailer",
    "x-amz-checksum-sha256", "x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-type", "x-amz-checksum-mode", "x-amz-mp-object-size", "x-amz-max-parts",
    "x-amz-object-attributes", "x-amz-part-number-marker", "x-amz-expected-bucket-owner",
    "x-amz-source-expected-bucket-owner", "x-amz-decoded-content-length", "x-tigris-rename",
    "x-tigris-list-metadata", "tigris-force-delete", "x-tigris-enable-object-acl", "x-amz-mfa",
    "x-amz-acl-public-list-objects-enabled", "x-amz-security-token", "x-amz-if-match-size",
    "x-amz-if-match-last-modified-time", "x-amz-server-side-encryption", "transfer-encoding",
    "authorization", "x-amz-date", "x-amz-content-sha256", "content-length", "host",
)  # fmt: skip

PAYLOADS = (
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "0" * 64, "0" * 63, "Z" * 64, "", "UNSIGNED",
)  # fmt: skip

DOCUMENTS = {
    "CreateBucket": (
        "<CreateBucketConfiguration><LocationConstraint>{0}</LocationConstraint>"
        "<Tags><Tag><Key>{1}</Key><Value>{0}</Value></Tag></Tags></CreateBucketConfiguration>",
    ),
    "Tagging": ("<Tagging><TagSet><Tag><Key>{0}</Key><Value>{1}</Value></Tag></TagSet></Tagging>",),
    "Acl": (
        "<AccessControlPolicy><Owner><ID>{2}</ID></Owner><AccessControlList><Grant><Grantee>"
        "<ID>{2}</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
        "</AccessControlPolicy>",
        "<AccessControlPolicy><Owner><ID>{2}</ID></Owner><AccessControlList><Grant><Grantee>"
        "<URI>{0}</URI><ID>{1}</ID></Grantee><Permission>{1}</Permission></Grant>"
        "</AccessControlList></AccessControlPolicy>",
    ),
    "Cors": (
        "<CORSConfiguration><CORSRule><ID>{1}</ID><AllowedOrigin>{0}</AllowedOrigin>"
        "<AllowedMethod>GET</AllowedMethod><AllowedHeader>{1}</AllowedHeader>"
        "<ExposeHeader>{0}</ExposeHeader></CORSRule></CORSConfiguration>",
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>PUT"
        "</AllowedMethod><MaxAgeSeconds>{0}</MaxAgeSeconds></CORSRule></CORSConfiguration>",
    ),
    "OwnershipControls": (
        "<OwnershipControls><Rule><ObjectOwnership>{0}</ObjectOwnership></Rule>"
        "</OwnershipControls>",
        "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
        "</OwnershipControls>",
    ),
    "Versioning": (
        "<VersioningConfiguration><Status>{0}</Status><MfaDelete>{1}</MfaDelete>"
        "</VersioningConfiguration>",
        "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
    ),
    "DeleteObjects": (
        "<Delete><Object><Key>{0}</Key><VersionId>{1}</VersionId></Object><Object><Key>small</Key>"
        "<ETag>{1}</ETag></Object></Delete>",
        "<Delete><Object><Key>{0}</Key></Object><Object><Key>{1}</Key></Object></Delete>",
        "<Delete><Object><Key>{0}</Key><Size>{1}</Size><LastModifiedTime>{1}</LastModifiedTime>"
        "</Object><Quiet>{1}</Quiet></Delete>",
    ),
    "CompleteMultipart": (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{3}</ETag></Part>"
        "</CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{3}</ETag></Part>"
        "<Part><PartNumber>{1}</PartNumber><ETag>{0}</ETag></Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{3}</ETag><ChecksumCRC32>"
        "{1}</ChecksumCRC32></Part></CompleteMultipartUpload>",
    ),
}
"""By what the endpoint's name holds; {2} is an account, {3} the ETag of a part."""

HOSTILE_DOCUMENTS = (
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Tagging>&e;</Tagging>',
    "<a>" * 40 + "{0}" + "</a>" * 40,
    '<?xml version="1.0" encoding="UTF-16"?><Delete/>',
    "<Tagging><TagSet>" + "<Tag/>" * 60 + "</TagSet></Tagging>",
)

LIKELY = {
    "x-amz-copy-source": ("fuzz/small", "/fuzz/a/b", "versioned/small?versionId=null"),
    "x-amz-acl": ("private", "public-read"),
    "x-amz-storage-class": ("STANDARD", "STANDARD_IA"),
    "x-amz-checksum-crc32": ("AAAAAA==",),
    "x-amz-checksum-algorithm": ("SHA256", "CRC32C"),
    "x-amz-checksum-type": ("FULL_OBJECT", "COMPOSITE"),
    "x-amz-object-attributes": ("ETag,ObjectParts,Checksum",),
    "x-amz-metadata-directive": ("REPLACE",),
    "x-amz-tagging-directive": ("REPLACE",),
    "x-amz-tagging": ("a=b", "%F0%9F%A6%AD=1"),
    "x-amz-expected-bucket-owner": ("alice", "root"),
    "x-amz-copy-source-range": ("bytes=0-1",),
    "x-amz-object-ownership": ("ObjectWriter", "BucketOwnerEnforced"),
    "x-tigris-rename": ("true",),
    "origin": ("http://x", "null"),
    "range": ("bytes=0-0", "bytes=-1", "bytes=1-3"),
    "max-keys": ("0", "1", "2"),
    "max-uploads": ("1",),
    "max-parts": ("1",),
    "partNumber": ("1",),
    "encoding-type": ("url",),
    "versionId": ("null",),
    "bucket-region": ("us-east-1",),
    "max-buckets": ("1",),
}
SELDOM = frozenset({
    "x-amz-mfa", "x-amz-security-token", "x-amz-server-side-encryption", "tigris-force-delete",
    "authorization", "content-length", "transfer-encoding", "host", "x-amz-trailer", "uploadId",
    "X-Tigris-Rename", "x-amz-decoded-content-length", "x-amz-content-sha256", "x-amz-date",
})  # fmt: skip
"""What most requests with it founder on."""

FORM_FIELDS = (
    "key", "acl", "tagging", "policy", "success_action_status", "success_action_redirect", "bucket",
    "content-type", "x-amz-meta-a", "x-amz-meta-é", "x-amz-storage-class", "x-amz-tagging",
    "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-checksum-crc32",
    "x-amz-server-side-encryption", "x-amz-security-token", "redirect", "AWSAccessKeyId", "submit",
)  # fmt: skip


class Sent(NamedTuple):
    """A request as the HTTP server would give it to the app."""

    endpoint: str  # that it was made for
    method: str
    path: str  # decoded
    query: str  # raw
    headers: list[tuple[str, str]]
    body: bytes


class Fuzzer:
    """An endless source of requests; the same seed gives the same ones."""

    def __init__(self, seed: int, keys: dict[str, tuple[str, str]], now_s: int) -> None:
        self.dice = Random(seed)
        self.keys = keys
        self.now_s = now_s
        self.uploads: list[tuple[str, str]] = []  # key and id of those in bucket `fuzz`

    def request(self, endpoint: Endpoint | None = None) -> Sent:
        dice = self.dice
        endpoint = endpoint or dice.choice(ALL)
        level = endpoint.level
        bucket = self._bucket() if level != "service" else ""
        key = self._key() if level == "object" else ""
        path = f"/{bucket}" + (f"/{key}" if level == "object" else "")
        headers = {"host": HOST}
        if endpoint.name == "DeleteBucket" and dice.random() < 0.8:
            path = "/absent"
        if dice.random() < 0.1 and bucket:
            headers["host"], path = f"{bucket}.{HOST}", f"/{key}"
        upload_id = dice.choice(("", "00" * 16, "zz", dice.choice(NAMES)))
        if endpoint.sub == "uploadId" and self.uploads and dice.random() < 0.8:
            name, upload_id = dice.choice(self.uploads)
            path = f"/fuzz/{name}"
        query = self._query(endpoint, upload_id)
        body = self._body(endpoint, headers)
        self._add_headers(endpoint, headers, len(body))
        pairs, query = self._signed(endpoint.method, path, query, headers, body)
        sent = Sent(endpoint.name, endpoint.method, path, query, pairs, body)
        return self._broken(sent) if dice.random() < 0.2 else sent

    def _bucket(self) -> str:
        dice = self.dice
        return dice.choice(BUCKETS) if dice.random() < 0.93 else dice.choice(NAMES)

    def _key(self) -> str:
        dice = self.dice
        return dice.choice(KEYS) if dice.random() < 0.7 else dice.choice(NAMES)

    def _query(self, endpoint: Endpoint, upload_id: str) -> str:
        dice = self.dice
        params = {}
        if endpoint.sub:
            value = {"uploadId": upload_id, "list-type": "2"}.get(endpoint.sub)
            params[endpoint.sub] = dice.choice(("", "null", "1")) if value is None else value
        if endpoint.name.startswith("UploadPart"):
            params["partNumber"] = dice.choice(("1", "2", "10000"))
        for _ in range(dice.choice((0, 0, 1, 2, 3))):
            name = dice.choice(PARAMS)
            if name in SELDOM and dice.random() < 0.9:
                continue
            likely = LIKELY.get(name, VALUES) if dice.random() < 0.6 else VALUES
            params[name] = dice.choice(likely)[:2000]
        return "&".join(
            f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in params.items()
        )

    def _body(self, endpoint: Endpoint, headers: dict[str, str]) -> bytes:
        dice = self.dice
        if endpoint.method in ("GET", "HEAD", "DELETE"):
            return b"" if dice.random() < 0.95 else b"unasked"
        if endpoint.name == "PostObject":
            return self._form(headers)
        if endpoint.name in ("PutObject", "UploadPart"):
            return dice.randbytes(dice.choice((0, 1, 10, 5000)))
        fitting = [DOCUMENTS[name] for name in DOCUMENTS if name in endpoint.name]
        if not fitting and dice.random() < 0.8:
            return b""
        choices = fitting[0] if fitting and dice.random() < 0.9 else HOSTILE_DOCUMENTS
        texts = [dice.choice(VALUES).replace("&", "&amp;").replace("<", "&lt;") for _ in "01"]
        texts += [dice.choice(("alice", "root")), PART_ETAG]
        data = dice.choice(choices).format(*texts).encode()
        if dice.random() < 0.2:
            data = self._flipped(data)
        headers["content-md5"] = b64encode(md5(data).digest()).decode()
        return data

    def _form(self, headers: dict[str, str]) -> bytes:
        dice = self.dice
        headers["content-type"] = "multipart/form-data; boundary=b"
        fields = [("key", dice.choice((*KEYS, "up/${filename}")))]
        fields += [
            (dice.choice(FORM_FIELDS), dice.choice(VALUES)) for _ in range(dice.randrange(4))
        ]
        data = b"".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
            for name, text in fields
        )
        name = dice.choice(NAMES).replace('"', "%22").replace("\r", "").replace("\n", "")
        data += f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"'.encode()
        data += b"\r\n\r\nfile\r\n--b--\r\n"
        return self._flipped(data) if dice.random() < 0.2 else data

    def _add_headers(self, endpoint: Endpoint, headers: dict[str, str], size: int) -> None:
        dice = self.dice
        if size or endpoint.method in ("PUT", "POST"):
            headers["content-length"] = str(size)
        if "Copy" in endpoint.name:
            headers["x-amz-copy-source"] = quote(f"{dice.choice(BUCKETS)}/{dice.choice(KEYS)}")
        if endpoint.name == "GetObjectAttributes":
            headers["x-amz-object-attributes"] = "ETag,ObjectSize"
        for _ in range(dice.choice((0, 0, 1, 1, 2, 3))):
            name = dice.choice(HEADERS)
            if name in SELDOM and dice.random() < 0.9:
                continue
            likely = LIKELY.get(name, VALUES) if dice.random() < 0.6 else VALUES
            # what no HTTP parser lets pass as a header's value
            text = dice.choice(likely).translate({10: None, 13: None, 0: None, 1: None, 127: None})
            headers[name] = text.strip()

    def _signed(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> tuple[list[tuple[str, str]], str]:
        dice = self.dice
        who = dice.choice(("root", "root", "root", "root", "alice", "bob", "nobody"))
        if who == "nobody" or (method == "POST" and "form-data" in headers.get("content-type", "")):
            return list(headers.items()), query
        key_id, secret = self.keys[who]
        if dice.random() < 0.15:
            url = presign_url(
                method, f"http://{headers['host']}", path, parse_query(query), key_id=key_id,
                secret=secret, now_s=self.now_s, expires_s=60, signed_headers=headers,
            )  # fmt: skip
            return list(headers.items()), url.partition("?")[2]
        payload = "UNSIGNED-PAYLOAD" if dice.random() < 0.9 else dice.choice(PAYLOADS)
        sent = sign_request(
            method, path, query, headers, key_id=key_id, secret=secret, now_s=self.now_s,
            payload=payload,
        )  # fmt: skip
        return list(sent.items()), query

    def _broken(self, sent: Sent) -> Sent:
        """With something changed after it was signed."""
        dice = self.dice
        way = dice.randrange(8)
        headers = list(sent.headers)
        at = dice.randrange(len(headers))
        name, value = headers[at]
        if way == 0:
            del headers[at]
        elif way == 1:
            headers.append((name, value))
        elif way == 2:
            headers[at] = (name, dice.choice(VALUES).translate({10: None, 13: None}).strip())
        elif way == 3 and value:
            spot = dice.randrange(len(value))
            headers[at] = (name, value[:spot] + chr(dice.randrange(32, 127)) + value[spot + 1 :])
        elif way == 4:
            return sent._replace(query=self._flipped_text(sent.query))
        elif way == 5:
            return sent._replace(
                method=dice.choice(("GET", "PUT", "POST", "OPTIONS", "PATCH", "É"))
            )
        elif way == 6:
            return sent._replace(body=sent.body[: len(sent.body) // 2])
        else:
            chunks = self._flipped(encode_chunks([sent.body or b"x"], trailers={"x": "y"}))
            kept = [each for each in headers if each[0] != "content-length"]
            kept += [("content-length", str(len(chunks))), ("content-encoding", "aws-chunked"),
                     ("x-amz-decoded-content-length", str(len(sent.body) or 1))]  # fmt: skip
            return sent._replace(headers=kept, body=chunks)
        return sent._replace(headers=headers)

    def _flipped(self, data: bytes) -> bytes:
        dice = self.dice
        raw = bytearray(data)
        for _ in range(dice.choice((0, 1, 1, 2, 8))):
            if raw:
                raw[dice.randrange(len(raw))] = dice.randrange(256)
        return bytes(raw[: dice.randrange(len(raw) + 1)]) if dice.random() < 0.2 else bytes(raw)

    def _flipped_text(self, text: str) -> str:
        raw = self._flipped(text.encode() or b"a=b")
        return "".join(chr(each) for each in raw if 32 < each < 127)
