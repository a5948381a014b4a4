"""Which region answers: every endpoint, every type of bucket, wherever the request arrives."""

from __future__ import annotations

import pytest

from amur.gateway.endpoints import ALL, BY_NAME
from amur.gateway.routing import (
    Facts,
    NoRegionLeft,
    Touch,
    normal,
    target_regions,
    touch_of,
    upload_region,
)
from amur.regions.topology import Region, Topology, UnknownRegion

NAMES = ("ord", "sjc", "fra", "ams", "sin")  # numbered in this order
DISTANCES = {"ord": 0.05, "sjc": 0.15, "fra": 0.01, "ams": 0.02, "sin": float("inf")}
BUCKETS = {"global": "", "single": "fra", "dual": "sjc,fra", "usa": "usa", "eur": "eur"}

SERVICE = {"ListBuckets", "IamQuery"}
READS = {
    "GetObject", "HeadObject", "GetObjectVersion", "HeadObjectVersion", "GetObjectAttributes",
    "GetObjectAcl", "GetObjectTagging", "ListParts", "BundleObjects", "GetObjectLegalHold",
    "GetObjectRetention",
}  # fmt: skip
WRITES = {
    "PutObject", "PostObject", "CopyObject", "DeleteObject", "DeleteObjectVersion",
    "DeleteObjects", "PutObjectAcl", "PutObjectTagging", "DeleteObjectTagging",
    "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload",
    "AbortMultipartUpload", "ListMultipartUploads",
}  # fmt: skip


def topology(here: str, names: tuple[str, ...] = NAMES) -> Topology:
    regions = {name: Region(name, number) for number, name in enumerate(names)}
    return Topology(regions[here], [each for name, each in regions.items() if name != here])


def targets(here: str, touch: Touch, **facts: object) -> tuple[str, ...]:
    return target_regions(topology(here), Facts(touch, **facts), DISTANCES.__getitem__)  # type: ignore[arg-type]


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.name)
def test_what_a_request_touches(endpoint: object) -> None:
    name = endpoint.name  # type: ignore[attr-defined]
    expected = (
        Touch.SERVICE if name in SERVICE
        else Touch.CREATION if name == "CreateBucket"
        else Touch.READ if name in READS
        else Touch.WRITE if name in WRITES
        else Touch.BUCKET
    )  # fmt: skip
    assert touch_of(endpoint) is expected  # type: ignore[arg-type]
    if expected is Touch.BUCKET:
        assert BY_NAME[name].level == "bucket"


def test_every_name_of_the_table_is_an_endpoint() -> None:
    assert BY_NAME.keys() >= SERVICE | READS | WRITES


