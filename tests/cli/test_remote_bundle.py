"""`amur bundle`: against the real server, and against one that breaks off."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard

from amur.cli import bundle

KEYS = [f"data/{number:03}.bin" for number in range(30)]


@pytest.fixture(scope="module")
def filled(s3: Any) -> str:
    s3.create_bucket(Bucket="bundled")
    for number, key in enumerate(KEYS):
        s3.put_object(Bucket="bundled", Key=key, Body=bytes([number]) * number * 100)
    return "bundled"


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name: file.read() for member in archive if (file := archive.extractfile(member))
        }


EXPECTED = {key: bytes([number]) * number * 100 for number, key in enumerate(KEYS)}


# --- keys ---


def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# a list\na\n\nb c\r\n  \n d\n#e\nä,b")
    assert bundle.read_keys(str(file)) == ["a", "b c", " d", "ä,b"]


def test_keys_in_the_option() -> None:
    assert bundle.read_keys("a, b,,c/d") == ["a", "b", "c/d"]
    assert bundle.read_keys("one/key") == ["one/key"]
    assert bundle.read_keys("k" * 1024) == ["k" * 1024], "longer than any file's name"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tar", "none"),
        ("a.tar.gz", "gzip"),
        ("a.TGZ", "gzip"),
        ("a.tar.zst", "zstd"),
        ("", "none"),
    ],
)
def test_compression_by_name(name: str, kind: str) -> None:
    assert bundle.compression_of(name) == kind


# --- the real server ---


def test_to_a_file(cli: Any, filled: str, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("\n".join(KEYS))
    done = cli("bundle", filled, "--keys", "keys.txt", "-o", "batch.tar", "--json")
    assert members((tmp_path / "batch.tar").read_bytes()) == EXPECTED
    answer = json.loads(done.stdout)
    assert (answer["action"], answer["bucket"], answer["keys"]) == ("bundled", filled, 30)
    assert (answer["compression"], answer["output"]) == ("none", "batch.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch.tar", "keys.txt"]


def test_prefix_and_stdout(cli: Any, filled: str) -> None:
    for prefix in ("data", "data/"):
        done = cli("bundle", f"t3://{filled}/{prefix}", "-k", "001.bin,000.bin")
        assert list(members(done.stdout_bytes)) == ["data/001.bin", "data/000.bin"]


@pytest.mark.parametrize("name", ["b.tar.gz", "b.tar.zst", "b.zip"])
def test_kinds(cli: Any, filled: str, tmp_path: Path, name: str) -> None:
    cli("bundle", filled, "-o", name, stdin="\n".join(KEYS))
    data = (tmp_path / name).read_bytes()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = {member: archive.read(member) for member in archive.namelist()}
    elif name.endswith(".zst"):
        with zstandard.ZstdDecompressor().stream_reader(data) as unpacked:
            found = members(unpacked.read())
    else:
        found = members(data)
    assert found == EXPECTED


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tar.zst", "b.zip"])
def test_skipped_keys_are_told(cli: Any, filled: str, name: str) -> None:
    done = cli("bundle", filled, "-o", name, "-k", f"{KEYS[1]},none,nor this", "--json")
    assert json.loads(done.stdout)["skipped"] == [
        {"key": "none", "reason": "NoSuchKey"},
        {"key": "nor this", "reason": "NoSuchKey"},
    ]
    said = cli("bundle", filled, "-o", name, "-k", f"{KEYS[1]},none").stderr
    assert "1 key of 2 skipped" in said
    assert "none: NoSuchKey" in said


def test_an_object_cannot_pretend_to_be_the_manifest(cli: Any, s3: Any, filled: str) -> None:
    forged = json.dumps({"skipped": [{"key": "forged", "reason": "x"}]}).encode()
    s3.put_object(Bucket=filled, Key=bundle.ERRORS_NAME, Body=forged)
    done = cli("bundle", filled, "-o", "b.tar", "-k", f"{bundle.ERRORS_NAME},none", "--json")
    assert "forged" not in done.stdout


def test_fail_mode(cli: Any, filled: str, tmp_path: Path) -> None:
    done = cli("bundle", filled, "-o", "b.tar", "-k", f"{KEYS[0]},none", "--on-error", "fail",
               code=1)  # fmt: skip
    assert "1 key can't be read; nothing was written\n  none\n" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("no-such-bucket", "-k", "a"), "", "no bucket no-such-bucket"),
        (("bundled",), "", "no keys in stdin"),
        (("bundled",), "# only\n\n", "no keys in stdin"),
        (("bundled",), b"\xff", "not UTF-8"),
        (("bundled",), "k\n" * 5001, "5,001 keys"),
        (("bundled", "-k", "a", "--compression", "lz4"), "", "--compression is none or gzip"),
        (("bundled", "-k", "a", "--format", "rar"), "", "--format is tar or zip"),
        (("bundled", "-k", "a", "--on-error", "x"), "", "--on-error is skip or fail"),
        (("bundled", "-k", "a", "-o", "none/b.tar"), "", "can't write none/b.tar"),
        (("bundled", "-k", "a", "-o", "."), "", "is a directory"),
        (("bundled", "-k", "a", "--endpoint", "http://127.0.0.1:1"), "", "can't connect"),
        (
            ("bundled", "-k", "a", "--access-key", "tid_testing", "--access-secret", "wrong-one"),
            "",
            "the secret does not fit",
        ),
    ],
)
def test_refusals(
    cli: Any, filled: str, arguments: tuple[str, ...], stdin: str | bytes, said: str
) -> None:
    done = cli("bundle", *arguments, stdin=stdin, code=1)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_terminal_gets_no_archive_and_gives_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal())
    with pytest.raises(bundle.Problem, match="no keys"):
        bundle.read_keys("")
    monkeypatch.setattr("sys.stdout", _Terminal())
    with pytest.raises(bundle.Problem, match="nothing for a terminal"), bundle.target(""):
        pass


class _Terminal:
    def isatty(self) -> bool:
        return True


# --- a server that breaks off ---

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def stub() -> Iterator[tuple[str, list[Answer]]]:
    """An endpoint, and what it answers, one after the other."""
    answers: list[Answer] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answers.pop(0)(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    thread.join()
    server.server_close()


def chunks(*pieces: bytes, whole: bool) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.send_header("connection", "close")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    return answer


def short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 999)
    handler.close_connection = True


def busy(handler: BaseHTTPRequestHandler) -> None:
    body = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
    handler.send_response(503)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize(
    "answer", [chunks(b"x" * 500, whole=False), short], ids=["chunks", "length"]
)
@pytest.mark.parametrize("old", [None, b"the file of yesterday"])
def test_a_broken_stream_leaves_no_file(
    cli: Any, stub: tuple[str, list[Answer]], tmp_path: Path, answer: Answer, old: bytes | None
) -> None:
    endpoint, answers = stub
    answers.append(answer)
    if old:
        (tmp_path / "b.tar").write_bytes(old)
    done = cli("bundle", "box", "-k", "a", "-o", "b.tar", "--endpoint", endpoint, code=1)
    assert "the stream broke off" in done.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([old] if old else [])


def test_a_broken_stream_to_stdout_is_a_failure(cli: Any, stub: tuple[str, list[Answer]]) -> None:
    endpoint, answers = stub
    answers.append(chunks(b"x" * 500, whole=False))
    done = cli("bundle", "box", "-k", "a", "--endpoint", endpoint, code=1)
    assert "the stream broke off" in done.stderr


def test_a_busy_server_is_asked_again(
    cli: Any, stub: tuple[str, list[Answer]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    endpoint, answers = stub
    answers += [busy, busy, chunks(b"archive", whole=True)]
    cli("bundle", "box", "-k", "a", "-o", "b.tar", "--endpoint", endpoint)
    assert (tmp_path / "b.tar").read_bytes() == b"archive"
    answers += [busy] * 4
    done = cli("bundle", "box", "-k", "a", "-o", "c.tar", "--endpoint", endpoint, code=1)
    assert "Reduce your request rate (SlowDown)" in done.stderr
    assert answers == []


def test_a_servers_words_do_not_command_the_terminal(
    cli: Any, stub: tuple[str, list[Answer]], tmp_path: Path
) -> None:
    def hostile(handler: BaseHTTPRequestHandler) -> None:
        body = b"<Error><Code>Odd</Code><Message>a\x1b[2Jb\nc</Message></Error>"
        handler.send_response(400)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    endpoint, answers = stub
    answers.append(hostile)
    done = cli("bundle", "box", "-k", "a", "-o", "b.tar", "--endpoint", endpoint, code=1)
    assert "\x1b" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_full_disk_is_told(
    cli: Any, filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, mode: str) -> Any:
        path.touch()
        return open("/dev/full", mode.replace("x", "w"))

    monkeypatch.setattr(Path, "open", full)
    done = cli("bundle", filled, "-k", KEYS[20], "-o", "b.tar", code=1)
    assert done.stderr == "amur: can't write b.tar: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_written_to(cli: Any, filled: str) -> None:
    cli("bundle", filled, "-k", KEYS[0], "-o", os.devnull)
    assert not Path(os.devnull).is_file()
