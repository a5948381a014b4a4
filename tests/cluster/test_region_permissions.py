"""Keys, policies and their ends are one in all regions: made in one, known in the others; and what
two regions change while they can't hear each other both holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from amur.cluster.testing import ServedCluster
from tests.cluster.live import FRA, ORD, REGIONS, SJC, Live, until

OBJECTS = "arn:aws:s3:::{}/*"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with ServedCluster(tmp_path_factory.mktemp("permissions") / "dir") as cluster:
        made = Live(cluster)
        yield made
        made.close()


class Party:
    """A key, and boto3's clients of a region."""

    def __init__(self, live: Live, key_id: str = "", secret: str = "", token: str = "") -> None:
        self._live = live
        self.key_id = key_id or live.cluster.key_id
        self._secret = secret or live.cluster.secret
        self._token = token

    def client(self, service: str, region: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self._live.gateways[region].endpoint,
            region_name="auto",
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self._secret,
            aws_session_token=self._token or None,
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def reads(self, region: str, bucket: str) -> bool:
        try:
            self.client("s3", region).get_object(Bucket=bucket, Key="key")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
                raise
            return False
        return True

    def reads_everywhere(self, bucket: str) -> bool:
        return all(self.reads(region, bucket) for region in REGIONS)

    def reads_nowhere(self, bucket: str) -> bool:
        return not any(self.reads(region, bucket) for region in REGIONS)


def document(action: str, bucket: str, **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": OBJECTS.format(bucket)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | more]})


@pytest.fixture(scope="module")
def root(live: Live) -> Party:
    return Party(live)


def made_bucket(live: Live, root: Party, name: str, regions: str = "") -> None:
    client = live.client(SJC)
    client.ok("PUT", f"/{name}", "", {"x-tigris-regions": regions} if regions else {})
    client.ok("PUT", f"/{name}/key", "", {}, b"body")
    until(lambda: root.reads_everywhere(name), "the object is everywhere")


def made_key(live: Live, root: Party, region: str, name: str) -> Party:
    made = root.client("iam", region).create_access_key(UserName=name)["AccessKey"]
    return Party(live, made["AccessKeyId"], made["SecretAccessKey"])


def test_made_in_one_region_used_in_all(live: Live, root: Party) -> None:
    made_bucket(live, root, "data")
    key = made_key(live, root, SJC, "reader")
    policy = root.client("iam", ORD).create_policy(
        PolicyName="read-data", PolicyDocument=document("s3:GetObject", "data")
    )["Policy"]["Arn"]
    in_fra = root.client("iam", FRA)

    def attached() -> bool:
        try:
            in_fra.attach_user_policy(UserName=key.key_id, PolicyArn=policy)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
            return False
        return True

    until(attached, "key and policy are known in fra")
    until(lambda: key.reads_everywhere("data"), "the key reads everywhere")
    found = in_fra.list_entities_for_policy(PolicyArn=policy)["PolicyUsers"]
    assert [each["UserName"] for each in found] == [key.key_id]
    root.client("iam", SJC).create_policy_version(
        PolicyArn=policy, PolicyDocument=document("s3:PutObject", "data"), SetAsDefault=True
    )
    until(lambda: key.reads_nowhere("data"), "the narrower policy holds everywhere")


def test_a_session_is_known_everywhere_at_once(live: Live, root: Party) -> None:
    made_bucket(live, root, "sessions")
    given = root.client("sts", SJC).get_federation_token(
        Name="job", Policy=document("s3:GetObject", "sessions"), DurationSeconds=900
    )["Credentials"]
    session = Party(live, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    assert session.reads_everywhere("sessions")
    for region in REGIONS:
        with pytest.raises(ClientError, match="AccessDenied"):
            session.client("s3", region).put_object(Bucket="sessions", Key="new", Body=b"x")


def test_requests_that_are_passed_on_are_judged_where_they_arrive(live: Live, root: Party) -> None:
    made_bucket(live, root, "single", FRA)
    key = made_key(live, root, SJC, "passed-on")
    assert key.reads_nowhere("single")
    policy = root.client("iam", SJC).create_policy(
        PolicyName="single", PolicyDocument=document("s3:GetObject", "single")
    )["Policy"]["Arn"]
    root.client("iam", SJC).attach_user_policy(UserName=key.key_id, PolicyArn=policy)
    until(lambda: key.reads_everywhere("single"), "the key reads through every gateway")
    with pytest.raises(ClientError, match="AccessDenied"):
        key.client("s3", SJC).put_object(Bucket="single", Key="new", Body=b"x")


def test_a_buckets_policy_holds_everywhere(live: Live, root: Party) -> None:
    made_bucket(live, root, "judged")
    nobody = Party(live)
    key = made_key(live, root, ORD, "stranger")
    open_to = document("s3:GetObject", "judged", Principal={"AWS": key.key_id})
    root.client("s3", FRA).put_bucket_policy(Bucket="judged", Policy=open_to)
    until(lambda: key.reads_everywhere("judged"), "the policy is known everywhere")
    root.client("s3", SJC).delete_bucket_policy(Bucket="judged")
    until(lambda: key.reads_nowhere("judged"), "the policy is gone everywhere")
    assert nobody.reads_everywhere("judged")  # root, whom no policy was about


def test_what_two_regions_change_apart_both_holds(live: Live, root: Party) -> None:
    """A name given in one must not undo the end of the key in the other; what is gone stays so."""
    made_bucket(live, root, "apart")
    key, doomed = (made_key(live, root, SJC, name) for name in ("kept", "doomed"))
    root.client("s3", SJC).put_bucket_policy(
        Bucket="apart",
        Policy=document("s3:GetObject", "apart", Principal={"AWS": [key.key_id, doomed.key_id]}),
    )
    until(lambda: key.reads_everywhere("apart"), "the key reads everywhere")
    until(lambda: doomed.reads_everywhere("apart"), "the other one, too")
    live.links("partition", SJC)
    sjc, fra = root.client("iam", SJC), root.client("iam", FRA)
    sjc.update_access_key(UserName=key.key_id, AccessKeyId=key.key_id, Status="Inactive")
    sjc.delete_access_key(UserName=doomed.key_id, AccessKeyId=doomed.key_id)
    fra.tag_user(UserName=key.key_id, Tags=[{"Key": "team", "Value": "x"}])
    fra.tag_user(UserName=doomed.key_id, Tags=[{"Key": "team", "Value": "x"}])
    assert not key.reads(SJC, "apart")
    assert key.reads(FRA, "apart")  # fra can't know yet
    live.links("heal")
    until(lambda: key.reads_nowhere("apart"), "the key is inactive everywhere")
    until(lambda: doomed.reads_nowhere("apart"), "the deleted key is gone everywhere")
    for region in REGIONS:
        iam = root.client("iam", region)
        tags = until(
            lambda iam=iam: iam.list_user_tags(UserName=key.key_id)["Tags"], "the tag is here"
        )
        assert tags == [{"Key": "team", "Value": "x"}]
        with pytest.raises(ClientError, match="NoSuchEntity"):
            iam.list_user_tags(UserName=doomed.key_id)
