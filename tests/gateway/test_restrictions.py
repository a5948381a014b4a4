"""X-Tigris-Regions where there is one region, and acceleration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from amur.regions.topology import Region, Topology
from tests.support.iam import iam_of

if TYPE_CHECKING:
    Client = Any


@pytest.fixture
def store() -> Store:
    """Of a region that is in a geography."""
    clock = SystemClock()
    engine = MemoryEngine(clock)
    topology = Topology(Region("sjc", 0))
    return Store(engine, MemoryDataStore(), clock, region="sjc", topology=topology)


@pytest.mark.parametrize(
    ("asked", "kept"), [("sjc", "sjc"), ("SJC", "sjc"), ("usa", "usa"), ("sjc, usa", "sjc,usa")]
)
async def test_its_own_code_and_geography(client: Client, asked: str, kept: str) -> None:
    assert (await client("PUT", "/bkt", headers={"x-tigris-regions": asked})).status == 200
    told = await client("HEAD", "/bkt")
    assert told.headers["x-tigris-regions"] == kept
    assert told.headers["x-amz-bucket-region"] == "us-east-1"
    put = await client("PUT", "/bkt/key", b"x", {"x-tigris-regions": asked})
    assert put.status == 200
    head = await client("HEAD", "/bkt/key")
    assert "x-tigris-regions" not in head.headers, "one region has nothing to tell"


@pytest.mark.parametrize("asked", ["fra", "eur", "sjc,fra", "sjc;ord", "*"])
async def test_all_others_are_unknown(client: Client, store: Store, asked: str) -> None:
    header = {"x-tigris-regions": asked}
    refused = await client("PUT", "/bkt", headers=header)
    assert (refused.status, refused.code) == (400, "InvalidArgument")
    assert refused.xml.findtext("ArgumentValue") == asked
    await client("PUT", "/bkt")
    for method, target in (("PUT", "/bkt/key"), ("POST", "/bkt/key?uploads")):
        answer = await client(method, target, b"", header)
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    await client("PUT", "/bkt/source", b"x")
    copied = await client("PUT", "/bkt/key", headers=header | {"x-amz-copy-source": "/bkt/source"})
    assert (copied.status, copied.code) == (400, "InvalidArgument")
    assert [each.key for each in (await store.list_objects("bkt")).entries] == ["source"]


async def test_an_object_keeps_its_regions(client: Client, store: Store) -> None:
    await client("PUT", "/bkt")
    header = {"x-tigris-regions": "USA"}
    await client("PUT", "/bkt/put", b"x", header)
    await client("PUT", "/bkt/copy", headers=header | {"x-amz-copy-source": "/bkt/put"})
    await client("PUT", "/bkt/free", headers={"x-amz-copy-source": "/bkt/put"})
    begun = await client("POST", "/bkt/parts?uploads", headers=header)
    upload_id = begun.xml.findtext("UploadId")
    part = await client("PUT", f"/bkt/parts?partNumber=1&uploadId={upload_id}", b"x")
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    await client("POST", f"/bkt/parts?uploadId={upload_id}", document.encode())
    kept = {key: (await store.head("bkt", key)).regions for key in ("put", "copy", "free", "parts")}
    assert kept == {"put": "usa", "copy": "usa", "free": "", "parts": "usa"}


async def test_a_rename_takes_no_regions(client: Client) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"x")
    answer = await client(
        "PUT", "/bkt/new",
        headers={"x-amz-copy-source": "/bkt/key", "x-tigris-rename": "true",
                 "x-tigris-regions": "sjc"},
    )  # fmt: skip
    assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_strong_reads_of_one_region_are_reads(client: Client) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"x", {"x-tigris-consistent": "true"})
    for header in ("x-tigris-consistent", "x-tigris-cas"):
        assert (await client("GET", "/bkt/key", headers={header: "true"})).body == b"x"


async def test_nobody_forwards_to_one_region(client: Client) -> None:
    answer = await client("GET", "/", headers={"x-amur-forwarded": "sjc"})
    assert (answer.status, answer.code) == (400, "InvalidArgument")


# --- acceleration ---


def accelerate(status: str) -> bytes:
    return (
        b'<AccelerateConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>'
        + status.encode() + b"</Status></AccelerateConfiguration>"
    )  # fmt: skip


async def test_acceleration(client: Client, store: Store) -> None:
    await client("PUT", "/bkt")
    never = await client("GET", "/bkt?accelerate")
    assert (never.status, never.xml.tag, never.xml.find("Status")) == (
        200, "AccelerateConfiguration", None,
    )  # fmt: skip
    assert (await client("PUT", "/bkt?accelerate", accelerate("Enabled"))).status == 200
    assert (await store.bucket("bkt")).accelerate
    assert (await client("GET", "/bkt?accelerate")).xml.findtext("Status") == "Enabled"
    assert (await client("PUT", "/bkt?accelerate", accelerate("Suspended"))).status == 200
    assert not (await store.bucket("bkt")).accelerate


@pytest.mark.parametrize("body", [b"", b"<x/>", b"<AccelerateConfiguration/>", accelerate("On")])
async def test_malformed_acceleration(client: Client, body: bytes) -> None:
    await client("PUT", "/bkt")
    answer = await client("PUT", "/bkt?accelerate", body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


async def test_acceleration_is_the_owners(client: Client) -> None:
    await client("PUT", "/bkt", headers={"x-amz-acl": "public-read-write"})
    for method, body in (("GET", b""), ("PUT", accelerate("Enabled"))):
        assert (await client.as_("bob")(method, "/bkt?accelerate", body)).code == "AccessDenied"
    assert (await client("GET", "/none?accelerate")).code == "NoSuchBucket"


async def test_suspension_is_remembered_in_a_cluster(client: Client) -> None:
    clock = SystemClock()
    topology = Topology(Region("sjc", 0), [Region("fra", 1)])
    engine = MemoryEngine(clock, region_number=0)
    two = Store(engine, MemoryDataStore(), clock, region="sjc", topology=topology)
    call = type(client)(App(two, iam_of(two, ("tid_root", "tsec_root_secret"))))
    await call("PUT", "/bkt")
    assert (await call("GET", "/bkt?accelerate")).xml.find("Status") is None
    await call("PUT", "/bkt?accelerate", accelerate("Enabled"))
    await call("PUT", "/bkt?accelerate", accelerate("Suspended"))
    assert (await call("GET", "/bkt?accelerate")).xml.findtext("Status") == "Suspended"
