"""`amur bundle`: thousands of objects in one request, as one archive.

`amur.client` asks for it. The archive is written beside its place and moved there when it is
whole, so a stream that breaks never leaves a file that looks whole.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer

from amur.cli.address import Address, beside, parse, printable
from amur.cli.output import rate, size
from amur.cli.remote import CODES, Problem, Remote, command
from amur.gateway.bundle.names import ERRORS_NAME
from amur.limits import BUNDLE_KEYS_MAX, MIB

if TYPE_CHECKING:
    from amur.client.bundle import Bundle, BundleError, Skipped

COMPRESSIONS = ("none", "gzip", "zstd")

_SUFFIXES = ((".tar.gz", "gzip"), (".tgz", "gzip"), (".tar.zst", "zstd"), (".tzst", "zstd"))
_PIECE_BYTES = MIB
_SKIPPED_SHOWN = 20
_HEADER_BYTES = 768  # of a member, with what fills up its last block
_RETRIES = 3
_RETRIED = (500, 502, 503, 504)


def register(app: typer.Typer) -> None:
    command(app, "bundle", own_format=True)(bundle)


def bundle(
    remote: Remote,
    source: Annotated[
        str, typer.Argument(metavar="BUCKET | t3://BUCKET[/PREFIX]", help="Prefix of every key.")
    ],
    keys: Annotated[
        str,
        typer.Option(
            "--keys", "-k", metavar="A,B | FILE | KEY",
            help="Keys with commas, a file of one per line, or one key. Without it: from stdin.",
        ),
    ] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it [stdout].")
    ] = "",
    compression: Annotated[
        str,
        typer.Option(metavar="none|gzip|zstd", help="[by the name: .tar.gz .tgz .tar.zst .tzst]"),
    ] = "",
    on_error: Annotated[
        str,
        typer.Option(metavar="skip|fail", help="What a key that can't be read does."),
    ] = "skip",
    archive: Annotated[
        str, typer.Option("--format", metavar="tar|zip", help="[by the name: .zip, else tar]")
    ] = "",
) -> None:  # fmt: skip
    """Fetch many objects as one tar or zip archive."""
    place = parse(source)
    kind = _one_of("--format", archive or _archive_of(output), ("tar", "zip"))
    packed = _one_of("--compression", compression or compression_of(output), COMPRESSIONS)
    _one_of("--on-error", on_error, ("skip", "fail"))
    names = [place.folder + each for each in read_keys(keys)]
    if len(names) > BUNDLE_KEYS_MAX:
        raise Problem(
            f"{len(names):,} keys are too many for one bundle, which takes {BUNDLE_KEYS_MAX:,}; "
            f"split -l {BUNDLE_KEYS_MAX} makes files of that many"
        )
    began = time.monotonic()
    with _requested(remote, place, names, kind, packed, on_error) as answer:
        written = _written(remote, answer, output, packed)
    told = answer.skipped_count
    skipped = _skipped(output, kind, packed, told)
    _report(remote, place, names, kind, packed, output, written, began, told, skipped)


def _one_of(option: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise Problem(f"{option} is {' or '.join(known)}, not {value!r}")
    return value


def compression_of(name: str) -> str:
    return next((kind for suffix, kind in _SUFFIXES if name.lower().endswith(suffix)), "none")


def _archive_of(name: str) -> str:
    return "zip" if name.lower().endswith(".zip") else "tar"


# --- keys ---


def read_keys(given: str) -> list[str]:
    """Of the option `--keys`, or of stdin when it is empty. Raises Problem."""
    if "," in given:
        keys = [each.strip() for each in given.split(",") if each.strip()]
    elif os.path.isfile(given):  # whatever a key looks like: Path.is_file refuses long ones
        keys = _lines(Path(given).read_bytes(), given)
    elif given:
        keys = [given]
    elif sys.stdin.isatty():
        raise Problem("no keys: give --keys, or one key per line on stdin")
    else:
        keys = _lines(sys.stdin.buffer.read(), "stdin")
    if not keys:
        raise Problem(f"no keys in {given or 'stdin'}")
    return keys


def _lines(data: bytes, source: str) -> list[str]:
    """Blank lines, and those that begin with #, are none."""
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise Problem(f"{source} is not UTF-8") from None
    stripped = (line.removesuffix("\r") for line in lines)
    return [line for line in stripped if line.strip() and not line.startswith("#")]


# --- request and answer ---


def _requested(
    remote: Remote, place: Address, names: list[str], kind: Any, packed: Any, on_error: Any
) -> Bundle:
    """Tried again while the server is too busy: nothing has been written yet. Raises Problem."""
    from amur.client.bundle import BundleError, bundle_objects

    for attempt in range(_RETRIES + 1):
        try:
            return bundle_objects(
                remote.s3, place.bucket, names, format=kind, compression=packed, on_error=on_error
            )
        except BundleError as error:
            if error.status not in _RETRIED or attempt == _RETRIES:
                raise Problem(_refusal(error, place)) from None
        time.sleep(0.2 * 2**attempt)
    raise AssertionError


