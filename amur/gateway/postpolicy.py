"""POST Object: an HTML form as it comes in, and what its signed policy allows. Sans-IO.

    reader = FormReader(content_type)
    feed until reader.fields is not None        # everything before the file
    upload = authorize(reader, bucket, ...)     # signature and policy, before a byte is stored
    feed the rest; reader.finish()              # sizes, and that the file was whole

Source: Amazon S3 documentation, "Browser-Based Uploads Using POST" and "POST Policy". The bucket
is that of the URL: a form field `bucket` is tolerated and means nothing. Fields behind the file
are ignored.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from amur.gateway.errors import S3Error
from amur.gateway.sigv4 import (
    ALGORITHM,
    NOBODYS_KEY,
    SIGV2_REFUSED,
    epoch_of,
    is_signature,
    signing_key,
    split_credential,
)
from amur.limits import FORM_BYTES_MAX, FORM_FIELD_BYTES_MAX, FORM_FIELDS_MAX, PUT_BYTES_MAX

_SIGNATURE_FIELDS = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_UNCONDITIONAL = frozenset(("policy", "x-amz-signature", "bucket"))
_NOT_SUBSTITUTED = frozenset(("policy", *_SIGNATURE_FIELDS))
_FILENAME = "${filename}"
_CONTENT_TYPE_CHARS_MAX = 1024
"""A boundary has at most 70; what is parsed by pattern is kept short."""


class FormReader:
    """Fields first, then the file, of a multipart/form-data body that comes in any pieces."""

    def __init__(self, content_type: str) -> None:
        if len(content_type) > _CONTENT_TYPE_CHARS_MAX:
            raise S3Error("MalformedPOSTRequest", "The Content-Type is too long.")
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data":
            raise S3Error(
                "PreconditionFailed",
                "Bucket POST must be of the enclosure-type multipart/form-data",
            )
        try:
            self._parser = PushMultipartParser(
                options.get("boundary", ""), max_segment_count=FORM_FIELDS_MAX + 1, strict=True
            )
        except MultipartError:
            raise S3Error("MalformedPOSTRequest", "The boundary is missing or wrong.") from None
        self.fields: dict[str, str] | None = None  # lower-case names; set when the file begins
        self.filename = ""
        self.size = 0  # bytes of the file so far
        self._size_min, self._size_max = 0, PUT_BYTES_MAX
        self._found: dict[str, str] = {}
        self._name = ""  # of the current field
        self._value: list[bytes] = []
        self._value_size = 0
        self._total = 0  # bytes of all values so far
        self._is_complete = False

    def limit(self, size_min: int, size_max: int) -> None:
        """Bound the file's size: too large is raised as it comes, too small by `finish`."""
        self._size_min, self._size_max = size_min, min(size_max, PUT_BYTES_MAX)
        self._check_size()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of the file that `data` holds; must be exhausted. Raises S3Error."""
        if self._is_complete or not data:
            return
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    if self.fields is not None:
                        self._is_complete = True
                        return
                    self._end_field()
                elif self.fields is not None:
                    self.size += len(event)
                    self._check_size()
                    yield bytes(event)
                else:
                    self._add_to_field(event)
        except ParserLimitReached:
            raise S3Error("MaxPostPreDataLengthExceededError") from None
        except MultipartError as error:
            raise S3Error("MalformedPOSTRequest", str(error)) from None

    def finish(self) -> None:
        """At the end of the body."""
        if self.fields is None:
            raise S3Error(
                "IncorrectNumberOfFilesInPostRequest",
                "POST requires exactly one file upload per request.",
            )
        if not self._is_complete:
            raise S3Error("MalformedPOSTRequest", "The form ended before its last boundary.")
        if self.size < self._size_min:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(self.size),
                MinSizeAllowed=str(self._size_min),
            )

    def _begin(self, segment: MultipartSegment) -> None:
        self._name = (segment.name or "").lower()
        if self._name == "file":
            self.fields = self._found
            # Some browsers send the whole path.
            self.filename = (segment.filename or "").replace("\\", "/").rpartition("/")[2]
        elif self._name in self._found:
            raise S3Error("InvalidArgument", "A form field is repeated", ArgumentName=self._name)
        elif len(self._found) == FORM_FIELDS_MAX:
            raise S3Error("MaxPostPreDataLengthExceededError")

    def _add_to_field(self, piece: bytes | bytearray) -> None:
        self._value_size += len(piece)
        self._total += len(piece)
        if self._value_size > FORM_FIELD_BYTES_MAX or self._total > FORM_BYTES_MAX:
            raise S3Error("MaxPostPreDataLengthExceededError")
        self._value.append(bytes(piece))

    def _end_field(self) -> None:
        try:
            self._found[self._name] = b"".join(self._value).decode()
        except UnicodeDecodeError:
            raise S3Error("MalformedPOSTRequest", f"{self._name} is not UTF-8") from None
        self._value, self._value_size = [], 0

    def _check_size(self) -> None:
        if self.size > self._size_max:
            raise S3Error("EntityTooLarge", MaxSizeAllowed=str(self._size_max))


class PostUpload(NamedTuple):
    """What a form asks for, and may."""

    key_id: str  # "" is anonymous: no policy, no signature
    key: str
    headers: dict[str, str]  # as a PUT would send them, x-amz-acl and x-amz-meta-* among them
    tagging: str  # an XML document, or ""
    success_status: int  # 200, 201 or 204
    success_redirect: str  # an http or https URL, or ""


class _Condition(NamedTuple):
    operator: str  # "eq" or "starts-with"
    field: str  # lower-case
    value: str


class _Policy(NamedTuple):
    expires_s: float
    conditions: list[_Condition]
    size_min: int
    size_max: int


def authorize(
    reader: FormReader, bucket: str, *, find_secrets: Callable[[str], Sequence[str]], now_s: int
) -> PostUpload:
    """Hold a form against its signature and policy, once its fields are there.

    Bounds the reader's file by content-length-range. Raises S3Error.
    """
    assert reader.fields is not None
    fields = dict(reader.fields)
    key_id = _verify(fields, find_secrets)
    for name, value in fields.items():
        if _FILENAME in value and name not in _NOT_SUBSTITUTED:
            grown = len(value) + value.count(_FILENAME) * len(reader.filename)
            if grown > FORM_FIELD_BYTES_MAX:
                raise S3Error("MaxPostPreDataLengthExceededError")
            fields[name] = value.replace(_FILENAME, reader.filename)
    if "key" not in fields:
        raise _missing("key")
    if not fields["key"]:
        raise S3Error("UserKeyMustBeSpecified")
    if key_id:
        policy = _policy_of(fields["policy"])
        _check(policy, fields | {"bucket": bucket}, now_s)
        reader.limit(policy.size_min, policy.size_max)
    return _upload(key_id, fields)


def _verify(fields: dict[str, str], find_secrets: Callable[[str], Sequence[str]]) -> str:
    """The key id whose signature the policy bears, "" of a form with neither."""
    if "awsaccesskeyid" in fields or "signature" in fields:
        raise S3Error("InvalidRequest", SIGV2_REFUSED)
    if "policy" not in fields and not any(name in fields for name in _SIGNATURE_FIELDS):
        return ""
    for name in ("policy", *_SIGNATURE_FIELDS):
        if not fields.get(name):
            raise _missing(name)
    if fields["x-amz-algorithm"] != ALGORITHM:
        raise _invalid("x-amz-algorithm", f"must be {ALGORITHM}")
    amz_date = fields["x-amz-date"]
    try:
        epoch_of(amz_date)
    except ValueError:
        raise _invalid("x-amz-date", "must be in the form YYYYMMDDTHHMMSSZ") from None
    key_id, scope = split_credential(
        fields["x-amz-credential"],
        amz_date,
        ("s3",),
        lambda why: _invalid("x-amz-credential", why),
    )
    secrets = find_secrets(key_id)
    keys = [signing_key(secret, scope) for secret in secrets] or [NOBODYS_KEY]
    holds = any(is_signature(fields["x-amz-signature"], key, fields["policy"]) for key in keys)
    if not secrets:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=key_id)
    if not holds:
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=key_id)
    return key_id


def claimed(fields: dict[str, str]) -> tuple[str, str]:
    """The key id and session token that a form names, "" for none."""
    credential = fields.get("x-amz-credential", "")
    return credential.partition("/")[0], fields.get("x-amz-security-token", "")


def signed_at(fields: dict[str, str]) -> int:
    """When a form that was verified was signed, epoch seconds; 0 of an anonymous one."""
    return epoch_of(fields["x-amz-date"]) if fields.get("x-amz-signature") else 0


def _policy_of(encoded: str) -> _Policy:
    try:
        document = msgspec.json.decode(b64decode("".join(encoded.split()), validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _bad_policy("it is not base64 of a JSON document.") from None
    if not isinstance(document, dict):
        raise _bad_policy("it is not a JSON object.")
    listed = document.get("conditions")
    if not isinstance(listed, list):
        raise _bad_policy("it has no list of conditions.")
    if unknown := document.keys() - {"expiration", "conditions"}:
        raise _bad_policy(f"Unexpected: '{min(unknown)}'")
    expires_s = _expiration(document.get("expiration"))
    conditions: list[_Condition] = []
    size_min, size_max = 0, PUT_BYTES_MAX
    for each in listed:
        if isinstance(each, dict) and each:
            conditions += [_condition("eq", name, value) for name, value in each.items()]
        elif not isinstance(each, list) or len(each) != 3 or not isinstance(each[0], str):
            raise _bad_policy("a condition is neither an object nor a list of three.")
        elif each[0].lower() == "content-length-range":
            size_min = max(size_min, _size(each[1]))
            size_max = min(size_max, _size(each[2]))
        elif each[0].lower() in ("eq", "starts-with"):
            if not isinstance(each[1], str) or not each[1].startswith("$"):
                raise _bad_policy("the field of a condition does not begin with `$`.")
            conditions.append(_condition(each[0].lower(), each[1][1:], each[2]))
        else:
            raise _bad_policy(f"unknown operator '{each[0][:40]}'")
    return _Policy(expires_s, conditions, size_min, size_max)


def _condition(operator: str, field: object, value: object) -> _Condition:
    if not isinstance(field, str) or isinstance(value, bool) or not isinstance(value, str | int):
        raise _bad_policy("the value of a condition is not a string.")
    return _Condition(operator, field.lower(), str(value))


def _size(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise _bad_policy("content-length-range needs two numbers.")


def _expiration(text: object) -> float:
    """Epoch seconds of `2026-12-30T12:00:00.000Z`."""
    if isinstance(text, str) and len(text) >= 20 and text[10] == "T" and text[-1] == "Z":
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            pass
    raise _bad_policy("Invalid 'expiration' value.")


def _check(policy: _Policy, fields: dict[str, str], now_s: int) -> None:
    if policy.expires_s <= now_s:
        raise S3Error("AccessDenied", "Invalid according to Policy: Policy expired.")
    for condition in policy.conditions:
        if not _holds(condition, fields):
            operator, field, value = condition
            raise S3Error(
                "AccessDenied",
                "Invalid according to Policy: Policy Condition failed: "
                f'["{operator}", "${field}", "{value}"]',
            )
    covered = _UNCONDITIONAL.union([condition.field for condition in policy.conditions])
    for name in fields:
        if name not in covered and not name.startswith("x-ignore-"):
            raise S3Error(
                "AccessDenied", f"Invalid according to Policy: Extra input fields: {name}"
            )


def _holds(condition: _Condition, fields: dict[str, str]) -> bool:
    operator, field, value = condition
    if operator == "eq":
        return fields.get(field) == value
    given = fields.get(field, "")
    if field == "content-type":  # a list, of which each must hold
        return all(part.strip().startswith(value) for part in given.split(","))
    return given.startswith(value)


def _upload(key_id: str, fields: dict[str, str]) -> PostUpload:
    headers = {
        name: value
        for name, value in fields.items()
        if name not in _NOT_SUBSTITUTED and not name.startswith("x-ignore-")
    }
    key = headers.pop("key")
    for name in ("bucket", "x-amz-security-token"):
        headers.pop(name, None)
    if "acl" in headers:
        headers["x-amz-acl"] = headers.pop("acl")
    tagging = headers.pop("tagging", "")
    status = headers.pop("success_action_status", "")
    older = headers.pop("redirect", "")
    redirect = headers.pop("success_action_redirect", "") or older
    return PostUpload(
        key_id,
        key,
        headers,
        tagging,
        int(status) if status in ("200", "201") else 204,
        redirect if _is_url(redirect) else "",
    )


def _is_url(text: str) -> bool:
    """Whether it can be a Location: what can't is treated as if it were not there."""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _missing(name: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the "
        "order of the fields.",
        ArgumentName=name,
        ArgumentValue="",
    )


def _invalid(name: str, why: str) -> S3Error:
    return S3Error("InvalidArgument", f"{name}: {why}", ArgumentName=name)


def _bad_policy(why: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {why}")
