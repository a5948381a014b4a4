"""Commands that administer access: the query protocol in its JSON flavour, signed by botocore.

`iam_command(app, "list")` makes a command of `def list_(iam: IamRemote, ...)`, as `command` does of
(remote, ...), with the option `--organization`. Members and organizations: on the IAM port only.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import msgspec
import typer

from amur.cli import connection
from amur.cli.remote import CONNECT_SECONDS, READ_SECONDS, Command, Problem, Remote, command

if TYPE_CHECKING:
    from botocore.httpsession import URLLib3Session

    from amur.cli.output import Output

SERVICE = "iam"  # of the credential scope
NAMESPACE_HEADER = "X-Tigris-Namespace"
KEY_PREFIX = "tid_"
PAGE = 1000
_FORM = "application/x-www-form-urlencoded"
_IAM_ENDPOINTS = ("AMUR_IAM_ENDPOINT", "AWS_ENDPOINT_URL_IAM")
_SAID_ALONE = frozenset({"AccessDenied", "MalformedPolicyDocument", "NoSuchEntity"})
"""Codes that tell nothing beyond the message."""

Organization = Annotated[
    str,
    typer.Option(
        "--organization", metavar="ORG", envvar="AMUR_ORGANIZATION", show_envvar=False,
        help="Another than one's own, for the root key [AMUR_ORGANIZATION].",
    ),
]  # fmt: skip


class Refused(Problem):
    """The server's answer; `code` is IAM's."""

    def __init__(self, code: str, message: str) -> None:
        is_alone = not code or code in _SAID_ALONE
        text = message.rstrip(".") if "\n" not in message else message
        super().__init__(text if is_alone else f"{text} ({code})")
        self.code = code


class IamRemote:
    """What one command asks about access. Methods raise Problem, and what botocore raises."""

    def __init__(self, remote: Remote, organization: str = "") -> None:
        self.remote = remote
        self._organization = organization

    @property
    def out(self) -> Output:
        return self.remote.out

    @property
    def endpoint(self) -> str:
        return self.remote.connection.endpoint

    def confirm(self, question: str) -> None:
        self.remote.confirm(question)

    # --- asking ---

    def call(self, action: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """One operation of the query protocol; its answer."""
        body = urlencode({"Action": action, **(params or {})}).encode()
        return self._send("POST", f"{self.endpoint}/", body, _FORM)

    def rest(self, method: str, path: str, document: Any = None) -> dict[str, Any]:
        """One request of the REST part, which the IAM port has."""
        body = b"" if document is None else msgspec.json.encode(document)
        return self._send(method, self._iam_endpoint() + path, body, "application/json")

    def _iam_endpoint(self) -> str:
        for name in _IAM_ENDPOINTS:
            if place := os.environ.get(name, ""):
                return connection.checked_endpoint(place)
        raise Problem(
            "organizations and their members are on the IAM port: start the server with "
            "AMUR_IAM_LISTEN, and set AMUR_IAM_ENDPOINT to its URL"
        )

    def _send(self, method: str, url: str, body: bytes, kind: str) -> dict[str, Any]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        headers = {"Accept": "application/json"}
        if body:
            headers["Content-Type"] = kind
        if self._organization:
            headers[NAMESPACE_HEADER] = self._organization
        request = AWSRequest(method=method, url=url, data=body, headers=headers)
        keys = self.remote.session.get_credentials()
        SigV4Auth(keys, SERVICE, self.remote.connection.region).add_auth(request)
        answer = self._http.send(request.prepare())
        return _answered(answer.status_code, answer.content)

    @cached_property
    def _http(self) -> URLLib3Session:
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        return URLLib3Session(
            verify=os.environ.get("AWS_CA_BUNDLE") or True,  # type: ignore[arg-type]
            proxies=get_environ_proxies(self.endpoint),
            timeout=(CONNECT_SECONDS, READ_SECONDS),  # type: ignore[arg-type]
        )

    def close(self) -> None:
        if "_http" in vars(self):
            self._http.close()

    # --- what several commands ask ---

    @cached_property
    def organization(self) -> str:
        """Whose keys and policies it is about."""
        if self._organization:
            return self._organization
        answer = self.call("GetCallerIdentity")
        return str(answer["GetCallerIdentityResult"]["Account"])

    def policy_arn(self, text: str) -> str:
        """Of an ARN, or a policy's name."""
        if text.startswith("arn:"):
            return text
        return f"arn:aws:iam::{self.organization}:policy/{text}"

    def keys(self, after: str = "", limit: int = 0) -> Iterator[tuple[dict[str, Any], str]]:
        """Every key (at most `limit`), with the marker behind it: "" of the very last."""
        left = limit
        while True:
            size = min(left or PAGE, PAGE)
            given = {"Detailed": "", "MaxItems": str(size), "Marker": after}
            page = self.call("ListAccessKeys", given)
            rows, after = page["Keys"], page["Marker"]
            for at, row in enumerate(rows):
                is_last = at == len(rows) - 1 and not after
                yield row, "" if is_last else str(row["access_key_id"])
            left -= len(rows)
            if not after or (limit and left <= 0):
                return

    def key(self, text: str) -> dict[str, Any]:
        """The server's row of a key, by its id or by a name that no other key has."""
        found: list[dict[str, Any]] = []
        found += self.call("ListAccessKeys", {"Detailed": "", "KeyId": text})["Keys"]
        if not found and not text.startswith(KEY_PREFIX):
            found = [row for row, _ in self.keys() if row["username"] == text]
        if not found:
            raise Problem(f"there is no access key {text}")
        if len(found) > 1:
            ids = ", ".join(row["access_key_id"] for row in found)
            raise Problem(f"several access keys are called {text}: {ids}")
        return found[0]

    def key_id(self, text: str) -> str:
        """Without a look when it is an id."""
        return text if text.startswith(KEY_PREFIX) else str(self.key(text)["access_key_id"])

    def policies_of(self, key_id: str) -> list[dict[str, str]]:
        """Attached to a key: name and arn."""
        answer = self.call("ListAttachedUserPolicies", {"UserName": key_id})
        rows = answer["ListAttachedUserPoliciesResult"]["AttachedPolicies"]
        return [{"name": each["PolicyName"], "arn": each["PolicyArn"]} for each in rows]


def _answered(status: int, content: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError:
        document = None
    if not isinstance(document, dict):
        raise Problem(f"the endpoint does not speak the IAM API (HTTP {status})")
    if status < 400:
        return document
    message = document.get("Message") or document.get("message") or f"HTTP {status}"
    raise Refused(str(document.get("Code") or document.get("code") or ""), str(message))


def members(name: str, values: Sequence[str]) -> dict[str, str]:
    """A list, as the query protocol has it."""
    return {f"{name}.member.{n}": value for n, value in enumerate(values, 1)}


def iam_command(app: typer.Typer, name: str, *aliases: str) -> Callable[[Command], Command]:
    """Register a function of (iam, ...) as a command."""

    def register(function: Command) -> Command:
        signature = inspect.signature(function, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != "iam"]
        kind = inspect.Parameter.KEYWORD_ONLY

        @wraps(function)
        def run(remote: Remote, **values: Any) -> None:
            iam = IamRemote(remote, values.pop("organization"))
            try:
                function(iam, **values)
            finally:
                iam.close()

        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[
                inspect.Parameter("remote", inspect.Parameter.POSITIONAL_OR_KEYWORD),
                *own,
                inspect.Parameter("organization", kind, default="", annotation=Organization),
            ]
        )
        command(app, name, *aliases)(run)
        return function

    return register
