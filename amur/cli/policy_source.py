"""Where a command's policy document comes from: a file, stdin, the command line, a template, an
editor; and what the linter thinks of it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amur.cli.buckets import pairs
from amur.cli.output import Output
from amur.cli.remote import Problem
from amur.clock import SystemClock

if TYPE_CHECKING:
    from amur.iam.policy.lint import Finding
    from amur.iam.policy.templates import Template

_BILLION = 1_000_000_000
_TIMES = ("start", "end")

Document = Annotated[
    str, typer.Option("--document", metavar="FILE|-|JSON", help="The document; - is stdin.")
]
TemplateName = Annotated[
    str,
    typer.Option("--template", metavar="NAME", help="Of amur iam policies templates."),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Of the template; may be repeated."),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", metavar="BUCKET", help="training-job: it reads; may be repeated."),
]
BaseModels = Annotated[
    list[str] | None,
    typer.Option("--base-models", metavar="BUCKET", help="training-job: the same, of models."),
]
ResultBucket = Annotated[
    str, typer.Option("--output", metavar="BUCKET", help="training-job: it writes results.")
]
Prefix = Annotated[str, typer.Option("--prefix", metavar="PREFIX", help="Keys below it only.")]
Addresses = Annotated[
    list[str] | None,
    typer.Option("--address", metavar="CIDR", help="ip-bound: from here; may be repeated."),
]
Start = Annotated[
    str, typer.Option("--start", metavar="TIME|SPAN", help="Access begins: a time, now, or 2h.")
]
End = Annotated[str, typer.Option("--end", metavar="TIME|SPAN", help="Access ends by itself.")]


def read(text: str) -> str:
    """The document that an option names. Raises Problem, OSError."""
    if text.lstrip().startswith("{"):
        return text
    if text == "-":
        return sys.stdin.read()
    return Path(text).read_text(encoding="utf-8")


# --- templates ---


def template_of(name: str) -> Template:
    from amur.iam.policy.templates import TEMPLATES

    if name not in TEMPLATES:
        raise Problem(f"there is no template {name!r}: {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def parameters(template: Template, given: Mapping[str, Any], extra: Iterable[str]) -> Any:
    """Options and `--param`s as the template wants them. `bucket` is its `buckets`, too."""
    from amur.cli.moments import time_of

    known = {each.name: each for each in template.parameters}
    values = {name: value for name, value in given.items() if value}
    if "bucket" not in known and "buckets" in known and "bucket" in values:
        values["buckets"] = values.pop("bucket")
    for text in extra:
        ((name, value),) = pairs([text]).items()
        values.setdefault(name, [])
        values[name] = [*_many(values[name]), value]
    for name, value in values.items():
        if name not in known:
            raise Problem(f"the template {template.name} has no {name}: {', '.join(known)}")
        split = [part for each in _many(value) for part in each.split(",") if part]
        if known[name].repeated:
            values[name] = split
        elif len(_many(value)) != 1:
            raise Problem(f"{name} is given once")
        else:
            (values[name],) = _many(value)
    for name in _TIMES:
        if name in values:
            values[name] = time_of(values[name])
    return values


def _many(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def build(template: Template, values: Mapping[str, Any]) -> str:
    """The document. Raises Problem."""
    from amur.iam.policy.templates import ParameterInvalid

    try:
        return pretty(template.build(**values))
    except ParameterInvalid as error:
        raise Problem(str(error)) from None


def pretty(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


# --- the linter ---


def findings(document: str, attached_to: Sequence[str] = ()) -> list[Finding]:
    """Of a document that is valid. Raises Problem, a line for each thing that is wrong.

    `attached_to` are the keys that have it: told when it has expired.
    """
    from amur.iam.policy.document import Kind, PolicyInvalid, parse
    from amur.iam.policy.lint import lint

    try:
        policy = parse(document, Kind.IDENTITY)
    except PolicyInvalid as error:
        raise Problem(str(error)) from None
    return lint(policy, now_s=SystemClock().now_ns() / _BILLION, attached_to=attached_to)


def is_serious(finding: Finding) -> bool:
    """It gives more than is meant, or nothing: not what is only said twice or in vain."""
    from amur.iam.policy.lint import DUPLICATE, NOT_CHECKED, SHADOWED

    return finding.code not in (DUPLICATE, NOT_CHECKED, SHADOWED)


def warn(out: Output, document: str) -> None:
    """What the linter finds, on stderr. Raises Problem of an invalid document."""
    for each in findings(document):
        out.remark(f"warning: {each}")


# --- the editor ---


class Draft:
    """A document in an editor's file, which is kept until `done`."""

    def __init__(self, text: str) -> None:
        self._before = text
        folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - a name nobody can guess, O_EXCL
        self.file = Path(folder) / f"amur-policy-{secrets.token_hex(8)}.json"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(self.file, flags, 0o600), "w", encoding="utf-8") as out:
            out.write(text)

    def edited(self) -> str:
        """What it is when the editor has ended. Raises Problem, also when nothing was changed."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            done = subprocess.run([*shlex.split(editor), str(self.file)], check=False)
        except OSError as error:
            self.done()
            raise Problem(f"can't start the editor {editor}: {error.strerror}") from None
        text = self.file.read_text(encoding="utf-8")
        if text == self._before:
            self.done()
            raise Problem("nothing was changed")
        if done.returncode:
            raise Problem(f"the editor has failed; {self.file} has the document")
        return text

    def done(self) -> None:
        self.file.unlink(missing_ok=True)
