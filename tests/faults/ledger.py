"""What a client of a store that gets killed may find: acknowledged effects, whole, and no others.

A client owns its keys and does one thing at a time, so that what each key holds is known but for
the one request that got no answer. Of that, each part that is atomic has happened or has not.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from tests.faults.client import NAMESPACE, Client, UnansweredError

PLAIN, VERSIONED = "plain", "versioned"
_KEYS = 10
_VERSIONS_MAX = 6
_INLINE, _PACK, _BLOCK = 4096, 1 << 20, (5 << 20) // 2
_PART_MIN = 5 << 20
_OPERATIONS = {
    "put": 30, "delete": 8, "delete_version": 6, "copy": 10, "rename": 8, "batch": 5,
    "create": 5, "part": 8, "complete": 6, "abort": 1, "read": 13,
}  # fmt: skip


class Content(NamedTuple):
    """Bytes that follow from seeds; of a multipart object, those of its parts."""

    pieces: tuple[tuple[int, int], ...]  # (seed, size)
    is_multipart: bool = False

    def data(self) -> bytes:
        return b"".join(
            hashlib.shake_128(seed.to_bytes(8, "big")).digest(size) for seed, size in self.pieces
        )

    def etag(self) -> str:
        if not self.is_multipart:
            return hashlib.md5(self.data()).hexdigest()
        sums = [hashlib.md5(Content((piece,)).data()).digest() for piece in self.pieces]
        return f"{hashlib.md5(b''.join(sums)).hexdigest()}-{len(sums)}"


class Version(NamedTuple):
    """`id` is "" while nobody has told it; `content` None is a delete marker."""

    id: str
    content: Content | None
    etag: str = ""
    size: int = 0


Key = tuple[str, str]  # bucket and key
State = tuple[Version, ...]  # newest first
Change = dict[Key, State]  # what becomes of some keys, all or nothing


def version_of(content: Content | None, version_id: str = "") -> Version:
    if content is None:
        return Version(version_id, None)
    return Version(version_id, content, content.etag(), sum(size for _, size in content.pieces))


class Upload(NamedTuple):
    target: Key
    parts: dict[int, Content]


class Owner:
    """One client, its keys, and what it knows of them."""

    def __init__(self, client: Client, name: str, seed: int) -> None:
        self.client = client
        self.name = name
        self.dice = Random(seed)
        self.known: dict[Key, State] = {}
        self.acknowledged = 0
        self.unanswered = 0
        self.outcomes = {"there": 0, "absent": 0}
        self._unclear: list[Change] = []
        self._unclear_uploads: dict[str, Change | None] = {}
        self._unclear_part: tuple[str, int, Content] | None = None
        self._uploads: dict[str, Upload] = {}
        self._fresh: set[Key] = set()
        self._doing = ""

    # --- what it does ---
    def step(self) -> bool:
        """One request; False when it got no answer, and what it did is unclear."""
        assert not self._unclear, "look first what happened"
        name = self.dice.choices(list(_OPERATIONS), list(_OPERATIONS.values()))[0]
        self._doing = name
        try:
            getattr(self, f"_{name}")()
        except UnansweredError:
            self.unanswered += 1
            return False
        self._unclear = []
        self._unclear_uploads = {}
        self._unclear_part = None
        return True

    def _key(self, bucket: str = "") -> Key:
        bucket = bucket or self.dice.choice((PLAIN, VERSIONED))
        return bucket, f"{self.name}/{self.dice.randrange(_KEYS):02d}"

    def _content(self) -> Content:
        dice = self.dice
        kind = dice.random()
        if kind < 0.5:
            size = dice.choice((0, 1, 1000, _INLINE, dice.randrange(_INLINE)))
        elif kind < 0.95:
            size = dice.choice((_INLINE + 1, dice.randrange(_INLINE, 60_000)))
        else:
            size = dice.choice((_PACK, _PACK + 1, dice.randrange(_PACK, _BLOCK)))
        return Content(((dice.getrandbits(60), size),))

    def _settle(self, change: Change) -> None:
        self.known.update(change)
        self._fresh.update(change)
        self.acknowledged += 1

    def _with(self, key: Key, version: Version) -> State:
        """The versions of `key` once `version` is written."""
        if key[0] == PLAIN:
            return () if version.content is None else (version._replace(id="null"),)
        return (version, *self.known.get(key, ()))

    def _write(
        self, key: Key, content: Content, headers: dict[str, str], *, also: Change | None = None
    ) -> None:
        """PUT a body, or copy, or rename when `also` says what becomes of the source."""
        version = version_of(content)
        self._unclear = [{key: self._with(key, version)} | (also or {})]
        body = b"" if "x-amz-copy-source" in headers else content.data()
        answer = self.client.ok("PUT", f"/{key[0]}/{key[1]}", "", headers, body)
        told = answer.headers.get("x-amz-version-id", "null")
        change = {key: self._with(key, version._replace(id=told))}
        self._settle(change | (also or {}))

    def _put(self) -> None:
        key, content = self._key(), self._content()
        if len(self.known.get(key, ())) < _VERSIONS_MAX:
            self._write(key, content, {"x-amz-meta-seed": str(content.pieces[0][0])})

    def _source(self, bucket: str = "") -> tuple[Key, Version] | None:
        found = [
            (key, versions[0])
            for key, versions in sorted(self.known.items())
            if versions and versions[0].content is not None and bucket in ("", key[0])
        ]
        return self.dice.choice(found) if found else None

    def _copy(self) -> None:
        source, key = self._source(), self._key()
        if source is None or source[0] == key or len(self.known.get(key, ())) >= _VERSIONS_MAX:
            return
        (bucket, name), version = source
        assert version.content is not None
        # a copy is a whole object, with an ETag of its own: Amazon's is that of the source's bytes
        content = Content(version.content.pieces, version.content.is_multipart)
        self._write(key, content, {"x-amz-copy-source": f"/{bucket}/{quote(name)}"})

    def _rename(self) -> None:
        source, key = self._source(PLAIN), self._key(PLAIN)
        if source is None or self.known.get(key):
            return
        assert source[1].content is not None
        headers = {"x-amz-copy-source": f"/{PLAIN}/{source[0][1]}", "x-tigris-rename": "true"}
        self._write(key, source[1].content, headers, also={source[0]: ()})

    def _delete(self) -> None:
        key = self._key()
        if len(self.known.get(key, ())) >= _VERSIONS_MAX:
            return
        self._unclear = [{key: self._with(key, version_of(None))}]
        answer = self.client.ok("DELETE", f"/{key[0]}/{key[1]}")
        told = answer.headers.get("x-amz-version-id", "")
        self._settle({key: self._with(key, version_of(None, told))})

    def _delete_version(self) -> None:
        keys = [k for k, versions in sorted(self.known.items()) if versions and k[0] == VERSIONED]
        if not keys:
            return
        key = self.dice.choice(keys)
        gone = self.dice.choice(self.known[key])
        left = tuple(version for version in self.known[key] if version != gone)
        self._unclear = [{key: left}]
        self.client.ok("DELETE", f"/{key[0]}/{key[1]}", f"versionId={gone.id}")
        self._settle({key: left})

    def _batch(self) -> None:
        bucket = self.dice.choice((PLAIN, VERSIONED))
        keys = sorted({self._key(bucket) for _ in range(4)})
        keys = [key for key in keys if len(self.known.get(key, ())) < _VERSIONS_MAX]
        if not keys:
            return
        self._unclear = [{key: self._with(key, version_of(None))} for key in keys]
        names = "".join(f"<Object><Key>{key}</Key></Object>" for _, key in keys)
        body = f"<Delete>{names}</Delete>".encode()
        checksum = base64.b64encode(hashlib.md5(body).digest()).decode()
        answer = self.client.ok("POST", f"/{bucket}", "delete", {"content-md5": checksum}, body)
        told = {
            item.findtext(f"{NAMESPACE}Key"): item.findtext(f"{NAMESPACE}DeleteMarkerVersionId")
            for item in ElementTree.fromstring(answer.body)
        }
        assert told.keys() == {key for _, key in keys}, answer.body
        for key in keys:
            self._settle({key: self._with(key, version_of(None, told[key[1]] or ""))})

    def _read(self) -> None:
        found = self._source()
        if found is not None:
            self._check_body(found[0], found[1])

    # --- uploads ---
    def _create(self) -> None:
        if len(self._uploads) >= 3:
            return
        key = self._key()
        answer = self.client.ok("POST", f"/{key[0]}/{key[1]}", "uploads")
        upload = ElementTree.fromstring(answer.body).findtext(f"{NAMESPACE}UploadId")
        assert upload
        self._uploads[upload] = Upload(key, {})

    def _upload(self) -> tuple[str, Upload] | None:
        return self.dice.choice(sorted(self._uploads.items())) if self._uploads else None

    def _part(self) -> None:
        chosen = self._upload()
        if chosen is None:
            return
        upload_id, ((bucket, key), parts) = chosen
        number = 1
        content = self._content()
        if parts and self.dice.random() < 0.3:
            big = sum(size for _, size in parts[1].pieces) >= _PART_MIN
            content = content if big else Content(((self.dice.getrandbits(60), _PART_MIN),))
            number = 2 if big else 1
        if number == 1 and 2 in parts:  # only the last one may be small
            content = Content(((self.dice.getrandbits(60), _PART_MIN),))
        self._unclear_part = upload_id, number, content
        query = f"partNumber={number}&uploadId={upload_id}"
        self.client.ok("PUT", f"/{bucket}/{key}", query, {}, content.data())
        parts[number] = content
        self.acknowledged += 1

    def _complete(self) -> None:
        chosen = self._upload()
        if chosen is None or not chosen[1].parts:
            return
        upload_id, (key, parts) = chosen
        if len(self.known.get(key, ())) < _VERSIONS_MAX:
            self._finish(upload_id, key, parts)

    def _finish(self, upload_id: str, key: Key, parts: dict[int, Content]) -> None:
        numbers = sorted(parts)
        pieces = tuple(piece for number in numbers for piece in parts[number].pieces)
        version = version_of(Content(pieces, is_multipart=True))
        change = {key: self._with(key, version)}
        self._unclear, self._unclear_uploads = [change], {upload_id: change}
        items = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{parts[number].etag()}</ETag></Part>"
            for number in numbers
        )
        body = f"<CompleteMultipartUpload>{items}</CompleteMultipartUpload>".encode()
        answer = self.client.ok("POST", f"/{key[0]}/{key[1]}", f"uploadId={upload_id}", {}, body)
        if b"<Error>" in answer.body:
            raise AssertionError(f"complete: {answer.body!r}")
        told = answer.headers.get("x-amz-version-id", "null")
        self._settle({key: self._with(key, version._replace(id=told))})
        del self._uploads[upload_id]

    def _abort(self) -> None:
        chosen = self._upload()
        if chosen is None:
            return
        upload_id, ((bucket, key), _) = chosen
        self._unclear_uploads = {upload_id: None}
        self.client.ok("DELETE", f"/{bucket}/{key}", f"uploadId={upload_id}")
        del self._uploads[upload_id]
        self.acknowledged += 1

    # --- what it finds ---
    def verify(self, *, all_bodies: bool = False) -> None:
        """Compare the store with what is known, learn what became of the unanswered request."""
        found = {PLAIN: self._listed(PLAIN), VERSIONED: self._listed(VERSIONED)}
        learned = [self._learn(change, found) for change in self._unclear]
        for key in {*self.known, *found[PLAIN], *found[VERSIONED]}:
            here = found[key[0]].get(key, ())
            known = self._matched(self.known.get(key, ()), here)
            assert known is not None, self._complaint(key, here)
            self.known[key] = known
        self._check_current(found)
        self._check_uploads()
        keys = sorted(self.known) if all_bodies else sorted(self._fresh)
        for key in keys:
            for version in self.known.get(key, ()):
                self._check_body(key, version)
        self._fresh.clear()
        self._unclear = []
        self._unclear_uploads = {}
        self._unclear_part = None
        self.outcomes["there"] += sum(learned)
        self.outcomes["absent"] += len(learned) - sum(learned)

    def _learn(self, change: Change, found: dict[str, dict[Key, State]]) -> bool:
        """Whether it has happened. If by half, the comparison with `known` will find it."""
        matched = {
            key: self._matched(after, found[key[0]].get(key, ())) for key, after in change.items()
        }
        self._fresh.update(change)
        happened = all(state is not None for state in matched.values())
        if happened:
            self.known.update({key: state for key, state in matched.items() if state is not None})
        return happened

    @staticmethod
    def _matched(expected: State, found: State) -> State | None:
        """`expected` with the ids it lacked, if that is what was found."""
        if len(expected) != len(found):
            return None
        for one, other in zip(expected, found, strict=True):
            if one.id not in ("", other.id) or (one.content is None) != (other.content is None):
                return None
            if (one.etag, one.size) != (other.etag, other.size):
                return None
        ids = [version.id for version in found]
        if len(ids) > 1 and ids != sorted(ids, key=int, reverse=True):
            return None
        return tuple(one._replace(id=other.id) for one, other in zip(expected, found, strict=True))

    def _complaint(self, key: Key, found: State) -> str:
        return (
            f"{self.name}, after an unanswered {self._doing}: {key} holds\n  {found}\n"
            f"and should hold\n  {self.known.get(key)}\nnot known: {self._unclear}"
        )

    def _listed(self, bucket: str) -> dict[Key, State]:
        """Versions of its keys, as ListObjectVersions tells."""
        answer = self.client.ok("GET", f"/{bucket}", f"versions=&prefix={self.name}%2F")
        root = ElementTree.fromstring(answer.body)
        assert root.findtext(f"{NAMESPACE}IsTruncated") == "false"
        found: dict[Key, list[Version]] = {}
        for item in root:
            kind = item.tag.removeprefix(NAMESPACE)
            if kind not in ("Version", "DeleteMarker"):
                continue
            key, version_id, etag, size = (
                item.findtext(f"{NAMESPACE}{name}") or ""
                for name in ("Key", "VersionId", "ETag", "Size")
            )
            content = None if kind == "DeleteMarker" else Content(())
            version = Version(version_id, content, etag.strip('"'), int(size or 0))
            found.setdefault((bucket, key), []).append(version)
        return {key: tuple(versions) for key, versions in found.items()}

    def _check_current(self, found: dict[str, dict[Key, State]]) -> None:
        """ListObjectsV2 shows what is newest."""
        for bucket, keys in found.items():
            answer = self.client.ok("GET", f"/{bucket}", f"list-type=2&prefix={self.name}%2F")
            told = {
                (item.findtext(f"{NAMESPACE}Key"), item.findtext(f"{NAMESPACE}ETag"))
                for item in ElementTree.fromstring(answer.body).iter(f"{NAMESPACE}Contents")
            }
            newest = {
                (key[1], f'"{versions[0].etag}"')
                for key, versions in keys.items()
                if versions[0].content is not None
            }
            assert told == newest, f"{self.name}: {bucket} lists {told ^ newest} differently"

    def _check_body(self, key: Key, version: Version) -> None:
        query = f"versionId={version.id}"
        answer = self.client.call("GET", f"/{key[0]}/{key[1]}", query)
        if version.content is None:
            assert answer.status == 405, f"{key} {query}: {answer.status} {answer.body[:500]!r}"
            return
        assert answer.status == 200, f"{key} {query}: {answer.status} {answer.body[:500]!r}"
        assert answer.headers["etag"] == f'"{version.etag}"'
        assert answer.body == version.content.data(), f"{key} {query}: wrong bytes"

    def _check_uploads(self) -> None:
        """Acknowledged parts are there; an unanswered completion left all of them or none."""
        part, ended = self._unclear_part, self._unclear_uploads
        for upload_id, (key, parts) in list(self._uploads.items()):
            answer = self.client.call("GET", f"/{key[0]}/{key[1]}", f"uploadId={upload_id}")
            change = ended.get(upload_id)
            if answer.status == 404 and upload_id in ended:
                del self._uploads[upload_id]
                assert change is None or self._is_done(change), "completed, and nothing is there"
                continue
            assert answer.status == 200, f"upload {upload_id}: {answer.status} {answer.body!r}"
            assert change is None or not self._is_done(change), "completed, and still there"
            told = dict(_parts(answer.body))
            if part is not None and part[0] == upload_id and told.get(part[1]) == part[2].etag():
                parts[part[1]] = part[2]
            assert told == {number: content.etag() for number, content in parts.items()}

    def _is_done(self, change: Change) -> bool:
        return all(
            self._matched(after, self.known.get(key, ())) is not None
            for key, after in change.items()
        )


def _parts(body: bytes) -> Iterator[tuple[int, str]]:
    items: Iterable[ElementTree.Element] = ElementTree.fromstring(body).iter(f"{NAMESPACE}Part")
    for item in items:
        number, etag = item.findtext(f"{NAMESPACE}PartNumber"), item.findtext(f"{NAMESPACE}ETag")
        assert number
        assert etag
        yield int(number), etag.strip('"')
