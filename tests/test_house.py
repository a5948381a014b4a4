"""The rules of the house that no linter knows; each names what is allowed, and why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "amur").rglob("*.py"))
TESTS = [
    path for path in sorted((ROOT / "tests").rglob("*.py")) if "node_modules" not in path.parts
]

FILE_LINES_MAX = 600
TEST_FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
TEST_FUNCTION_LINES_MAX = 100  # a table may stand in it

CALLS = {
    "time.time": {
        "amur/gateway/observe.py": "when a request was logged",
        "amur/gateway/metrics.py": "age of other processes' snapshots",
        "amur/serve/jobs.py": "the same",
        "amur/serve/replicate.py": "the same",
        "amur/serve/layout.py": "when the directory was made, for people",
        "amur/httpd/server.py": "the Date header",
        "amur/serve/checks.py": "is the clock set at all",
    },
    "time.time_ns": {"amur/clock.py": "the clock that all others ask"},
    "datetime.now": {},
    "datetime.utcnow": {},
    "os.rename": {"amur/data/disk.py": "behind the seam that power loss is simulated at"},
    "os.replace": {"amur/data/disk.py": "the same"},
    "os.system": {},
    "os.popen": {},
    "eval": {},
    "exec": {},
    "compile": {},
    "__import__": {},
    "print": {},
    "input": {},
}
"""Calls that are banned, but for these files."""

IMPORTS = {
    "pickle": {},
    "shelve": {},
    "marshal": {},
    "random": {
        "amur/objects/core.py": "jitter before a retry",
        "amur/client/fetch.py": "jitter before a retry",
        "amur/client/order.py": "the order of an epoch, which must be repeatable",
        "amur/data/fake_disk.py": "what a simulated power cut leaves",
    },
    "xml.etree": {},
    "xml.dom": {},
    "xml.sax": {},
    "tempfile": {
        "amur/meta/lmdb_files.py": "beside the file that it replaces",
    },
}
"""Modules that are banned: unsafe on what a client sent, or guessable."""

SECRETS = ("secret", "signature", "password", "hmac", "private_key")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_files_and_functions_are_short(path: Path) -> None:
    is_source = path in SOURCES
    most = FILE_LINES_MAX if is_source else TEST_FILE_LINES_MAX
    function_most = FUNCTION_LINES_MAX if is_source else TEST_FUNCTION_LINES_MAX
    assert len(path.read_text().splitlines()) <= most
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < function_most, node.name


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_banned_is_called_or_imported(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            for banned, allowed in CALLS.items():
                is_builtin = "." not in banned
                if called == banned or (not is_builtin and called.endswith("." + banned)):
                    assert name(path) in allowed, f"line {node.lineno}: {called}()"
            for keyword in node.keywords:
                assert keyword.arg != "shell", f"line {node.lineno}: a shell"
    for module in imported(path):
        for banned, allowed in IMPORTS.items():
            if module == banned or module.startswith(banned + "."):
                assert name(path) in allowed, f"imports {module}"
        for banned in CALLS:
            assert module != banned, f"imports {module}: call it by its module's name"


@pytest.mark.parametrize("table", [CALLS, IMPORTS], ids=["calls", "imports"])
def test_what_is_allowed_exists(table: dict[str, dict[str, str]]) -> None:
    for allowed in table.values():
        for path, reason in allowed.items():
            assert (ROOT / path).exists(), path
            assert reason


def operands(node: ast.Compare) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    left = node.left
    for how, right in zip(node.ops, node.comparators, strict=True):
        yield left, how, right
        left = right


def is_secret(node: ast.expr) -> bool:
    """By the last part of its name: a method called on it, or a length, is not the secret."""
    last = dotted(node).rpartition(".")[2]
    return not last.isupper() and any(last.lower().endswith(word) for word in SECRETS)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_secrets_are_compared_in_constant_time(path: Path) -> None:
    """S4: hmac.compare_digest only. A comparison with a constant tells nothing."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Compare):
            for left, how, right in operands(node):
                if isinstance(how, ast.Eq | ast.NotEq | ast.In | ast.NotIn) and not any(
                    isinstance(side, ast.Constant | ast.Tuple) for side in (left, right)
                ):
                    assert not is_secret(left), f"line {node.lineno}"
                    assert not is_secret(right) or isinstance(how, ast.In), f"line {node.lineno}"


SQL = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM", "CREATE TABLE", "DROP ", "ALTER ")


def is_sql(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.lstrip().upper().startswith(SQL)
        and node.value.lstrip()[:6].isupper()
    )


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sql_is_never_built_from_pieces(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.JoinedStr):
            pieces: list[ast.AST] = list(node.values) if len(node.values) > 1 else []
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            pieces = [node.left]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            pieces = [node.func.value] if node.func.attr == "format" else []
        else:
            continue
        assert not any(map(is_sql, pieces)), f"line {node.lineno}: parameters only"


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("given == self._secret", True),
        ("a.signature != b", True),
        ("secret is None", False),
        ("len(signature) == 64", False),
        ("self.secret == ''", False),
        ("compare_digest(secret, given)", False),
    ],
)
def test_the_search_for_secrets_finds_them(source: str, caught: bool) -> None:
    found = [
        is_secret(side)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        for left, how, right in operands(node)
        for side in (left, right)
        if isinstance(how, ast.Eq | ast.NotEq) and not isinstance(right, ast.Constant)
    ]
    assert any(found) is caught


def test_the_search_for_sql_finds_it() -> None:
    (node,) = (
        each for each in ast.walk(ast.parse('f"SELECT {x}"')) if isinstance(each, ast.JoinedStr)
    )
    assert any(map(is_sql, node.values))
