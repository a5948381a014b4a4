"""A clock that has jumped back an hour: newer versions stay newer, and wrong clocks are told."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from amur.serve.testing import ServedAmur
from tests.faults.client import NAMESPACE, Client

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = pytest.mark.skipif(
    LIBRARY is None, reason="libfaketime is missing: apt-get install faketime"
)
HOUR = 3600


def test_an_hour_back(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with ServedAmur(directory, workers=2) as server:
        client = Client(server)
        for bucket in ("plain", "versioned"):
            client.ok("PUT", f"/{bucket}")
        enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        client.ok("PUT", "/versioned", "versioning", {}, enabled)
        ids = []
        for number in range(3):
            body = b"present %d" % number
            client.ok("PUT", "/plain/key", "", {}, body)
            ids.append(client.ok("PUT", "/versioned/key", "", {}, body).headers["x-amz-version-id"])
        client.close()
    wrong = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": "-1h"}
    with ServedAmur(directory, workers=2, environment=wrong) as server:
        right, behind = Client(server), Client(server, clock_s=-HOUR)
        answer = right.call("PUT", "/plain/key", "", {}, b"from the present")
        assert (answer.status, b"<Code>RequestTimeTooSkewed</Code>" in answer.body) == (403, True)
        for number in range(3):
            body = b"past %d" % number
            behind.ok("PUT", "/plain/key", "", {}, body)
            assert behind.ok("GET", "/plain/key").body == body
            told = behind.ok("PUT", "/versioned/key", "", {}, body).headers["x-amz-version-id"]
            assert behind.ok("GET", "/versioned/key").body == body
            ids.append(told)
        assert ids == sorted(ids, key=int)
        listed = ElementTree.fromstring(behind.ok("GET", "/versioned", "versions").body)
        versions = [item.findtext(f"{NAMESPACE}VersionId") for item in listed.iter()]
        assert [version for version in versions if version] == ids[::-1]
        behind.ok("DELETE", "/versioned/key")
        assert behind.call("GET", "/versioned/key").status == 404
        right.close()
        behind.close()
    with ServedAmur(directory, workers=2) as server:
        client = Client(server)
        assert client.ok("GET", "/plain/key").body == b"past 2"
        client.ok("PUT", "/versioned/key", "", {}, b"present again")
        assert client.ok("GET", "/versioned/key").body == b"present again"
        client.close()
