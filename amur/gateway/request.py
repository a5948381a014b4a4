"""One request, parsed once: path, query, headers, bucket and key, within the wire's limits.

Sans-IO. The HTTP server gives the path percent-decoded, with U+FFFD for what was not UTF-8, and
the query raw. Keys are opaque: `//`, `.`, `..` and a trailing slash are part of the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_plus

from amur import limits
from amur.gateway.errors import S3Error

HeaderPairs = list[tuple[str, str]]

OURS = "/-/"
"""Our own pages. A bucket name has at least three characters, so none is shadowed."""

_AUTH_PARAMS = frozenset(
    "x-amz-" + name
    for name in (
        "algorithm", "credential", "date", "expires", "signedheaders", "signature",
        "security-token", "content-sha256",
    )
)  # fmt: skip

_STAYS_IN_QUERY = ("x-amz-checksum-", "x-amz-sdk-checksum-", "x-amz-user-agent")
"""What a presigner says of its own request; the checksum is that of its empty body."""


class Request:
    """Built for every request, good or bad; `parse` finds out which.

    `bucket` and `key` are "" where there is none. Header names are lower-case, a repeated
    header's values are joined by a comma; of a repeated parameter the first counts. `x-amz-*`
    parameters of a presigned URL count as headers.
    """

    __slots__ = (
        "bucket", "client", "has_tigris", "headers", "host", "id", "is_virtual_host", "key",
        "method", "pairs", "params", "path", "raw_query", "scheme",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        raw_query: str,
        pairs: HeaderPairs,
        *,
        scheme: str = "http",
        client: str = "",
        request_id: str = "",
    ) -> None:
        self.method = method
        self.path = path  # decoded
        self.raw_query = raw_query
        self.pairs = pairs  # as sent, for the signature
        self.headers: dict[str, str] = dict(pairs)
        self.params: dict[str, str] = {}
        self.scheme = scheme
        self.client = client  # address of the peer, host:port
        self.id = request_id
        self.host = ""  # without port, lower-case
        self.bucket = ""
        self.key = ""
        self.is_virtual_host = False
        self.has_tigris = False  # some header may be a Tigris extension: worth a look

    @property
    def address(self) -> str:
        """Of the client, without the port."""
        host, colon, port = self.client.rpartition(":")
        address = host.strip("[]") if colon and port.isdigit() else self.client
        return address.removeprefix("::ffff:") if "." in address else address

    @property
    def wants_json(self) -> bool:
        """The client can't read XML."""
        accept = self.headers.get("accept", "")
        return "application/json" in accept and "xml" not in accept

    def parse(self, domains: Sequence[str] = ()) -> None:
        """Check the wire's limits and find parameters, bucket and key.

        `domains` are the hosts whose subdomains are buckets. Raises S3Error; what was found
        until then stays.
        """
        self._check_headers()
        if len(self.path) + len(self.raw_query) > limits.URL_BYTES_MAX:
            raise S3Error("InvalidURI", "The URL is too long.")
        if self.raw_query:
            self._parse_query()
        self._parse_path(domains)

    def _check_headers(self) -> None:
        if len(self.pairs) > limits.HEADERS_MAX:
            raise S3Error("RequestHeaderSectionTooLarge")
        if len(self.headers) != len(self.pairs):
            self._join_repeated()
        headers = self.headers
        names = "".join(headers)
        self.has_tigris = "tigris-" in names
        if "x-amur-" in names and any(name.startswith("x-amur-") for name in headers):
            raise S3Error("InvalidArgument", "x-amur-* headers are for regions among themselves.")
        if len(names) + len("".join(headers.values())) > limits.HEADER_BYTES_MAX:
            raise S3Error("RequestHeaderSectionTooLarge")
        host = headers.get("host")
        if not host or "," in host:
            raise S3Error("InvalidRequest", "Exactly one Host header is needed.")
        if "transfer-encoding" in headers and "content-length" in headers:
            raise S3Error(
                "InvalidRequest", "Content-Length and Transfer-Encoding exclude each other."
            )
        length = headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise S3Error("InvalidRequest", "Content-Length is not a number.")

    def _join_repeated(self) -> None:
        joined: dict[str, str] = {}
        for name, value in self.pairs:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        self.headers = joined

    def _parse_query(self) -> None:
        params = self.params
        hoisted = False
        for piece in self.raw_query.split("&"):
            name, _, value = piece.partition("=")
            if "%" in piece or "+" in piece:
                try:
                    name = unquote_plus(name, errors="strict")
                    value = unquote_plus(value, errors="strict")
                except UnicodeDecodeError:
                    raise S3Error("InvalidURI") from None
            if name and name not in params:
                params[name] = value
                hoisted = hoisted or name == "X-Amz-Signature"
        if hoisted:
            self._unhoist()

    def _unhoist(self) -> None:
        for name, value in self.params.items():
            lower = name.lower()
            if (
                lower.startswith(("x-amz-", "x-tigris-"))
                and lower not in _AUTH_PARAMS
                and not lower.startswith(_STAYS_IN_QUERY)
            ):
                self.headers[lower] = value
                self.has_tigris = self.has_tigris or "tigris-" in lower

    def _parse_path(self, domains: Sequence[str]) -> None:
        path = self.path
        if "\0" in path:
            raise S3Error("InvalidURI", "A key can't hold a NUL.")
        self.host = host_name(self.headers["host"])
        bucket = bucket_of_host(self.host, domains) if domains else ""
        if bucket:
            self.is_virtual_host = True
            self.bucket, self.key = bucket, path[1:]
        else:
            self.bucket, _, self.key = path[1:].partition("/")
            if not path.startswith("/") or (self.key and not self.bucket):
                raise S3Error("InvalidURI", "The URL names no bucket.")
            if self.bucket == "-":
                raise S3Error("NoSuchBucket")
        # at most four bytes a character: the short ones need no count
        if len(self.key) * 4 > limits.KEY_BYTES_MAX < len(self.key.encode()):
            raise S3Error("KeyTooLongError")


def take_out(request: Request, name: str) -> str:
    """Remove a header and answer its value; "" unless there is just one."""
    values = [value for each, value in request.pairs if each == name]
    request.pairs = [pair for pair in request.pairs if pair[0] != name]
    request.headers.pop(name, None)
    return values[0] if len(values) == 1 else ""


def host_name(host: str) -> str:
    """A Host header without its port, in lower case."""
    host = host.lower()
    # an IPv6 address without a port ends with its bracket
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def bucket_of_host(host: str, domains: Sequence[str]) -> str:
    """The bucket of a virtual-host request, "" of a path-style one."""
    for domain in domains:
        if host.endswith("." + domain):
            return host[: -len(domain) - 1]
    return ""
