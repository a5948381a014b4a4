"""Commands that talk to a server: what they have in common.

`@command(app, "ls")` makes a command of `def ls(remote: Remote, ...)`: the options of connection
and output are added to its own, and what fails becomes one line. boto3 is imported when a command
runs: `amur serve` and `amur --help` don't pay for it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from amur.cli import connection
from amur.cli.address import AddressError
from amur.cli.errors import refuse
from amur.cli.output import Format, Output

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 10
READ_SECONDS = 120  # without a byte; completing a multipart upload may take long
ATTEMPTS = 4
POOL_MAX = 128

_INTERRUPTED = 130
_BROKEN_PIPE = 141

_OPTIONS: tuple[tuple[str, Any, Any], ...] = (
    ("endpoint", "", Annotated[str, typer.Option(
        "--endpoint", metavar="URL", help="Of the server [AWS_ENDPOINT_URL, amur configure]."
    )]),
    ("access_key", "", Annotated[str, typer.Option(
        "--access-key", metavar="ID", help="Access key [AWS_ACCESS_KEY_ID, amur configure]."
    )]),
    ("access_secret", "", Annotated[str, typer.Option(
        "--access-secret", metavar="SECRET",
        help="Its secret; others see it in the process list, so better set AWS_SECRET_ACCESS_KEY.",
    )]),
    ("json_", False, Annotated[bool, typer.Option("--json", help="Answer in JSON.")]),
    ("form", "", Annotated[str, typer.Option(
        "--format", metavar="table|json|xml", help="How to answer [table]."
    )]),
    ("yes", False, Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]),
)  # fmt: skip


class Problem(Exception):
    """The command can't go on; the message is for people."""


class Remote:
    """The connection and the output of one command."""

    def __init__(self, flags: tuple[str, str, str], form: Format, yes: bool) -> None:
        self.flags = flags  # endpoint, access key, secret
        self.out = Output(form)
        self.yes = yes

    @cached_property
    def connection(self) -> connection.Connection:
        return connection.resolve(*self.flags)

    @cached_property
    def session(self) -> Any:
        """A boto3 session with the keys."""
        import boto3

        given = self.connection
        if given.profile:
            return boto3.Session(profile_name=given.profile, region_name=given.region)
        return boto3.Session(
            aws_access_key_id=given.access_key,
            aws_secret_access_key=given.access_secret,
            aws_session_token=given.session_token or None,
            region_name=given.region,
        )

    @cached_property
    def s3(self) -> S3Client:
        return self._client()

    @cached_property
    def renaming(self) -> S3Client:
        """Its CopyObject renames: at once, and never over an object that is there."""
        client = self._client()
        send_header(client, "CopyObject", "X-Tigris-Rename", "true")
        return client

    def _client(self) -> S3Client:
        from botocore.config import Config

        client: S3Client = self.session.client(
            "s3",
            endpoint_url=self.connection.endpoint,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=POOL_MAX,
                tcp_keepalive=True,
            ),
        )
        return client

    def close(self) -> None:
        """The connections of the clients that were made."""
        for name in ("s3", "renaming"):
            if name in vars(self):
                vars(self)[name].close()

    def confirm(self, question: str) -> None:
        """Ask before something is destroyed; not without a terminal, nor with --yes."""
        if self.yes or not is_terminal():
            return
        if not typer.confirm(f"amur: {question}", err=True):
            raise Problem("nothing was done")


def is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def send_header(client: S3Client, operation: str, name: str, value: str) -> None:
    """Of Tigris', which boto3 does not know: with every request of the operation from now on."""

    def add(params: dict[str, Any], **_: object) -> None:
        params["headers"][name] = value

    client.meta.events.register(f"before-call.s3.{operation}", add)


Command = Callable[..., None]


def command(
    app: typer.Typer, name: str, *aliases: str, own_format: bool = False
) -> Callable[[Command], Command]:
    """Register a function of (remote, ...) as a command.

    `own_format`: its --format means something else (of an archive, say).
    """

    def register(function: Command) -> Command:
        wrapped = _with_options(function, own_format)
        app.command(name)(wrapped)
        for alias in aliases:
            app.command(alias, hidden=True)(wrapped)
        return function

    return register


