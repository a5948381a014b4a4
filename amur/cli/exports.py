"""What is printed of a key that is new: lines that a shell reads, and people paste."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from amur.cli.address import printable

ADMIN = "NamespaceAdmin"
_ONCE = "the secret is shown this once; paste what follows where the key is used"


def export_lines(
    remarks: Iterable[str], endpoint: str, key_id: str, secret: str, token: str = ""
) -> list[str]:
    """Remarks are comments: the whole of it can be sourced."""
    values = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "auto",
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    if token:
        values["AWS_SESSION_TOKEN"] = token
    return [
        *(f"# {printable(text)}" for text in (*remarks, _ONCE)),
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
    ]


def roles_shown(roles: Sequence[Mapping[str, str]], between: str = "\n") -> str:
    """`admin`, or the roles on buckets; "-" of none."""
    if any(each["role"] == ADMIN for each in roles):
        return "admin"
    return between.join(f"{each['bucket']}: {each['role']}" for each in roles) or "-"