def _refusal(error: BundleError, place: Address) -> str:
    if not error.code:
        return f"the server answered with status {error.status}, and no reason"
    if error.code == "NoSuchBucket":
        return f"there is no bucket {place.bucket}"
    if error.code != "BundleKeyNotFound":
        return CODES.get(error.code) or f"{error.message.rstrip('.')} ({error.code})"
    keys = error.missing_keys
    return "\n".join(
        (f"{_number(len(keys), 'key')} can't be read; nothing was written", *_listed(keys))
    )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {printable(line)}" for line in lines[:_SKIPPED_SHOWN])
    if len(lines) > _SKIPPED_SHOWN:
        yield f"  ... and {len(lines) - _SKIPPED_SHOWN:,} more"


# --- writing ---


def _written(remote: Remote, answer: Bundle, output: str, packed: str) -> int:
    """The bytes of the archive, all of them written. Raises Problem."""
    from amur.client.bundle import BundleBroken

    total = None
    if packed == "none" and answer.bundle_bytes is not None:
        total = answer.bundle_bytes + _HEADER_BYTES * (answer.object_count or 0)  # about
    count = 0
    with target(output) as file, remote.out.progress("bundle", total) as bar:
        while True:
            try:
                piece = answer.read(_PIECE_BYTES)
            except BundleBroken as error:
                why = " ".join(error.message.split())
                raise Problem(f"the stream broke off after {size(count)}: {why}") from None
            if not piece:
                return count
            file.write(piece)
            count += len(piece)
            bar.advance(len(piece))


@contextmanager
def target(output: str) -> Iterator[IO[bytes]]:
    """Where the bytes go; a file appears, or is replaced, only when they are all there."""
    if output in ("", "-"):
        if sys.stdout.isatty():
            raise Problem(
                "an archive is nothing for a terminal: name a file with -o, or use a pipe"
            )
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    if path.is_dir():
        raise Problem(f"{output} is a directory; name a file in it")
    if path.exists() and not path.is_file():  # /dev/null, a pipe
        with path.open("wb") as file:
            yield file
        return
    partial = beside(path, f"{os.getpid()}.partial")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise Problem(f"can't write {output}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


# --- what is told ---


def _skipped(output: str, kind: str, packed: str, told: int | None) -> list[Skipped]:
    """From the manifest in the archive, where it can be looked into afterwards."""
    from amur.client.bundle import skipped_keys

    path = Path(output or "-")
    if told == 0 or not path.is_file():
        return []
    if told is None and packed != "none":
        return []  # would be a second reading of all, for what is most likely nothing
    try:
        with _unpacked(path, packed) as file:
            data = _from_zip(file) if kind == "zip" else _from_tar(file)
        return skipped_keys(data) if data else []
    except Exception:
        return []  # the archive is there, and that is what was asked for


@contextmanager
def _unpacked(path: Path, packed: str) -> Iterator[IO[bytes]]:
    """The plain archive; only forward if it was compressed."""
    with path.open("rb") as file:
        if packed == "gzip":
            import gzip

            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast("IO[bytes]", unpacked)
        elif packed == "zstd":
            import zstandard

            yield zstandard.ZstdDecompressor().stream_reader(file)
        else:
            yield file


def _from_zip(file: IO[bytes]) -> bytes:
    import zipfile

    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        is_last = bool(members) and members[-1].filename == ERRORS_NAME
        return archive.read(members[-1]) if is_last else b""


def _from_tar(file: IO[bytes]) -> bytes:
    """Of the last member only: an object may have the same name."""
    import tarfile

    data = b""
    with tarfile.open(fileobj=file, mode="r:" if file.seekable() else "r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name == ERRORS_NAME else None
            data = content.read() if content else b""
    return data


def _report(
    remote: Remote, place: Address, names: list[str], kind: str, packed: str, output: str,
    written: int, began: float, told: int | None, skipped: list[Skipped],
) -> None:  # fmt: skip
    """On stderr, as stdout may be the archive; the document of --json too, then."""
    seconds = time.monotonic() - began
    count = told if told is not None else len(skipped)
    is_stdout = output in ("", "-")
    if not remote.out.is_for_people:
        answer = {
            "action": "bundled", "bucket": place.bucket, "keys": len(names), "format": kind,
            "compression": packed, "output": None if is_stdout else output, "bytes": written,
            "skipped_count": count, "skipped": [each._asdict() for each in skipped],
        }  # fmt: skip
        if is_stdout:
            typer.echo(msgspec.json.encode(answer).decode(), err=True)
        else:
            remote.out.document(answer)
        return
    if count:
        remote.out.remark(
            f"{_number(count, 'key')} of {len(names):,} skipped"
            + ("" if skipped else f"; the archive's {ERRORS_NAME} tells which")
        )
        for line in _listed([f"{each.key}: {each.reason}" for each in skipped]):
            typer.echo(line, err=True)
    if not is_stdout:
        remote.out.remark(
            f"{_number(len(names) - count, 'object')}, {size(written)} -> {output} "
            f"in {seconds:.1f} s ({rate(written, seconds)})"
        )
