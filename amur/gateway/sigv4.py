"""AWS Signature Version 4: who signed a request, and what was promised of its body. Sans-IO.

Source: Amazon S3 documentation, "Authenticating Requests (AWS Signature Version 4)"; codes and
messages are Amazon's. Stricter than Amazon in one thing: every `x-amz-*` and `x-tigris-*` header
must be signed, in a presigned request too, so that the holder of a link can't change what it does.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Container, Sequence
from email.utils import parsedate_tz
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import NamedTuple

from amur.gateway.encoding import QueryPairs, canonical_query, encode_path, parse_query
from amur.gateway.errors import S3Error
from amur.limits import CLOCK_SKEW_SECONDS_MAX, PRESIGN_SECONDS_DEFAULT

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = sha256().hexdigest()


class PayloadMode(Enum):
    """How the body is framed and what vouches for it (x-amz-content-sha256)."""

    UNSIGNED = "UNSIGNED-PAYLOAD"  # also where nothing was said
    SHA256 = "one SHA-256 of the whole body"
    SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class ChunkChain(NamedTuple):
    """What each chunk's signature is made from, beside the one before it."""

    key: bytes
    amz_date: str
    scope: str
    seed: str  # the request's own signature

    def chunk_to_sign(self, previous: str, digest: str) -> str:
        """`previous` is the signature before this chunk's; `digest` the hex SHA-256 of it."""
        first = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.amz_date}\n{self.scope}\n{previous}"
        return f"{first}\n{EMPTY_SHA256}\n{digest}"

    def trailer_to_sign(self, previous: str, lines: str) -> str:
        """`lines` are the trailers, each as `name:value` and a newline."""
        digest = sha256(lines.encode()).hexdigest()
        return f"AWS4-HMAC-SHA256-TRAILER\n{self.amz_date}\n{self.scope}\n{previous}\n{digest}"


class Authentication(NamedTuple):
    """A request whose signature holds, or that has none (kind "anonymous")."""

    kind: str  # "anonymous", "header" or "presigned"
    key_id: str = ""
    payload: PayloadMode = PayloadMode.UNSIGNED
    sha256: str = ""  # lower-case hex, in mode SHA256
    chain: ChunkChain | None = None  # in the signed chunk modes
    service: str = "s3"  # of the credential scope
    signed_s: int = 0  # when, epoch seconds


class _Claim(NamedTuple):
    """What a request says of its signature."""

    key_id: str
    scope: str  # date/region/service/aws4_request
    amz_date: str
    signed: str  # as sent, names joined by `;`
    signature: str


_MODES: dict[str, PayloadMode] = {
    mode.value: mode for mode in PayloadMode if mode is not PayloadMode.SHA256
}
_MODES[EMPTY_SHA256] = PayloadMode.SHA256  # of every GET: known to be a digest
_SIGNED_CHUNKS = (PayloadMode.SIGNED_CHUNKS, PayloadMode.SIGNED_CHUNKS_TRAILER)
_ANONYMOUS = Authentication("anonymous")
NOBODYS_KEY = bytes(32)  # an unknown key id costs what a wrong signature costs

_REGION_CHARS_MAX = 64  # any region will do, but each of them makes an entry of a cache
_GUARDED = ("x-amz-", "x-tigris-", "tigris-")
_UNSIGNED_OK = frozenset((
    "x-amz-content-sha256",  # the canonical request's last line holds it, signed or not
    "x-amz-date",  # and the string to sign this
    "x-amz-cf-id",  # proxies add it
    "x-amz-user-agent",  # tells of the client only
))  # fmt: skip
_UNSIGNED_OK_PRESIGNED = _UNSIGNED_OK - {"x-amz-content-sha256"}

_QUERY_AUTH = frozenset((
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
    "X-Amz-SignedHeaders", "X-Amz-Signature",
))  # fmt: skip
_QUERY_CREDENTIAL = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature")
SIGV2_REFUSED = (
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256. "
    "(This is Signature Version 2: configure signature_version s3v4, or a region such as auto.)"
)


