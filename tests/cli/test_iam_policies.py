"""`amur iam policies`: documents from everywhere, what is wrong with them, who has them."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import jsonschema
import pytest

GOOD = {
    "Version": "2012-10-17",
    "Statement": [
        {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject",
         "Resource": "arn:aws:s3:::photos/*"}
    ],
}  # fmt: skip
WIDE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
BAD = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Alow", "Action": "s3:GetObjekt", "Resource": "arn:aws:s3:::photos/*"}
    ],
}
TWICE = {**GOOD, "Statement": [*GOOD["Statement"], {**GOOD["Statement"][0], "Sid": "Again"}]}


@pytest.fixture
def name() -> str:
    return f"p-{secrets.token_hex(5)}"


@pytest.fixture
def policy(cli: Any, name: str) -> str:
    cli("iam", "policies", "create", name, "--document", json.dumps(GOOD))
    return name


def shown(cli: Any, policy: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("iam", "policies", "get", policy, "--json").stdout)
    return found


# --- create ---


@pytest.mark.parametrize("how", ["file", "stdin", "inline"])
def test_create(cli: Any, name: str, tmp_path: Path, how: str) -> None:
    text = json.dumps(GOOD)
    (tmp_path / "policy.json").write_text(text)
    given = {"file": "policy.json", "stdin": "-", "inline": text}[how]
    create = ("iam", "policies", "create", name, "--document", given, "--description", "of Ann")
    out = cli(*create, stdin=text if how == "stdin" else None).stdout
    assert out == f"created policy arn:aws:iam::root:policy/{name}\n"
    found = shown(cli, name)
    assert found["document"] == GOOD
    assert (found["description"], found["version"], found["keys"]) == ("of Ann", "v1", [])
    assert shown(cli, found["arn"]) == found


def test_create_of_a_template(cli: Any, name: str) -> None:
    cli(
        "iam", "p", "mk", name, "--template", "training-job", "--dataset", "wiki,books",
        "--output", "tuned", "--end", "2030-01-01",
    )  # fmt: skip
    first, last = shown(cli, name)["document"]["Statement"]
    assert "arn:aws:s3:::books/*" in first["Resource"]
    assert last["Condition"] == {"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}}


def test_each_problem_is_a_line(cli: Any, name: str) -> None:
    done = cli("iam", "policies", "create", name, "--document", json.dumps(BAD), code=1)
    assert done.stderr.splitlines() == [
        "amur: Statement[1].Effect: is neither Allow nor Deny; write Allow or Deny.",
        'Statement[1].Action: no action is named "s3:GetObjekt"; did you mean s3:GetObject?',
    ]
    assert name not in cli("iam", "policies", "list").stdout


def test_what_is_doubtful_is_a_warning(cli: Any, name: str) -> None:
    done = cli("iam", "policies", "create", name, "--document", json.dumps(WIDE))
    assert done.stderr.startswith("amur: warning: Statement[1].Resource: allows everything")
    assert shown(cli, name)["document"] == WIDE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --document, or --template"),
        (("--document", "-", "--template", "tenant"), "give --document, or --template"),
        (("--document", "{}", "--param", "a=b"), "of a template, not of --document"),
        (("--document", "no-such-file.json"), "no-such-file.json: No such file"),
        (("--document", "{"), "The document"),
        (("--template", "tenant", "--bucket", "box"), "tenant needs prefix"),
        (("--template", "drop-box", "--bucket", "box", "--end", "x"), "'x' is no time"),
    ],
)
def test_create_refuses(cli: Any, name: str, arguments: tuple[str, ...], said: str) -> None:
    done = cli("iam", "policies", "create", name, *arguments, code=1)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_names_are_unique(cli: Any, policy: str) -> None:
    done = cli("iam", "policies", "create", policy, "--document", json.dumps(GOOD), code=1)
    assert "exists already" in done.stderr
    done = cli("iam", "policies", "create", "a b", "--document", json.dumps(GOOD), code=1)
    assert "A policy's name is" in done.stderr


# --- list, get ---


def test_list(cli: Any, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("iam", "policies", "edit", policy, "--description", "long " * 50)
    items = json.loads(cli("iam", "policies", "list", "--json").stdout)["items"]
    (found,) = [each for each in items if each["name"] == policy]
    assert (found["attachments"], found["version"]) == (0, "v1")
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("iam", "policies", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "KEYS", "VERSION", "UPDATED", "DESCRIPTION"]
    assert max(map(len, lines)) <= 80
    (line,) = [line for line in lines if line.startswith(policy)]
    assert line.endswith("…")
    page = json.loads(cli("iam", "policies", "list", "--limit", "1", "--json").stdout)
    assert len(page["items"]) == 1


def test_get(cli: Any, policy: str) -> None:
    out = cli("iam", "policies", "get", policy).stdout
    head, brace, tail = out.partition("\n{")
    assert json.loads(brace + tail) == GOOD
    assert f"arn:aws:iam::root:policy/{policy}" in head
    assert "does not exist" in cli("iam", "policies", "get", "no-such", code=1).stderr
    assert "is not a policy's ARN" in cli("iam", "policies", "get", "arn:x", code=1).stderr


# --- edit ---


def test_edit_by_document(cli: Any, policy: str) -> None:
    edit = ("iam", "policies", "edit", policy)
    out = cli(*edit, "--document", json.dumps(TWICE), "--description", "new").stdout
    assert out.endswith(f":policy/{policy} is at version v2\n")
    found = shown(cli, policy)
    assert (found["document"], found["description"]) == (TWICE, "new")
    assert "no action is named" in cli(*edit, "--document", json.dumps(BAD), code=1).stderr
    cli(*edit, "--description", "newer")
    found = shown(cli, policy)
    assert (found["document"], found["description"]) == (TWICE, "newer")


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets an editor that runs `sed` with an expression."""
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    monkeypatch.setenv("TMPDIR", str(drafts))
    monkeypatch.delenv("VISUAL", raising=False)

    def use(command: str) -> Path:
        monkeypatch.setenv("EDITOR", command)
        return drafts

    return use


