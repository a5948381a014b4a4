"""ACLs as XML: canned ones written out as grants, and grants that equal a canned one read back.

Sans-IO. Amur keeps canned ACLs only: grants that equal none of them are NotImplemented.
"""

from __future__ import annotations

from collections.abc import Callable

from amur.gateway import xml
from amur.gateway.context import Response
from amur.gateway.errors import S3Error
from amur.gateway.responses import owner_tag, xml_response
from amur.gateway.xml import Markup, Node, tag

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_GROUPS = "http://acs.amazonaws.com/groups/"
ALL_USERS = _GROUPS + "global/AllUsers"
AUTHENTICATED_USERS = _GROUPS + "global/AuthenticatedUsers"
_KNOWN_GROUPS = frozenset({ALL_USERS, AUTHENTICATED_USERS, _GROUPS + "s3/LogDelivery"})
_PERMISSIONS = frozenset({"FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"})

Grants = frozenset[tuple[str, str]]
"""(grantee: a group's URI or an account, permission)."""


def grants(acl: str, owner: str, bucket_owner: str) -> list[tuple[str, str]]:
    """What a canned ACL grants, the owner's right last as in Amazon's answers."""
    given = []
    if acl in ("public-read", "public-read-write"):
        given.append((ALL_USERS, "READ"))
    if acl == "public-read-write":
        given.append((ALL_USERS, "WRITE"))
    if acl == "authenticated-read":
        given.append((AUTHENTICATED_USERS, "READ"))
    if acl == "bucket-owner-read" and bucket_owner != owner:
        given.append((bucket_owner, "READ"))
    if acl == "bucket-owner-full-control" and bucket_owner != owner:
        given.append((bucket_owner, "FULL_CONTROL"))
    return [*given, (owner, "FULL_CONTROL")]


_READ_BACK = (
    "private", "public-read", "public-read-write", "authenticated-read", "bucket-owner-read",
    "bucket-owner-full-control",
)  # fmt: skip


def response(acl: str, owner: str, bucket_owner: str) -> Response:
    """The answer to GET ?acl."""
    rows = [_grant(who, permission) for who, permission in grants(acl, owner, bucket_owner)]
    return xml_response("AccessControlPolicy", owner_tag(owner), tag("AccessControlList", *rows))


def _grant(grantee: str, permission: str) -> Markup:
    if grantee.startswith(_GROUPS):
        kind, inner = "Group", tag("URI", grantee)
    else:
        kind = "CanonicalUser"
        inner = Markup(tag("ID", grantee) + tag("DisplayName", grantee))
    opening = f'<Grantee xmlns:xsi="{_XSI}" xsi:type="{kind}">'
    return tag("Grant", Markup(f"{opening}{inner}</Grantee>"), tag("Permission", permission))


def canned(data: bytes, owner: str, bucket_owner: str, is_account: Callable[[str], bool]) -> str:
    """The canned ACL that an AccessControlPolicy document amounts to."""
    if not data.strip():
        raise S3Error("MissingSecurityHeader", "Your request was missing a required header")
    root = xml.parse(data, "AccessControlPolicy")
    listed = root.find("AccessControlList")
    told = root.find("Owner")
    if listed is None or told is None:
        raise S3Error("MalformedACLError")
    if told.value("ID") != owner:
        raise S3Error("AccessDenied")
    asked = frozenset(_read_grant(node) for node in listed.all("Grant"))
    for acl in _READ_BACK:
        # the owner keeps full control whatever is written, as its rights do not come from the ACL
        if frozenset(grants(acl, owner, bucket_owner)) == asked | {(owner, "FULL_CONTROL")}:
            return acl
    for who, _ in asked:
        if who not in _KNOWN_GROUPS and not is_account(who):
            raise S3Error(
                "InvalidArgument", "Invalid id", ArgumentName="CanonicalUser/ID", ArgumentValue=who
            )
    raise S3Error("NotImplemented", "Only grants that equal a canned ACL are implemented.")


def _read_grant(node: Node) -> tuple[str, str]:
    grantee = node.find("Grantee")
    permission = node.value("Permission")
    if grantee is None or permission not in _PERMISSIONS:
        raise S3Error("MalformedACLError")
    if grantee.find("EmailAddress"):
        raise S3Error("UnresolvableGrantByEmailAddress")
    uri = grantee.value("URI")
    if uri and uri not in _KNOWN_GROUPS:
        raise S3Error("InvalidArgument", "Invalid group uri", ArgumentValue=uri)
    who = uri or grantee.value("ID")
    if not who:
        raise S3Error("MalformedACLError")
    return who, permission