def authenticate(
    method: str,
    path: str,
    raw_query: str,
    headers: Sequence[tuple[str, str]],
    *,
    find_secrets: Callable[[str], Sequence[str]],
    now_s: int,
    max_expires_s: int = PRESIGN_SECONDS_DEFAULT,
    services: Container[str] = ("s3",),
    body_sha256: str = "",
) -> Authentication:
    """Verify a request's signature; raises S3Error.

    `path` is decoded, header names are lower-case and may repeat. `find_secrets` answers
    those that may have signed, none of an unknown key. IAM calls come with service `iam`:
    `services` must name it.
    `body_sha256` is the body's own, for clients that send no x-amz-content-sha256.
    """
    found = dict(headers)
    if len(found) != len(headers):
        found = _joined(headers)
    query = parse_query(raw_query) if raw_query else []
    authorization = found.get("authorization")
    params = dict(query) if query else {}
    if params and not params.keys().isdisjoint(_QUERY_CREDENTIAL):
        if authorization is not None:
            raise S3Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
                "Signature query string parameter or the Authorization header should be specified",
                ArgumentName="Authorization",
            )
        claim = _claim_of_query(query, params, now_s, max_expires_s, services)
        query = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        kind, raw_query = "presigned", ""
        payload = _presigned_payload(params, found, claim.signed)
        unsigned_ok = _UNSIGNED_OK_PRESIGNED.union([name.lower() for name in params])
    elif authorization is not None:
        kind, unsigned_ok = "header", _UNSIGNED_OK
        claim = _claim_of_header(authorization, found, now_s, services)
        payload = found.get("x-amz-content-sha256") or body_sha256
    elif "AWSAccessKeyId" in params or "Signature" in params:
        raise S3Error("InvalidRequest", SIGV2_REFUSED)
    else:
        return _anonymous(found)
    mode = _MODES.get(payload) or _single_sha256(payload)
    key = _verify(method, path, query, raw_query, found, claim, payload, unsigned_ok, find_secrets)
    return Authentication(
        kind,
        claim.key_id,
        mode,
        payload if mode is PayloadMode.SHA256 else "",
        ChunkChain(key, claim.amz_date, claim.scope, claim.signature)
        if mode in _SIGNED_CHUNKS
        else None,
        claim.scope.split("/")[2],
        epoch_of(claim.amz_date),
    )


def _verify(
    method: str,
    path: str,
    query: QueryPairs,
    raw_query: str,
    headers: dict[str, str],
    claim: _Claim,
    payload: str,
    unsigned_ok: frozenset[str],
    find_secrets: Callable[[str], Sequence[str]],
) -> bytes:
    """The signing key, when the signature is its work."""
    names = _signed_names(claim.signed)
    for name in headers.keys() - names:
        if name.startswith(_GUARDED) and name not in unsigned_ok:
            raise _not_signed(name)
    secrets = find_secrets(claim.key_id)
    keys = [signing_key(secret, claim.scope) for secret in secrets] or [NOBODYS_KEY]
    asked = canonical_query(query) if query else ""
    canonical = canonical_request(method, path, asked, headers, claim.signed, payload)
    to_sign = string_to_sign(claim.amz_date, claim.scope, canonical)
    key = _signer(claim.signature, keys, to_sign)
    if key is None and raw_query and raw_query != asked:
        # curl before 8 signs the query as it stands: `?bundle`, not `?bundle=`
        verbatim = canonical_request(method, path, raw_query, headers, claim.signed, payload)
        stands = string_to_sign(claim.amz_date, claim.scope, verbatim)
        key = _signer(claim.signature, keys, stands)
    if not secrets:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=claim.key_id)
    if key is None:
        raise S3Error(
            "SignatureDoesNotMatch",
            AWSAccessKeyId=claim.key_id,
            StringToSign=to_sign,
            CanonicalRequest=canonical,
        )
    return key


def _signer(signature: str, keys: Sequence[bytes], to_sign: str) -> bytes | None:
    """That of `keys` which the signature was made with."""
    for key in keys:
        if is_signature(signature, key, to_sign):
            return key
    return None


def canonical_request(
    method: str, path: str, query: str, headers: dict[str, str], signed: str, payload: str
) -> str:
    """`query` is canonical, `signed` are header names joined by `;`.

    Raises SignatureDoesNotMatch if one is absent."""
    lines = [method, encode_path(path), query]
    try:
        for name in signed.split(";"):
            value = headers[name].strip()
            if "  " in value or "\t" in value:
                value = " ".join(value.split())
            lines.append(f"{name}:{value}")
    except KeyError:
        raise S3Error("SignatureDoesNotMatch", f"The signed header {name} is absent.") from None
    lines += ("", signed, payload)
    return "\n".join(lines)


def string_to_sign(amz_date: str, scope: str, canonical: str) -> str:
    return f"{ALGORITHM}\n{amz_date}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"


