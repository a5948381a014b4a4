"""Policies for common jobs, made from a few parameters: least privilege from the start.

Each gives a document that `parse` takes as an identity policy and in which `lint` finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amur.iam.policy import values
from amur.iam.policy.document import VERSION
from amur.iam.policy.elements import S3_ARN

Document = dict[str, Any]
_Statement = dict[str, Any]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_UPLOAD = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


class ParameterInvalid(ValueError):
    """A parameter that is missing, unknown or of the wrong form: one plain line."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`repeated` ones take a list of texts, others one text."""

    name: str
    help: str
    required: bool = True
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    description: str
    parameters: tuple[Parameter, ...]
    maker: Callable[..., list[_Statement]]

    def build(self, **params: str | Sequence[str] | None) -> Document:
        """The document. Parameters left out are None or absent. Raises ParameterInvalid."""
        known = {each.name: each for each in self.parameters}
        for name in params:
            if name not in known:
                raise ParameterInvalid(f"{self.name} has no parameter {name}: {', '.join(known)}")
        given: dict[str, str | list[str]] = {}
        for name, parameter in known.items():
            value = params.get(name)
            if not value:
                if parameter.required:
                    raise ParameterInvalid(f"{self.name} needs {name}: {parameter.help}")
                given[name] = [] if parameter.repeated else ""
            elif parameter.repeated:
                given[name] = [value] if isinstance(value, str) else list(value)
            elif isinstance(value, str):
                given[name] = value
            else:
                raise ParameterInvalid(f"{name} takes one value")
        return {"Version": VERSION, "Statement": self.maker(**given)}


def _bucket(name: str) -> str:
    """The ARN of a bucket, by its name."""
    if not _BUCKET.fullmatch(name):
        raise ParameterInvalid(f"{name!r} is no name of a bucket")
    return S3_ARN + name


def _literal(text: str) -> str:
    """Text of which nothing is a wildcard or a variable."""
    return re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", text)


def _prefix(text: str) -> str:
    """A prefix of keys that ends with its slash."""
    if text.startswith("/") or not text.strip("/"):
        raise ParameterInvalid("a prefix is text such as tenants/blue, without a slash before it")
    return text.rstrip("/") + "/"


def _window(start: str, end: str) -> dict[str, Any]:
    """{"Condition": ...} of a time that access begins and one that it ends; empty for none."""
    for text in (start, end):
        if text and values.instant(text) is None:
            raise ParameterInvalid(f"{text!r} is no time: write it as 2025-07-01T00:00:00Z")
    if start and end and (values.instant(start) or 0) >= (values.instant(end) or 0):
        raise ParameterInvalid("it must start before it ends")
    condition = {}
    if start:
        condition["DateGreaterThanEquals"] = {"aws:CurrentTime": start}
    if end:
        condition["DateLessThan"] = {"aws:CurrentTime": end}
    return {"Condition": condition} if condition else {}


def _read(sid: str, buckets: Sequence[str], extra: dict[str, Any]) -> list[_Statement]:
    if not buckets:
        return []
    arns = [_bucket(name) for name in dict.fromkeys(buckets)]
    return [
        {
            "Sid": sid,
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [text for arn in arns for text in (arn, f"{arn}/*")],
            **extra,
        }
    ]


def _read_only(buckets: list[str], start: str, end: str) -> list[_Statement]:
    return _read("Read", buckets, _window(start, end))


def _training_job(
    datasets: list[str], models: list[str], output: str, start: str, end: str
) -> list[_Statement]:
    window = _window(start, end)
    arn = _bucket(output)
    return [
        *_read("Datasets", datasets, window),
        *_read("BaseModels", models, window),
        {
            "Sid": "Output",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:ListBucket", *_UPLOAD],
            "Resource": [arn, f"{arn}/*"],
            **window,
        },
    ]