HERE: tuple[str, ...] = ()
TABLE = {
    # (bucket, touch): where it is answered when it arrives in ord, sjc, fra, ams, sin
    ("global", Touch.BUCKET): (HERE, HERE, HERE, HERE, HERE),
    ("global", Touch.READ): (HERE, HERE, HERE, HERE, HERE),
    ("global", Touch.WRITE): (HERE, HERE, HERE, HERE, HERE),
    ("single", Touch.BUCKET): (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
    ("single", Touch.READ): (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
    ("single", Touch.WRITE): (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
    ("dual", Touch.BUCKET): (HERE, HERE, HERE, HERE, HERE),
    ("dual", Touch.READ): (HERE, HERE, HERE, HERE, HERE),
    ("dual", Touch.WRITE): (("fra", "sjc"), HERE, HERE, ("fra", "sjc"), ("fra", "sjc")),
    ("usa", Touch.BUCKET): (HERE, ("ord",), ("ord",), ("ord",), ("ord",)),
    ("usa", Touch.READ): (HERE, ("ord",), ("ord",), ("ord",), ("ord",)),
    ("usa", Touch.WRITE): (HERE, ("ord",), ("ord",), ("ord",), ("ord",)),
    ("eur", Touch.BUCKET): (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
    ("eur", Touch.READ): (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
    ("eur", Touch.WRITE): (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
}


@pytest.mark.parametrize(("bucket", "touch"), TABLE)
def test_by_the_type_of_the_bucket(bucket: str, touch: Touch) -> None:
    for here, expected in zip(NAMES, TABLE[bucket, touch], strict=True):
        assert targets(here, touch, restriction=BUCKETS[bucket]) == expected, here


def test_listing_buckets_is_local() -> None:
    assert [targets(here, Touch.SERVICE) for here in NAMES] == [()] * 5


CREATIONS = {
    "": (HERE, HERE, HERE, HERE, HERE),
    "fra": (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
    "FRA, fra": (("fra",), ("fra",), HERE, ("fra",), ("fra",)),
    "usa": (HERE, ("ord",), ("ord",), ("ord",), ("ord",)),
    "fra,sjc": (("sjc",), HERE, HERE, ("sjc",), ("sjc",)),
    "sjc,ams,sin": (("sjc",), HERE, ("sjc",), HERE, HERE),
}


@pytest.mark.parametrize("asked", CREATIONS)
def test_a_bucket_is_created_where_it_is_answered_for(asked: str) -> None:
    for here, expected in zip(NAMES, CREATIONS[asked], strict=True):
        assert targets(here, Touch.CREATION, asked=asked) == expected, here


def test_the_nearest_first_and_the_dead_last() -> None:
    assert targets("ams", Touch.WRITE, restriction="sin,sjc,ord,fra") == (
        "fra",
        "ord",
        "sjc",
        "sin",
    )
    far = dict.fromkeys(NAMES, float("inf"))
    facts = Facts(Touch.WRITE, "fra,sjc")
    assert target_regions(topology("sin"), facts, far.__getitem__) == ("sjc", "fra")


def test_an_objects_own_regions() -> None:
    assert targets("sin", Touch.WRITE, asked="sjc,fra") == ("fra", "sjc")
    assert targets("sjc", Touch.WRITE, asked="sjc,fra") == HERE
    assert targets("sjc", Touch.WRITE, restriction="sjc,fra", asked="fra") == ("fra",)
    assert targets("sin", Touch.WRITE, restriction="sjc,fra", asked="sjc") == ("sjc",)
    # to be refused by whoever gets it
    assert targets("sin", Touch.WRITE, restriction="sjc,fra", asked="ams") == HERE
    assert targets("sin", Touch.WRITE, restriction="fra", asked="ams") == ("fra",)


def test_a_pinned_read() -> None:
    assert targets("sin", Touch.READ, asked="ams") == ("ams",)
    assert targets("sin", Touch.READ, asked="eur") == ("fra", "ams")
    assert targets("ams", Touch.READ, asked="eur") == HERE
    assert targets("sin", Touch.READ, restriction="sjc,fra", asked="sjc") == ("sjc",)
    # the region that leads a bucket answers for it, whoever else is asked
    assert targets("sin", Touch.READ, restriction="fra", asked="ams") == ("fra",)


@pytest.mark.parametrize("touch", [Touch.CREATION, Touch.READ, Touch.WRITE])
@pytest.mark.parametrize("restriction", ["", "fra", "sjc,fra", "usa"])
def test_unknown_regions(touch: Touch, restriction: str) -> None:
    with pytest.raises(UnknownRegion, match="nrt"):
        targets("sin", touch, restriction=restriction, asked="fra,nrt")


def test_strong_requests_go_home() -> None:
    for touch in (Touch.READ, Touch.WRITE):
        assert targets("sin", touch, is_strong=True, home="ams") == ("ams",)
        assert targets("ams", touch, is_strong=True, home="ams") == HERE
        # of a key that is new here: one that all agree on
        assert targets("sin", touch, is_strong=True) == ("ord",)
        assert targets("ord", touch, is_strong=True) == HERE
        assert targets("sin", touch, restriction="fra,sjc", is_strong=True) == ("sjc",)
        assert targets("fra", touch, restriction="fra,sjc", is_strong=True) == ("sjc",)
        assert targets("sjc", touch, restriction="fra,sjc", is_strong=True, home="fra") == ("fra",)
        # a home that may not hold it any more is none
        assert targets("sin", touch, restriction="fra,sjc", is_strong=True, home="ams") == ("sjc",)
        assert targets("sin", touch, restriction="fra", is_strong=True, home="ams") == ("fra",)
        # one that has left the cluster, too
        assert targets("sin", touch, is_strong=True, home="nrt") == ("ord",)
    assert targets("sin", Touch.WRITE, asked="ams", is_strong=True, home="fra") == ("ams",)


def upload_id(number: int) -> str:
    return ((1_800_000_000 << 6) | number).to_bytes(8, "big").hex() + "00" * 8


def test_an_upload_stays_where_it_began() -> None:
    for number, name in enumerate(NAMES):
        assert upload_region(topology("sin"), upload_id(number)) == name
        for touch in (Touch.READ, Touch.WRITE):  # ListParts is a read
            found = targets("sin", touch, upload_id=upload_id(number), is_strong=True, home="ord")
            assert found == (HERE if name == "sin" else (name,))
    assert targets("sin", Touch.WRITE, restriction="fra", upload_id=upload_id(0)) == ("fra",)
    assert targets("sjc", Touch.WRITE, restriction="sjc,fra", upload_id=upload_id(2)) == ("fra",)


@pytest.mark.parametrize("text", ["", "x", "0" * 31, "g" * 32, "é" * 32, upload_id(60), " " * 32])
def test_what_is_no_upload_of_this_cluster(text: str) -> None:
    assert upload_region(topology("sin"), text) == ""
    assert targets("sin", Touch.WRITE, upload_id=text) == HERE


def test_regions_that_have_left() -> None:
    for restriction in ("nrt", "nrt,syd"):
        with pytest.raises(NoRegionLeft):
            targets("sin", Touch.WRITE, restriction=restriction)
    with pytest.raises(NoRegionLeft):
        targets("sin", Touch.READ, restriction="nrt")
    assert targets("sin", Touch.READ, restriction="nrt,syd", is_strong=True) == HERE


def test_as_it_is_stored() -> None:
    here = topology("sin")
    assert normal(here, " USA ") == "usa"
    assert normal(here, "fra, SJC ,fra,,") == "fra,sjc"
    assert normal(here, ",") == ""
    with pytest.raises(UnknownRegion):
        normal(here, "fra,x")


def test_of_one_region() -> None:
    alone = topology("sjc", ("sjc",))
    assert normal(alone, "sjc") == "sjc"
    assert normal(alone, "usa") == "usa"
    for code in ("fra", "eur"):
        with pytest.raises(UnknownRegion):
            normal(alone, code)


@pytest.mark.parametrize(
    ("here", "restriction", "source", "expected"),
    [
        ("ord", "", "fra", ("fra",)),
        ("fra", "", "fra", HERE),
        ("ord", "", "eur", ("fra",)),
        ("ams", "", "eur", ("fra",)),
        ("ord", "", "sjc,fra", ("fra", "sjc")),
        ("sjc", "", "sjc,fra", HERE),
        ("ord", "sjc,fra", "fra", ("fra",)),
        ("sjc", "sjc,ams", "fra", HERE),  # refused: the copy may not lie where the source may
        ("ord", "sjc", "fra", ("sjc",)),  # refused there
    ],
)
def test_a_copy_goes_where_its_source_may_lie(
    here: str, restriction: str, source: str, expected: tuple[str, ...]
) -> None:
    assert targets(here, Touch.WRITE, restriction=restriction, source=source) == expected