def _with_options(function: Command, own_format: bool) -> Command:
    signature = inspect.signature(function, eval_str=True)
    own = [each for each in signature.parameters.values() if each.name != "remote"]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, default, annotation in _OPTIONS
        if not (own_format and name == "form")
    ]

    @wraps(function)
    def run(**values: Any) -> None:
        form = _format_of("" if own_format else values.pop("form"), values.pop("json_"))
        flags = (values.pop("endpoint"), values.pop("access_key"), values.pop("access_secret"))
        remote = Remote(flags, form, values.pop("yes"))
        try:
            function(remote, **values)
            sys.stdout.flush()
        except KeyboardInterrupt:
            typer.echo("amur: interrupted", err=True)
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            _leave_pipe()
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            said = explained(error, endpoint=flags[0] or _endpoint_of(remote))
            if not said:
                raise
            raise refuse(said) from None
        finally:
            remote.close()

    # typer looks at both
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return run


def _format_of(asked: str, json: bool) -> Format:
    if json or asked == "json":
        return "json"
    if asked == "xml":
        return "xml"
    if asked not in ("", "table"):
        raise refuse(f"--format is table, json or xml, not {asked!r}")
    return "table"


def _leave_pipe() -> NoReturn:
    """The reader has gone (`amur ls | head`): nothing went wrong, and nothing is to be said."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(_BROKEN_PIPE)


def _endpoint_of(remote: Remote) -> str:
    try:
        return remote.connection.endpoint
    except connection.ConnectionProblem:
        return ""


# --- what fails, for people ---

CODES = {
    "NoSuchBucket": "there is no such bucket",
    "NoSuchKey": "there is no such object",
    "404": "there is no such object or bucket",
    "403": "access denied",
    "412": "it has changed meanwhile",
    "400": "the server refuses the request",
    "BucketNotEmpty": "the bucket is not empty; --force deletes its objects, too",
    "BucketAlreadyOwnedByYou": "you have this bucket already",
    "BucketAlreadyExists": "somebody else has a bucket of this name",
    "KeyAlreadyExists": "the target exists; --force overwrites it",
    "InvalidAccessKeyId": "the server does not know this access key",
    "SignatureDoesNotMatch": "the secret does not fit the access key",
}
"""Instead of the server's message, where it can be said better."""


def explained(error: BaseException, endpoint: str = "") -> str:
    """One line, or "" for what is a fault of our own."""
    if isinstance(error, Problem | AddressError | connection.ConnectionProblem):
        return str(error)
    if "botocore" in sys.modules:
        from botocore import exceptions as boto

        if isinstance(error, boto.ClientError):
            return _of_answer(error.response.get("Error", {}), error.operation_name)
        if isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError):
            return f"can't connect to {endpoint or 'the server'}; does it run (amur serve)?"
        if isinstance(error, boto.ConnectionClosedError | boto.ReadTimeoutError):
            return f"{endpoint or 'the server'} has broken off"
        if isinstance(error, boto.BotoCoreError | boto.HTTPClientError):
            return " ".join(str(error).split())
        if type(error).__module__.startswith(("urllib3", "boto3", "s3transfer")):
            return " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, UnicodeEncodeError):
        return "a name that is not UTF-8 can't be a key"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return ""


def code_of(error: BaseException) -> str:
    """The S3 code of an answer; "404" and "403" of a HEAD, which has no document."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _of_answer(error: Any, operation: str) -> str:
    code = str(error.get("Code", ""))
    if code == "404" and operation == "HeadBucket":
        code = "NoSuchBucket"
    if code in CODES:
        where = error.get("Key") or error.get("BucketName") or ""
        return f"{where}: {CODES[code]}" if where else CODES[code]
    message = str(error.get("Message", "")).rstrip(".")
    return f"{message or operation} ({code})" if code else message or operation