@lru_cache(maxsize=4096)
def signing_key(secret: str, scope: str) -> bytes:
    """Derived once for a secret, day, region and service; a rotated secret is another entry."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac_digest(key, part.encode(), "sha256")
    return key


def is_signature(given: str, key: bytes, to_sign: str) -> bool:
    """Whether `given` is the lower-case hex HMAC of `to_sign`, in constant time."""
    expected = hmac_digest(key, to_sign.encode(), "sha256").hex()
    return len(given) == 64 and given.isascii() and compare_digest(expected, given)


@lru_cache(maxsize=256)
def epoch_of(amz_date: str) -> int:
    """Seconds of `YYYYMMDDTHHMMSSZ`; raises ValueError."""
    if len(amz_date) != 16 or amz_date[8] != "T" or amz_date[15] != "Z":
        raise ValueError(amz_date)
    hour, minute, second = int(amz_date[9:11]), int(amz_date[11:13]), int(amz_date[13:15])
    if not amz_date[9:15].isdigit() or hour > 23 or minute > 59 or second > 60:
        raise ValueError(amz_date)
    return _midnight(amz_date[:8]) + hour * 3600 + minute * 60 + second


@lru_cache(maxsize=16)
def _midnight(day: str) -> int:
    if not (day.isascii() and day.isdigit()):
        raise ValueError(day)
    return calendar.timegm(time.strptime(day, "%Y%m%d"))


@lru_cache(maxsize=256)
def _signed_names(signed: str) -> frozenset[str]:
    """The names of a SignedHeaders list: lower-case, ascending, each once, host among them."""
    names = signed.split(";")
    unique = frozenset(names)
    if "" in unique or names != sorted(unique) or signed != signed.lower():
        raise S3Error(
            "AuthorizationHeaderMalformed",
            "The SignedHeaders must be lower-case names in ascending order, each once.",
        )
    if "host" not in unique:
        raise _not_signed("host")
    return unique


def _not_signed(name: str) -> S3Error:
    return S3Error(
        "AccessDenied",
        "There were headers present in the request which were not signed",
        HeadersNotSigned=name,
    )


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]},{value.strip()}" if name in found else value.strip()
    return found


# --- claims ---


def claimed(headers: dict[str, str], params: dict[str, str]) -> tuple[str, str]:
    """The key id and the session token that a request names, "" for none: where to look for its
    secret before anything is verified. Raises S3Error InvalidToken for two tokens."""
    credential = params.get("X-Amz-Credential", "") if params else ""
    token = params.get("X-Amz-Security-Token", "") if params else ""
    if not credential:
        authorization = headers.get("authorization", "")
        at = authorization.find("Credential=")
        credential = authorization[at + 11 :] if at >= 0 else ""
    given = headers.get("x-amz-security-token", "")
    if given and (token or (params and "X-Amz-Signature" in params)):
        raise S3Error("InvalidToken", "The token of a presigned request stands in its query.")
    return credential.partition("/")[0], given or token


def _claim_of_header(
    authorization: str, headers: dict[str, str], now_s: int, services: Container[str]
) -> _Claim:
    signature = authorization[-64:]
    if signature.isalnum() and authorization[-65:-64] == "=":
        credential, signed, rest = _authorization(authorization[:-64])
        signature = rest + signature
    else:
        credential, signed, signature = _authorization(authorization)
    amz_date = headers.get("x-amz-date") or _amz_date(headers.get("date", ""))
    try:
        skew = now_s - epoch_of(amz_date)
    except ValueError:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        ) from None
    if not -CLOCK_SKEW_SECONDS_MAX <= skew <= CLOCK_SKEW_SECONDS_MAX:
        raise S3Error(
            "RequestTimeTooSkewed",
            RequestTime=amz_date,
            ServerTime=amz_date_of(now_s),
            MaxAllowedSkewMilliseconds=str(CLOCK_SKEW_SECONDS_MAX * 1000),
        )
    key_id, scope = split_credential(credential, amz_date, services, _malformed)
    return _Claim(key_id, scope, amz_date, signed, signature)


@lru_cache(maxsize=256)
def _authorization(header: str) -> tuple[str, str, str]:
    """Credential, SignedHeaders and Signature of an Authorization header.

    All of it but the signature is the same in many requests: without that it is parsed once.
    """
    scheme, _, rest = header.partition(" ")
    if scheme != ALGORITHM:
        if scheme == "AWS":
            raise S3Error("InvalidRequest", SIGV2_REFUSED)
        raise S3Error(
            "InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization"
        )
    fields = [field.strip().partition("=") for field in rest.split(",")]
    given = {name: value for name, _, value in fields}
    if len(fields) != 3 or given.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise _malformed(
            "the authorization header requires three components: Credential, SignedHeaders, "
            "and Signature."
        )
    return given["Credential"], given["SignedHeaders"], given["Signature"]


def _claim_of_query(
    query: QueryPairs,
    params: dict[str, str],
    now_s: int,
    max_expires_s: int,
    services: Container[str],
) -> _Claim:
    if sum(name in _QUERY_AUTH for name, _ in query) != 6 or not params.keys() >= _QUERY_AUTH:
        raise _malformed_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, "
            "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
            "X-Amz-Expires parameters, each once."
        )
    if params["X-Amz-Algorithm"] != ALGORITHM:
        raise _malformed_query(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    expires_s = _expires(params["X-Amz-Expires"], max_expires_s)
    amz_date = params["X-Amz-Date"]
    try:
        signed_s = epoch_of(amz_date)
    except ValueError:
        raise _malformed_query(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        ) from None
    if signed_s > now_s + CLOCK_SKEW_SECONDS_MAX:
        raise S3Error("AccessDenied", "Request is not valid yet", ServerTime=amz_date_of(now_s))
    if now_s > signed_s + expires_s or not expires_s:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            Expires=amz_date_of(signed_s + expires_s),
            ServerTime=amz_date_of(now_s),
        )
    key_id, scope = split_credential(
        params["X-Amz-Credential"], amz_date, services, _malformed_query
    )
    signed = params["X-Amz-SignedHeaders"]
    return _Claim(key_id, scope, amz_date, signed, params["X-Amz-Signature"])


def _expires(text: str, max_expires_s: int) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise _malformed_query("X-Amz-Expires should be a number")
    if digits != text:
        raise _malformed_query("X-Amz-Expires must be non-negative")
    if len(digits) > 9 or int(digits) > max_expires_s:
        raise _malformed_query(
            f"X-Amz-Expires must be at most {max_expires_s} seconds ({max_expires_s // 86400} days)"
        )
    return int(digits)


def split_credential(
    credential: str,
    amz_date: str,
    services: Container[str],
    malformed: Callable[[str], S3Error],
) -> tuple[str, str]:
    """Key id and scope of `KEY/YYYYMMDD/REGION/SERVICE/aws4_request`; any region will do."""
    parts = credential.split("/")
    if len(parts) != 5 or not 0 < len(parts[2]) <= _REGION_CHARS_MAX:
        raise malformed(
            "the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    key_id, day, _, service, terminator = parts
    if day != amz_date[:8]:
        raise malformed(
            f'Invalid credential date "{day}". This date is not the same as X-Amz-Date: '
            f'"{amz_date[:8]}".'
        )
    if service not in services:
        raise malformed(f'incorrect service "{service}". This endpoint belongs to "s3".')
    if terminator != "aws4_request":
        raise malformed(f'incorrect terminal "{terminator}". This endpoint uses "aws4_request".')
    return key_id, credential[len(key_id) + 1 :]


def _malformed(why: str) -> S3Error:
    message = f"The authorization header is malformed; {why}"
    return S3Error("AuthorizationHeaderMalformed", message)


def _malformed_query(why: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", why)


def amz_date_of(epoch_s: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch_s))


def _amz_date(http_date: str) -> str:
    """The Date header in SigV4's format, "" when it can't be read."""
    if len(http_date) == 16:
        return http_date
    parsed = parsedate_tz(http_date)
    try:
        return amz_date_of(calendar.timegm(parsed[:9]) - (parsed[9] or 0)) if parsed else ""
    except (ValueError, OverflowError, OSError):  # hours and zones may have any number of digits
        return ""


# --- the body ---


def _presigned_payload(params: dict[str, str], headers: dict[str, str], signed: str) -> str:
    """Of a link nothing is known of the body, unless it was signed."""
    value = params.get("X-Amz-Content-Sha256") or params.get("x-amz-content-sha256")
    if value is None and "x-amz-content-sha256" in signed.split(";"):
        value = headers.get("x-amz-content-sha256")
    return value or UNSIGNED_PAYLOAD


def _single_sha256(value: str) -> PayloadMode:
    if not value:
        raise S3Error(
            "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
        )
    try:
        is_digest = len(value) == 64 and len(bytes.fromhex(value)) == 32
    except ValueError:
        is_digest = False
    if not is_digest or value != value.lower():
        raise S3Error(
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a "
            "valid sha256 value.",
            ArgumentName="x-amz-content-sha256",
        )
    return PayloadMode.SHA256


def _anonymous(headers: dict[str, str]) -> Authentication:
    """Unsigned clients may still chunk their body, or promise its hash."""
    payload = headers.get("x-amz-content-sha256")
    if payload is None:
        if "aws-chunked" in headers.get("content-encoding", ""):
            return Authentication("anonymous", payload=PayloadMode.UNSIGNED_CHUNKS_TRAILER)
        return _ANONYMOUS
    mode = _MODES.get(payload) or _single_sha256(payload)
    if mode in _SIGNED_CHUNKS:
        raise S3Error("AccessDenied", "Signed chunks need a signed request")
    return Authentication(
        "anonymous", payload=mode, sha256=payload if mode is PayloadMode.SHA256 else ""
    )