def _backup_writer(bucket: str, prefix: str) -> list[_Statement]:
    arn = _bucket(bucket)
    below = f"{arn}/{_literal(_prefix(prefix)) if prefix else ''}*"
    listing: _Statement = {
        "Sid": "List",
        "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
        "Resource": arn,
    }
    if prefix:
        listing["Action"] = ["s3:ListBucket"]
        listing["Condition"] = _below(prefix)
    return [
        listing,
        {"Sid": "Write", "Effect": "Allow", "Action": list(_UPLOAD), "Resource": below},
        {
            "Sid": "NeverDelete",
            "Effect": "Deny",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": f"{arn}/*",
        },
    ]


def _drop_box(bucket: str, prefix: str, start: str, end: str) -> list[_Statement]:
    below = f"{_literal(_prefix(prefix))}*" if prefix else "*"
    return [
        {
            "Sid": "Upload",
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": f"{_bucket(bucket)}/{below}",
            **_window(start, end),
        }
    ]


def _ip_bound(addresses: list[str], buckets: list[str]) -> list[_Statement]:
    for text in addresses:
        if values.network(text) is None or ("/" in text and values.has_host_bits(text)):
            raise ParameterInvalid(f"{text!r} is no address or CIDR block, as 203.0.113.0/24")
    arns = [_bucket(name) for name in dict.fromkeys(buckets)]
    return [
        {
            "Sid": "OnlyFromThere",
            "Effect": "Deny",
            "Action": "*",
            "Resource": [text for arn in arns for text in (arn, f"{arn}/*")] or "*",
            "Condition": {"NotIpAddress": {"aws:SourceIp": addresses}},
        }
    ]


def _below(prefix: str) -> dict[str, Any]:
    """The condition that only keys below a prefix are listed."""
    return {"StringLike": {"s3:prefix": f"{_literal(_prefix(prefix))}*"}}


def _tenant(bucket: str, prefix: str) -> list[_Statement]:
    arn = _bucket(bucket)
    return [
        {
            "Sid": "List",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
            "Resource": arn,
            "Condition": _below(prefix),
        },
        {
            "Sid": "Objects",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:DeleteObject", *_UPLOAD],
            "Resource": f"{arn}/{_literal(_prefix(prefix))}*",
        },
    ]


_START = Parameter("start", "when access begins, as 2025-07-01T00:00:00Z", required=False)
_END = Parameter("end", "when access ends by itself, as 2025-07-02T00:00:00Z", required=False)

TEMPLATES = {
    each.name: each
    for each in (
        Template(
            "read-only",
            "Read and list datasets, nothing else.",
            (
                Parameter("buckets", "the datasets", repeated=True),
                _START,
                _END,
            ),
            _read_only,
        ),
        Template(
            "training-job",
            "Read datasets and base models, write one bucket of results, for a limited time.",
            (
                Parameter("datasets", "buckets that the job reads", repeated=True),
                Parameter("models", "buckets of base models", required=False, repeated=True),
                Parameter("output", "the bucket that takes its results"),
                _START,
                _END,
            ),
            _training_job,
        ),
        Template(
            "backup-writer",
            "Write and list, never delete or read. A writer can still overwrite what it wrote:"
            " turn versioning on for the bucket, so that what was overwritten stays.",
            (
                Parameter("bucket", "where the backups go"),
                Parameter("prefix", "only below it", required=False),
            ),
            _backup_writer,
        ),
        Template(
            "drop-box",
            "Upload, and nothing else: no list, no read, no delete. Whoever knows a key's name"
            " can overwrite it: turn versioning on, or take a prefix for each sender.",
            (
                Parameter("bucket", "the bucket that takes uploads"),
                Parameter("prefix", "only below it", required=False),
                _START,
                _END,
            ),
            _drop_box,
        ),
        Template(
            "ip-bound",
            "Refuse everything from other addresses. It allows nothing by itself: attach it"
            " beside what does.",
            (
                Parameter("addresses", "addresses or CIDR blocks", repeated=True),
                Parameter("buckets", "only these buckets", required=False, repeated=True),
            ),
            _ip_bound,
        ),
        Template(
            "tenant",
            "One prefix of a shared bucket: list, read, write and delete below it.",
            (
                Parameter("bucket", "the shared bucket"),
                Parameter("prefix", "the tenant's own, as tenants/blue"),
            ),
            _tenant,
        ),
    )
}
"""By name, in the order that they are listed."""
