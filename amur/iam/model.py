"""What there is in the directory: typed views of entries (`docs/decisions/0005-permissions.md`)."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

ROOT_ORGANIZATION = "root"
NANOSECONDS = 1_000_000_000


class IamError(Exception):
    """`code` is one of the AWS IAM API's error codes; the message is for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoSuchEntity(IamError):
    def __init__(self, message: str) -> None:
        super().__init__("NoSuchEntity", message)


class Status(Enum):
    ACTIVE = "active"
    INACTIVE = "inactive"


class MemberRole(Enum):
    OWNER = "Owner"
    ADMIN = "Admin"
    MEMBER = "Member"


class Actor(NamedTuple):
    """Who makes a change, for the audit and as creator. `address` is the client's, without port."""

    organization: str
    key_id: str
    address: str = ""
    request_id: str = ""


class RoleGrant(NamedTuple):
    """A role on a bucket, or on all of the organization's with bucket `*`."""

    bucket: str
    role: str


class Organization(NamedTuple):
    id: str
    name: str
    slug: str = ""
    created_ns: int = 0  # 0: of the settings


class AccessKey(NamedTuple):
    """`secret` and `previous_secret` are sealed under the master key."""

    id: str
    organization: str
    name: str
    status: Status
    creator: str  # access key id
    created_ns: int
    expires_ns: int  # 0: never
    roles: tuple[RoleGrant, ...]
    member: str  # id, "" of none: the key has the member's rights
    tags: dict[str, str]
    secret: bytes
    previous_secret: bytes  # b"" of none
    previous_until_ns: int
    last_used_ns: int = 0  # of any region, some minutes late
    last_used_service: str = ""
    last_used_region: str = ""


class PolicyVersion(NamedTuple):
    id: str  # v1, v2, ...
    document: str  # JSON as it was given
    created_ns: int


class Policy(NamedTuple):
    """`id` is random; attachments name it. `default` is the version in force."""

    id: str
    organization: str
    name: str
    description: str
    created_ns: int
    changed_ns: int
    default: str
    versions: tuple[PolicyVersion, ...]
    tags: dict[str, str]

    @property
    def arn(self) -> str:
        return policy_arn(self.organization, self.name)

    @property
    def document(self) -> str:
        """Of the version in force."""
        return self.version(self.default).document

    def version(self, version_id: str) -> PolicyVersion:
        for each in self.versions:
            if each.id == version_id:
                return each
        raise NoSuchEntity(f"Policy {self.name} has no version {version_id}.")


class Member(NamedTuple):
    id: str
    organization: str
    email: str
    name: str
    role: MemberRole
    is_invited: bool  # has no key yet
    created_ns: int


class Team(NamedTuple):
    id: str
    organization: str
    name: str
    description: str
    members: tuple[str, ...]
    created_ns: int
    changed_ns: int


class Share(NamedTuple):
    """A role on a bucket for a key of another organization. `bucket_id` is the bucket's that was
    shared: one of that name may be another one now."""

    bucket: str
    bucket_id: bytes
    organization: str  # the bucket's, when it was shared
    key_id: str
    role: str
    created_ns: int


class Event(NamedTuple):
    """An administrative change, or refused requests that are alike (so many `times`)."""

    id: str
    time_ns: int
    organization: str
    key_id: str  # "" of the anonymous
    action: str
    resource: str
    decision: str  # Allowed or Denied
    reason: str
    address: str
    region: str
    request_id: str
    times: int
    detail: dict[str, Any]


def policy_arn(organization: str, name: str) -> str:
    return f"arn:aws:iam::{organization}:policy/{name}"


def key_arn(organization: str, key_id: str) -> str:
    """Keys stand where AWS has users."""
    return f"arn:aws:iam::{organization}:user/{key_id}"


def split_policy_arn(arn: str) -> tuple[str, str]:
    """Organization and name, which no policy has if it holds a slash. Raises IamError."""
    parts = arn.split(":", 5)
    kind, _, name = parts[-1].partition("/")
    is_one = len(parts) == 6 and parts[:4] == ["arn", "aws", "iam", ""] and kind == "policy"
    if not is_one or not parts[4] or not name:
        raise IamError("InvalidInput", f"{arn} is not a policy's ARN: arn:aws:iam::ORG:policy/NAME")
    return parts[4], name
