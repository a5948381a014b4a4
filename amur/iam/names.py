"""What names, roles and tags may be. Raises IamError."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from amur.iam.model import IamError, RoleGrant

NAME_CHARS_MAX = 128  # AWS, of policies; of keys Tigris says nothing
DESCRIPTION_CHARS_MAX = 1000
ROLES_MAX = 100  # on buckets, of one key: more are a policy's business
TAGS_MAX = 50  # AWS
TAG_KEY_CHARS_MAX = 128
TAG_VALUE_CHARS_MAX = 256

KEY_ROLES = ("ReadOnly", "ReadWrite", "Editor", "NamespaceAdmin")
SHARE_ROLES = ("ReadOnly", "ReadWrite", "Editor", "ExternalCollaborator")
ADMIN = "NamespaceAdmin"
EVERY_BUCKET = "*"

_POLICY_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,128}")


def check_policy_name(name: str) -> None:
    if not _POLICY_NAME.fullmatch(name):
        raise IamError(
            "InvalidInput", "A policy's name is 1 to 128 letters, digits and any of +=,.@_-"
        )


def check_description(text: str) -> None:
    if len(text) > DESCRIPTION_CHARS_MAX or not _is_clean(text, "\n\t"):
        raise IamError("InvalidInput", f"A description has up to {DESCRIPTION_CHARS_MAX} chars.")


def check_key_name(name: str) -> None:
    if not 0 < len(name) <= NAME_CHARS_MAX or not _is_clean(name):
        raise IamError("InvalidInput", f"A name has 1 to {NAME_CHARS_MAX} printable characters.")


def check_roles(roles: Sequence[RoleGrant]) -> None:
    if len(roles) > ROLES_MAX:
        raise IamError("LimitExceeded", f"A key has roles on at most {ROLES_MAX} buckets.")
    if len({grant.bucket for grant in roles}) != len(roles):
        raise IamError("InvalidInput", "A key has one role on each bucket.")
    for bucket, role in roles:
        if role not in KEY_ROLES:
            raise IamError("InvalidInput", f"{role!r} is not a role: {', '.join(KEY_ROLES)}.")
        if role == ADMIN and (bucket != EVERY_BUCKET or len(roles) > 1):
            raise IamError("InvalidInput", f"{ADMIN} is given alone, with the bucket *.")
        if not bucket or len(bucket) > 63 or not _is_clean(bucket):
            raise IamError("InvalidInput", f"{bucket!r} is not a bucket's name.")


def check_share_role(role: str) -> None:
    if role not in SHARE_ROLES:
        raise IamError("InvalidInput", f"{role!r} is not a role: {', '.join(SHARE_ROLES)}.")


def check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > TAGS_MAX:
        raise IamError("LimitExceeded", f"There are at most {TAGS_MAX} tags.")
    for key, value in tags.items():
        good = 0 < len(key) <= TAG_KEY_CHARS_MAX and len(value) <= TAG_VALUE_CHARS_MAX
        if not good or not _is_clean(key + value):
            raise IamError("InvalidInput", f"The tag {key!r} is too long or not printable.")


def changed_tags(
    tags: Mapping[str, str], add: Mapping[str, str], remove: Sequence[str]
) -> dict[str, str]:
    found = {name: value for name, value in tags.items() if name not in remove} | dict(add)
    check_tags(found)
    return found


def _is_clean(text: str, besides: str = "") -> bool:
    return all(char.isprintable() or char in besides for char in text)
