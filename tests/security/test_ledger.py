"""The ledger is whole: every row has tests that exist, or says what brings them."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
LEDGER: dict[str, list[dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("ledger.toml").read_text()
)
ROWS = [row for table in LEDGER.values() for row in table]
GOALS = [f"S{number}" for number in range(1, 18)]
FAULTS_MIN, CVES_MIN = 14, 100


def title(row: dict[str, Any]) -> str:
    return str(row.get("id") or row.get("kind") or row["ids"][0])


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("row", ROWS, ids=title)
def test_a_row_is_covered_by_tests_that_exist(row: dict[str, Any]) -> None:
    assert row.get("what") or row.get("kind")
    if "later" in row:
        assert row["later"]
        assert "tests" not in row
        return
    assert row["tests"]
    for name in row["tests"]:
        path, _, function = name.partition("::")
        assert (TESTS / path).exists(), name
        assert function.startswith("test_")
        assert function in functions(TESTS / path), name


def test_no_row_is_missing() -> None:
    assert set(LEDGER) == {"fault", "goal", "cve"}
    assert [row["id"] for row in LEDGER["goal"]] == GOALS
    assert len(LEDGER["fault"]) >= FAULTS_MIN
    ids = [each for row in LEDGER["cve"] for each in row["ids"]]
    assert len(ids) == len(set(ids)) >= CVES_MIN
