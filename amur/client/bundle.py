"""Many objects in one request: `POST /bucket?bundle`, signed with a boto3 client's keys.

with bundle_objects(s3, "photos", ["a.jpg", "b.jpg"]) as bundle:
    for key, data in bundle:
        ...
for key, reason in bundle.skipped:
    ...
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError
from urllib3.exceptions import HTTPError, ProtocolError
from zstandard import ZstdDecompressor, ZstdError

from amur.client.tar import TarError, members

if TYPE_CHECKING:
    from botocore.client import BaseClient

KEYS_MAX = 5000  # in one request
ERRORS_NAME = "__bundle_errors.json"  # the last member, when keys were skipped

Compression = Literal["none", "gzip", "zstd"]
OnError = Literal["skip", "fail"]
Format = Literal["tar", "zip"]

_BUFFER_BYTES = 256 << 10
_DIGITS_MAX = 20  # of a count
_ERROR_BYTES_MAX = 8 << 20  # 5,000 missing keys of 1,024 bytes, with room for their escapes


class BundleError(Exception):
    """The server refused the bundle.

    `status` is HTTP's; `code`, `message` and `request_id` are those of the error document;
    `missing_keys` lists what on_error="fail" could not find (code BundleKeyNotFound).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        missing_keys: Sequence[str] = (),
    ) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.missing_keys = list(missing_keys)


class BundleBroken(BundleError):
    """The stream ended too early, or is not what was announced; asking again may help."""


class Skipped(NamedTuple):
    """A key that is not in the bundle; `reason` is an S3 error code, such as NoSuchKey."""

    key: str
    reason: str


class Bundle:
    """One answer. Iterate it for (key, bytes), or read() the archive as it was sent.

    The counts are None where the server does not tell them before the stream. A member is held
    whole in memory; for huge ones give the bundle to tarfile.open(fileobj=bundle, mode="r|*").
    `skipped` is complete when the iteration has ended.
    """

    def __init__(self, headers: Mapping[str, str], raw: Any) -> None:
        """`raw` is the urllib3 response, its body unread."""
        self.content_type = headers.get("content-type", "application/x-tar")
        self.object_count = _count(headers, "x-tigris-bundle-count")
        self.bundle_bytes = _count(headers, "x-tigris-bundle-bytes")
        self.skipped_count = _count(headers, "x-tigris-bundle-skipped")
        self.request_id = headers.get("x-amz-request-id", "")
        self.skipped: list[Skipped] = []
        self._raw = raw
        self._left = _count(headers, "content-length")  # botocore has urllib3 not check it
        self._ended = False

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back, or drop it when the stream was not read to its end."""
        if not self._ended:
            self._raw.close()
        self._raw.release_conn()

    @property
    def closed(self) -> bool:
        return bool(self._raw.closed)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the archive as sent: compressed, if so asked. Raises BundleBroken."""
        if self._ended or not size:
            return b""
        try:
            # read() waits for all of `size`; read1() (urllib3 2) gives what is there
            once = getattr(self._raw, "read1", self._raw.read)
            piece: bytes = (self._raw.read() if size < 0 else once(size)) or b""
        except (HTTPError, OSError) as error:
            why = error.args[0] if isinstance(error, ProtocolError) else error
            raise self._broken(f"the connection broke: {why}") from error
        if self._left is not None:
            self._left -= len(piece)
        if not piece or size < 0:
            if self._left:
                raise self._broken(f"{self._left} bytes are missing")
            self._ended = True
        return piece

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """(key, body) in the order of the request. Raises BundleBroken, never ends short."""
        archive = self._archive()
        found = 0
        manifest = b""
        try:
            for key, body in members(archive.read):
                if manifest:  # it was not the last: a user's object
                    found += 1
                    yield ERRORS_NAME, manifest
                    manifest = b""
                if key == ERRORS_NAME and found == (self.object_count or found):
                    manifest = body
                    continue
                found += 1
                yield key, body
            while archive.read(_BUFFER_BYTES):  # to the end of the answer: it proves completeness
                pass
            if manifest:
                self.skipped = skipped_keys(manifest)
        except (TarError, zlib.error, EOFError, gzip.BadGzipFile, ZstdError) as error:
            raise self._broken(str(error)) from error
        if self.object_count not in (None, found):
            raise self._broken(f"{found} of {self.object_count} objects came")
        if self.skipped_count not in (None, len(self.skipped)):
            raise self._broken(f"{self.skipped_count} keys were skipped, but not listed")

    def _archive(self) -> io.BufferedReader:
        """The tar, decompressed."""
        source: Any = _Readable(self)
        match self.content_type.partition(";")[0].strip():
            case "application/gzip" | "application/x-gzip":
                source = gzip.GzipFile(fileobj=io.BufferedReader(source, _BUFFER_BYTES))
            case "application/zstd":
                source = ZstdDecompressor().stream_reader(source, read_across_frames=True)
            case "application/zip":
                raise ValueError("the members of a zip are not iterated: read() it")
        return io.BufferedReader(source, _BUFFER_BYTES)

    def _broken(self, message: str) -> BundleBroken:
        return BundleBroken(message, status=200, request_id=self.request_id)