def test_edit_in_an_editor(cli: Any, policy: str, editor: Any) -> None:
    drafts = editor("sed -i s/photos/films/")
    cli("iam", "policies", "edit", policy)
    assert shown(cli, policy)["document"]["Statement"][0]["Resource"] == "arn:aws:s3:::films/*"
    assert list(drafts.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [("true", "nothing was changed"), ("no-such-editor", "can't start the editor no-such-editor")],
)
def test_edit_of_nothing(cli: Any, policy: str, editor: Any, command: str, said: str) -> None:
    drafts = editor(command)
    assert said in cli("iam", "policies", "edit", policy, code=1).stderr
    assert shown(cli, policy)["version"] == "v1"
    assert list(drafts.iterdir()) == []


def test_what_was_written_is_not_lost(cli: Any, policy: str, editor: Any) -> None:
    drafts = editor("sed -i s/GetObject/GetObjekt/")
    done = cli("iam", "policies", "edit", policy, code=1)
    (draft,) = drafts.iterdir()
    assert "did you mean s3:GetObject?" in done.stderr
    assert f"{draft} has what you wrote" in done.stderr
    assert "GetObjekt" in draft.read_text()
    assert draft.stat().st_mode & 0o777 == 0o600
    assert shown(cli, policy)["document"] == GOOD


def test_edit_again(cli: Any, policy: str, editor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first `sed` breaks it, the second makes it whole and another."""
    monkeypatch.setattr("amur.cli.iam_policies.is_terminal", lambda: True)
    drafts = editor("sed -i -e s/GetObjekt/DeleteObject/;s/GetObject/GetObjekt/")
    done = cli("iam", "policies", "edit", policy, stdin="y\n")
    assert "edit it again?" in done.stderr
    assert shown(cli, policy)["document"]["Statement"][0]["Action"] == "s3:DeleteObject"
    assert list(drafts.iterdir()) == []


# --- keys ---


def test_keys_of_a_policy(cli: Any, policy: str) -> None:
    key = json.loads(cli("access-keys", "create", policy, "--json").stdout)["id"]
    cli("iam", "policies", "link-key", policy, "--id", policy)  # both have one name
    listed = ("iam", "policies", "list-keys", policy)
    assert json.loads(cli(*listed, "--json").stdout)["items"] == [{"id": key, "name": policy}]
    assert f"{key} ({policy})" in cli("iam", "policies", "get", policy).stdout
    done = cli("iam", "policies", "delete", policy, code=1)
    assert f"keys have this policy: {key} ({policy}); --force" in done.stderr
    cli("iam", "policies", "unlink-key", policy, "--id", key)
    assert "no keys have this policy" in cli(*listed).stderr
    cli("iam", "policies", "link-key", policy, "--id", key)
    out = cli("iam", "policies", "delete", policy, "--force").stdout
    assert f"it was taken from {key}" in out
    assert json.loads(cli("access-keys", "list-policies", key, "--json").stdout)["items"] == []
    assert "does not exist" in cli("iam", "policies", "delete", policy, code=1).stderr


def test_delete(cli: Any, policy: str) -> None:
    done = json.loads(cli("iam", "policies", "delete", policy, "--json").stdout)
    assert (done["action"], done["keys"]) == ("deleted", [])
    cli("iam", "policies", "get", policy, code=1)


# --- lint, templates, schema ---


def test_lint(cli: Any, policy: str) -> None:
    lint = ("iam", "policies", "lint")
    assert "nothing is wrong" in cli(*lint, policy).stderr
    out = cli(*lint, "--document", json.dumps(WIDE), code=1).stdout
    assert out.startswith("serious: Statement[1].Resource: allows everything")
    out = cli(*lint, "--document", json.dumps(TWICE)).stdout
    assert out.startswith("hint: Statement[2] (Again).Action: says the same")
    found = json.loads(cli(*lint, "--document", json.dumps(WIDE), "--json", code=1).stdout)
    assert [each["code"] for each in found["items"]] == ["too-wide"]
    assert "no action is named" in cli(*lint, "--document", json.dumps(BAD), code=1).stderr
    assert "give a policy's name" in cli(*lint, code=1).stderr


def test_lint_tells_which_keys_have_what_expired(cli: Any, name: str) -> None:
    create = ("iam", "policies", "create", name, "--template", "drop-box", "--bucket", "box")
    assert "[expired]" in cli(*create, "--end", "2020-01-01").stderr
    made = cli("access-keys", "create", name, "--policy", name, "--json").stdout
    out = cli("iam", "policies", "lint", name, code=1).stdout
    assert f"it is still attached to {json.loads(made)['id']}" in out


def test_lint_asks_no_server_about_a_file(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # nobody is there
    assert cli("iam", "policies", "lint", "--document", json.dumps(GOOD)).exit_code == 0


def test_templates(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = cli("iam", "policies", "templates").stdout
    assert max(map(len, out.splitlines())) <= 80
    assert "training-job: Read datasets" in out
    found = json.loads(cli("iam", "policies", "templates", "tenant", "--json").stdout)["items"]
    assert [each["name"] for each in found[0]["parameters"]] == ["bucket", "prefix"]
    assert "there is no template" in cli("iam", "policies", "templates", "x", code=1).stderr


def test_schema(cli: Any) -> None:
    schema = json.loads(cli("iam", "policies", "schema").stdout)
    jsonschema.validate(GOOD, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(BAD, schema)
