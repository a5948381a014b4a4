"""The training job of the seed, word for word: what its key may do, and nothing else."""

from __future__ import annotations

import json

import pytest

from amur.iam.policy.compiling import Compiled
from amur.iam.policy.document import Kind, parse
from amur.iam.policy.evaluate import ALLOW, NONE, decide
from amur.iam.policy.templates import TEMPLATES
from amur.iam.policy.vocabulary import ACTIONS, OBJECT
from tests.iam.policy.support import Request

SEED = """
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "WikipediaReadOnly",
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:ListBucket"],
      "Resource": [
        "arn:aws:s3:::contoso-training-datasets-wikipedia-2025-07-01",
        "arn:aws:s3:::contoso-training-datasets-wikipedia-2025-07-01/*"
      ]
    },
    {
      "Sid": "BaseModelsReadOnly",
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:ListBucket"],
      "Resource": [
        "arn:aws:s3:::contoso-base-models",
        "arn:aws:s3:::contoso-base-models/*"
      ]
    },
    {
      "Sid": "FinetunedModelsWrite",
      "Effect": "Allow",
      "Action": [
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:CompleteMultipartUpload"
      ],
      "Resource": [
        "arn:aws:s3:::contoso-finetuned-models",
        "arn:aws:s3:::contoso-finetuned-models/*"
      ]
    }
  ]
}
"""
READ = {"s3:GetObject", "s3:ListBucket"}
WRITE = READ | {
    "s3:PutObject", "s3:PutObjectAcl", "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts", "s3:CompleteMultipartUpload",
}  # fmt: skip
RIGHTS = {
    "contoso-training-datasets-wikipedia-2025-07-01": READ,
    "contoso-base-models": READ,
    "contoso-finetuned-models": WRITE,
    "contoso-training-datasets-wikipedia-2025-07-02": set(),
    "contoso-base-models-secret": set(),
    "contoso": set(),
}


def arn(bucket: str, level: str) -> str:
    return f"arn:aws:s3:::{bucket}" + ("/some/key" if level == OBJECT else "")


@pytest.mark.parametrize("bucket", RIGHTS)
def test_every_action_on_every_bucket(bucket: str) -> None:
    compiled = Compiled([("job", parse(SEED, Kind.IDENTITY))])
    for action in ACTIONS:
        found = decide(compiled, action.name, arn(bucket, action.level), Request())
        assert found.effect == (ALLOW if action.name in RIGHTS[bucket] else NONE), action.name


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2025-07-16T23:59:59Z", NONE),
        ("2025-07-17T00:00:00Z", ALLOW),
        ("2025-07-17T23:59:59Z", ALLOW),
        ("2025-07-18T00:00:00Z", NONE),
        ("1752710400", ALLOW),
    ],
)
def test_the_template_with_its_time(at: str, expected: str) -> None:
    made = TEMPLATES["training-job"].build(
        datasets=["contoso-training-datasets-wikipedia-2025-07-01"],
        models=["contoso-base-models"],
        output="contoso-finetuned-models",
        start="2025-07-17T00:00:00Z",
        end="2025-07-18T00:00:00Z",
    )
    compiled = Compiled([("job", parse(json.dumps(made), Kind.IDENTITY))])
    request = Request({"aws:currenttime": at})
    for bucket, rights in RIGHTS.items():
        for action in ACTIONS:
            # nothing is public by a job that only submits its work
            asked = action.name in rights - {"s3:PutObjectAcl", "s3:CompleteMultipartUpload"}
            found = decide(compiled, action.name, arn(bucket, action.level), request)
            assert found.effect == (expected if asked else NONE), (bucket, action.name)
    asleep = decide(compiled, "s3:GetObject", arn("contoso-base-models", OBJECT), Request())
    assert asleep.effect == NONE