class _Readable(io.RawIOBase):
    """A bundle for io.BufferedReader."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._bundle.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def bundle_objects(
    s3_client: BaseClient,
    bucket: str,
    keys: Sequence[str],
    *,
    compression: Compression = "none",
    on_error: OnError = "skip",
    format: Format = "tar",  # noqa: A002 - the header's name
) -> Bundle:
    """The objects of `keys` (at most 5,000), in that order, as one stream; close it after use.

    on_error="skip" leaves out what is missing or may not be read and lists it in `skipped`;
    "fail" raises BundleError before anything is sent. Uses the client's keys, region, endpoint,
    TLS settings, proxies, timeouts and connections, but not its retries: one request is sent.

    Raises ValueError for what no server would accept, BundleError for what this one refused, and
    botocore's HTTPClientError when it can't be reached.
    """
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise TypeError("keys are a list of strings")
    if not bucket or not 0 < len(keys) <= KEYS_MAX:
        raise ValueError(f"a bundle is of a bucket and of 1 to {KEYS_MAX} keys")
    for value, known in ((compression, Compression), (on_error, OnError), (format, Format)):
        if value not in get_args(known):
            raise ValueError(f"{value!r} is none of {', '.join(get_args(known))}")
    response = _send(
        s3_client,
        f"/{quote(bucket)}?bundle=",
        json.dumps({"keys": list(keys)}, ensure_ascii=False).encode(),
        {
            "Content-Type": "application/json",
            "X-Tigris-Bundle-Format": format,
            "X-Tigris-Bundle-Compression": compression,
            "X-Tigris-Bundle-On-Error": on_error,
        },
    )
    if response.status_code != 200:
        raise _refusal(response.status_code, response.headers, response.raw)
    return Bundle(response.headers, response.raw)


def _send(s3_client: BaseClient, target: str, body: bytes, headers: dict[str, str]) -> Any:
    """The answer to one signed POST, its body unread.

    The only place that reaches into botocore: for the client's credentials and its HTTP session.
    """
    client = cast(Any, s3_client)
    credentials = client._get_credentials()
    if credentials is None:
        raise NoCredentialsError
    request = AWSRequest(
        "POST", client.meta.endpoint_url.rstrip("/") + target, headers, body, stream_output=True
    )
    region = client.meta.region_name or "auto"
    S3SigV4Auth(credentials.get_frozen_credentials(), "s3", region).add_auth(request)
    return client._endpoint.http_session.send(request.prepare())


def _refusal(status: int, headers: Mapping[str, str], raw: Any) -> BundleError:
    text = ""
    try:
        text = raw.read(_ERROR_BYTES_MAX).decode("utf-8", "replace")
    except (HTTPError, OSError):
        pass  # the status says enough
    finally:
        raw.close()
    said = {name: unescape(value) for name, value in _element(text)}
    return BundleError(
        said.get("Message", text[:200] or f"status {status}"),
        status=status,
        code=said.get("Code", ""),
        request_id=said.get("RequestId", headers.get("x-amz-request-id", "")),
        missing_keys=[unescape(value) for name, value in _element(text) if name == "Key"],
    )


_element = re.compile(r"<(Code|Message|RequestId|Key)>([^<]*)</\1>").findall
"""Of S3's error document: flat, and read by no XML parser that could be tricked."""


def _count(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return int(value) if value.isdecimal() and len(value) <= _DIGITS_MAX else None


def skipped_keys(manifest: bytes) -> list[Skipped]:
    """What ERRORS_NAME tells. Raises TarError."""
    try:
        listed = json.loads(manifest)["skipped"]
        return [Skipped(str(each["key"]), str(each["reason"])) for each in listed]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TarError(f"{ERRORS_NAME} can't be read: {error!r}") from error
