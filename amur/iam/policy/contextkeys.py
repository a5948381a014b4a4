"""The condition keys: what a policy may ask about a request.

Names compare without case; what follows the slash of a key such as `s3:ExistingObjectTag/team`
is the tag's own key and keeps its case. A context is asked for the form that `lookup` gives.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Context(Protocol):
    """A request, as far as conditions ask. Asked lazily, only for what a statement needs."""

    def values(self, key: str) -> tuple[str, ...] | None:
        """The values of a key (in the form of `lookup`); None or empty when it has none."""


class Key(NamedTuple):
    """`families` are the operators' families that make sense of its values."""

    name: str
    families: tuple[str, ...]
    is_multivalued: bool = False
    is_callers: bool = False  # whoever sends the request chooses it freely
    example: str = ""


_TEXT = ("String",)
_NUMBER = ("Numeric",)

_COMMON = (
    Key("aws:CurrentTime", ("Date",), example="2025-07-01T00:00:00Z"),
    Key("aws:EpochTime", ("Date", "Numeric"), example="1751328000"),
    Key("aws:SourceIp", ("IpAddress",), example="203.0.113.0/24"),
    Key("aws:SecureTransport", ("Bool",), example="true"),
    Key("aws:UserAgent", _TEXT, is_callers=True, example="aws-cli/*"),
    Key("aws:Referer", _TEXT, is_callers=True, example="https://example.com/*"),
    Key("aws:PrincipalArn", ("Arn", "String"), example="arn:aws:iam::ORG:user/tid_example"),
    Key("aws:userid", _TEXT, example="tid_example"),
    Key("aws:username", _TEXT, example="tid_example"),
    Key("aws:PrincipalType", _TEXT, example="User"),
    Key("aws:RequestedRegion", _TEXT, example="fra"),
    Key("aws:PrincipalTag/", _TEXT, example="research"),
)
COMMON = frozenset(key.name for key in _COMMON)
"""Known of every request."""

_S3_COMMON = (
    Key("s3:authType", _TEXT, example="REST-HEADER"),
    Key("s3:signatureAge", _NUMBER, example="600000"),  # milliseconds
    Key("s3:signatureversion", _TEXT, example="AWS4-HMAC-SHA256"),
    Key("s3:TlsVersion", ("Numeric", "String"), example="1.2"),
    Key("s3:x-amz-content-sha256", _TEXT, is_callers=True, example="UNSIGNED-PAYLOAD"),
)
S3_COMMON = COMMON | {key.name for key in _S3_COMMON}
"""Known of every S3 request."""

GRANTS = ("full-control", "read", "read-acp", "write", "write-acp")
"""Of the headers x-amz-grant-..."""

_OF_SOME = (
    Key("s3:prefix", _TEXT, is_callers=True, example="home/"),
    Key("s3:delimiter", _TEXT, is_callers=True, example="/"),
    Key("s3:max-keys", _NUMBER, is_callers=True, example="100"),
    Key("s3:x-amz-acl", _TEXT, is_callers=True, example="private"),
    Key("s3:x-amz-copy-source", _TEXT, is_callers=True, example="bucket/key"),
    Key("s3:x-amz-storage-class", _TEXT, is_callers=True, example="STANDARD"),
    Key("s3:x-amz-metadata-directive", _TEXT, is_callers=True, example="COPY"),
    Key("s3:x-amz-server-side-encryption", _TEXT, is_callers=True, example="AES256"),
    *(
        Key(f"s3:x-amz-grant-{right}", _TEXT, is_callers=True, example='id="ORG"')
        for right in GRANTS
    ),
    Key("s3:x-amz-server-side-encryption-aws-kms-key-id", _TEXT, is_callers=True, example="key"),
    Key(
        "s3:x-amz-server-side-encryption-customer-algorithm",
        _TEXT,
        is_callers=True,
        example="AES256",
    ),
    Key("s3:ExistingObjectTag/", _TEXT, example="public"),
    Key("s3:RequestObjectTag/", _TEXT, is_callers=True, example="public"),
    Key("s3:RequestObjectTagKeys", _TEXT, True, is_callers=True, example="team"),
    Key("s3:VersionId", _TEXT, is_callers=True, example="1751328000000000000"),
    Key("s3:LocationConstraint", _TEXT, is_callers=True, example="fra"),
)

KEYS = (*_COMMON, *_S3_COMMON, *_OF_SOME)
_BY_LOWER = {key.name.lower(): key for key in KEYS}
NAMES = tuple(_BY_LOWER[name].name for name in sorted(_BY_LOWER))


def find(name: str) -> Key | None:
    """The key that is meant by `name`; of `s3:ExistingObjectTag/team` that with the slash."""
    head, slash, tag = name.partition("/")
    if slash and not tag:
        return None
    return _BY_LOWER.get(head.lower() + slash)


def canonical(name: str) -> str:
    """A known key as it is spelled in the documentation."""
    key = find(name)
    assert key is not None, name
    return key.name + name.partition("/")[2]


def lookup(name: str) -> str:
    """What a context is asked for: without case, but for the key of a tag."""
    head, slash, tag = name.partition("/")
    return head.lower() + slash + tag
