"""Records with strace what a process does to a directory: the operations of power_disk.py.

Order is that of the system calls. A write is pending from its begin on, a change of names from its
end on; a sync covers what had ended when it began. What can't be followed (a shared writable
mapping, an unknown way to write) is an error, so that nothing goes by unseen.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.power_disk import ROOT, Changed, Names, Node, Op, Resize, Said, Synced, Write

_WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
_SYNCS = ("fsync", "fdatasync")
_NAMES = (
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "link", "linkat", "rename", "renameat",
    "renameat2",
)  # fmt: skip
_HANDLES = ("openat", "close", "lseek", "ftruncate", "sync_file_range", "mmap")
_UNKNOWN = ("truncate", "fallocate", "copy_file_range", "sendfile", "splice", "msync", "symlink")
_CALL = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)")
_QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PATH = re.compile(r'(?:(AT_FDCWD|\d+), )?"((?:\\x[0-9a-f]{2})*)"')


class Recorded(NamedTuple):
    """`calls` counts system calls by name, of those that touch the directory."""

    before: dict[int, Node]  # what was there, durably
    ops: list[Op]
    directories: set[int]  # nodes
    names: dict[str, int]  # at the end, by path below the directory
    calls: Counter[str]


def record(command: Sequence[str], root: Path, env: Mapping[str, str], trace: Path) -> Recorded:
    """Run `command`, which works in the existing directory `root`; the test skips without strace.

    The process may start threads, but no processes that write there. `trace`, and what lies beside
    it with longer names, are left for `replayed`.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian package strace)")
    calls = ",".join((*_WRITES, *_SYNCS, *_NAMES, *_HANDLES, *_UNKNOWN))
    options = ["-f", "--seccomp-bpf", "-xx", "-s", "1000000", "-e", f"trace={calls}"]
    shutil.copytree(root, _before(trace))
    subprocess.run(
        [strace, *options, "-e", "signal=none", "-o", str(trace), *command],
        env=env, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _root_file(trace).write_text(str(root))
    return replayed(trace)


def replayed(trace: Path) -> Recorded:
    """What `record` returned for this trace."""
    tracer = _Tracer(_root_file(trace).read_text())
    tracer.find(_before(trace))
    with trace.open() as lines:
        for line in lines:
            tracer.line(line.rstrip())
    return tracer.recorded()


def _root_file(trace: Path) -> Path:
    return trace.with_name(trace.name + ".root")


def _before(trace: Path) -> Path:
    return trace.with_name(trace.name + ".before")


class _Handle:
    """An open file descriptor."""

    def __init__(self, node: int, path: str, flags: str) -> None:
        self.node = node
        self.path = path
        self.offset = 0
        self.appends = "O_APPEND" in flags
        self.is_synchronous = "O_DSYNC" in flags or "O_SYNC" in flags


class _Tracer:
    def __init__(self, root: str) -> None:
        self._root = root
        self._ops: list[Op] = []
        self._before: dict[int, Node] = {}
        self._names: dict[str, int] = {self._root: ROOT}
        self._directories = {ROOT}
        self._nodes = 1
        self._changes: Counter[int] = Counter()  # of each node
        self._sizes: Counter[int] = Counter()
        self._handles: dict[int, _Handle] = {}
        self._begun: dict[str, tuple[str, str]] = {}  # thread: call and arguments
        self._writing: dict[str, tuple[int, int]] = {}  # thread: node and number of its write
        self._covered: dict[str, tuple[int, int]] = {}  # thread: node, changes before its sync
        self._calls: Counter[str] = Counter()

    def recorded(self) -> Recorded:
        assert not self._begun, f"cut off within {self._begun}"
        names = {os.path.relpath(path, self._root): node for path, node in self._names.items()}
        return Recorded(self._before, self._ops, self._directories, names, self._calls)

    def find(self, before: Path) -> None:
        """What is there before the first call."""
        for found in sorted(before.rglob("*")):
            path = os.path.join(self._root, found.relative_to(before))
            parent, name = os.path.split(path)
            node = self._names[path] = self._nodes
            self._nodes += 1
            self._before.setdefault(self._names[parent], Node()).names[name] = node
            if found.is_dir():
                self._directories.add(node)
            else:
                self._before[node] = Node()
                self._before[node].data += found.read_bytes()
                self._sizes[node] = found.stat().st_size

    def line(self, line: str) -> None:
        match = _CALL.match(line)
        if not match:
            return
        thread, call, rest = match.groups()
        if " resumed>" in line:
            call, begun = self._begun.pop(thread)
            self._end(thread, call, begun, rest)
            return
        self._begin(thread, call, rest)
        if rest.endswith("<unfinished ...>"):
            self._begun[thread] = call, rest.removesuffix("<unfinished ...>")
        else:
            self._end(thread, call, rest, rest)

    def _begin(self, thread: str, call: str, args: str) -> None:
        handle = self._handle(args)
        if call in _WRITES:
            assert '"...' not in args, "strace cut the data short"
            data = b"".join(_bytes(quoted) for quoted in _QUOTED.findall(args))
            if args.startswith("1,"):
                self._ops += [Said(line) for line in data.decode().splitlines()]
            elif handle is not None:
                self._write(thread, call, args, handle, data)
        elif handle is None:
            return
        elif call in _SYNCS:
            under_way = [node for node, _ in self._writing.values() if node == handle.node]
            assert not under_way, f"{handle.path} is written to while it is synced"
            self._covered[thread] = handle.node, self._changes[handle.node]
        elif call == "close":
            del self._handles[int(args.split(")")[0].split(" ")[0])]
        elif call == "ftruncate":
            size = int(re.findall(r"\d+", args)[1])
            self._change(handle.node, Resize(size))
            self._sizes[handle.node] = size
        if handle is not None:
            self._calls[call] += 1

    def _write(self, thread: str, call: str, args: str, handle: _Handle, data: bytes) -> None:
        if call.startswith("pwrite"):
            plain = args.removesuffix("<unfinished ...>").split(" = ")[0].strip().rstrip(")")
            offset = int(plain.rsplit(", ", 2 if call == "pwritev2" else 1)[1])
        else:
            offset = self._sizes[handle.node] if handle.appends else handle.offset
            handle.offset = offset + len(data)
        number = self._change(handle.node, Write(offset, data))
        self._writing[thread] = handle.node, number
        self._sizes[handle.node] = max(self._sizes[handle.node], offset + len(data))

    def _end(self, thread: str, call: str, args: str, rest: str) -> None:
        result = rest.rsplit("= ", 1)[-1].split(" ")[0]
        failed = result.startswith("-")
        if call in _UNKNOWN:
            assert self._handle(args) is None, f"can't follow {call}"
        elif call == "mmap":
            self._check_mapping(args)
        elif call in _WRITES and thread in self._writing:
            node, number = self._writing.pop(thread)
            change = self._last_write(node, number)
            assert int(result) == len(change.data), f"{call} = {result}"
            handle = self._handle(args)
            if handle is not None and handle.is_synchronous:
                self._ops.append(Synced(node, number, number + 1))
        elif call in _SYNCS and thread in self._covered:
            node, count = self._covered.pop(thread)
            if not failed:
                self._ops.append(Synced(node, 0, count))
        elif failed:
            return
        elif call == "openat":
            self._opened(args, int(result))
        elif call == "lseek":
            handle = self._handle(args)
            if handle is not None:
                handle.offset = int(result)
        elif call in _NAMES:
            self._named(call, args)

    def _last_write(self, node: int, number: int) -> Write:
        for op in reversed(self._ops):
            if isinstance(op, Changed) and (op.node, op.number) == (node, number):
                assert isinstance(op.change, Write)
                return op.change
        raise AssertionError("a write ends that has not begun")

    def _check_mapping(self, args: str) -> None:
        _, _, protection, kind, descriptor, *_ = args.split(", ")
        handle = self._handles.get(int(descriptor))
        if handle is not None and "PROT_WRITE" in protection and "MAP_SHARED" in kind:
            assert handle.path.endswith("/lock.mdb"), f"can't follow a mapping of {handle.path}"

    # --- names ---
    def _opened(self, args: str, descriptor: int) -> None:
        self._handles.pop(descriptor, None)
        path = self._paths(args)[0]
        if path is None:
            return
        flags = args.split(", ")[2]
        node = self._names.get(path)
        if node is None:
            assert "O_CREAT" in flags, f"{path} was not seen to be created"
            node = self._create(path)
        elif "O_TRUNC" in flags and self._sizes[node]:
            self._change(node, Resize(0))
            self._sizes[node] = 0
        self._handles[descriptor] = _Handle(node, path, flags)

    def _named(self, call: str, args: str) -> None:
        paths = self._paths(args)
        if any(path is None for path in paths):
            assert all(path is None for path in paths), f"can't follow {call}"
            return
        path, target = paths[0], paths[-1]
        assert path is not None
        assert target is not None
        self._calls[call] += 1
        if call.startswith("mkdir"):
            self._directories.add(self._create(path))
        elif call.startswith(("unlink", "rmdir")):
            self._enter({path: None})
        elif call.startswith("link"):
            self._enter({target: self._names[path]})
        else:
            assert self._names[path] not in self._directories, "can't follow renamed directories"
            self._enter({path: None, target: self._names[path]})

    def _create(self, path: str) -> int:
        node = self._nodes
        self._nodes += 1
        self._enter({path: node})
        return node

    def _enter(self, changes: dict[str, int | None]) -> None:
        """Change names: together in one directory, each for itself in several."""
        by_parent: dict[str, dict[str, int | None]] = {}
        for path, node in changes.items():
            parent, name = os.path.split(path)
            by_parent.setdefault(parent, {})[name] = node
            if node is None:
                del self._names[path]
            else:
                self._names[path] = node
        for parent, together in by_parent.items():
            self._change(self._names[parent], Names(together))

    def _change(self, node: int, change: Write | Resize | Names) -> int:
        number = self._changes[node]
        self._changes[node] += 1
        self._ops.append(Changed(node, number, change))
        return number

    # --- arguments ---
    def _handle(self, args: str) -> _Handle | None:
        match = re.match(r"\d+", args)
        return self._handles.get(int(match[0])) if match else None

    def _paths(self, args: str) -> list[str | None]:
        """Absolute paths, None for those outside of the root."""
        return [self._path(at, _bytes(quoted).decode()) for at, quoted in _PATH.findall(args)]

    def _path(self, at: str, path: str) -> str | None:
        handle = self._handles.get(int(at)) if at.isdigit() else None
        whole = os.path.join(handle.path if handle is not None else "", path)
        whole = os.path.normpath(whole)
        inside = whole == self._root or whole.startswith(self._root + "/")
        return whole if inside else None


def _bytes(quoted: str) -> bytes:
    return bytes.fromhex(quoted.replace("\\x", ""))
