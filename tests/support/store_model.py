"""What the store must do, as dicts of lists: the reference for random histories."""

from __future__ import annotations

from dataclasses import dataclass, field

from amur.objects import errors
from amur.objects.types import Conditions


@dataclass
class ModelVersion:
    """A version of a key. `number` is what the store gave it, 0 where it did not tell."""

    body: bytes = b""
    etag: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    acl: str = ""
    number: int = 0
    is_marker: bool = False
    is_null: bool = True

    def id(self) -> str:
        return "null" if self.is_null else str(self.number)


@dataclass
class ModelBucket:
    versioning: str = ""
    keys: dict[str, list[ModelVersion]] = field(default_factory=dict)  # newest first
    uploads: dict[str, str] = field(default_factory=dict)  # id to key


class Model:
    """Every method that writes is told the number that the store gave to what it wrote."""

    def __init__(self) -> None:
        self.buckets: dict[str, ModelBucket] = {}

    def bucket(self, name: str) -> ModelBucket:
        if name not in self.buckets:
            raise errors.NoSuchBucket
        return self.buckets[name]

    def create_bucket(self, name: str) -> None:
        if name in self.buckets:
            raise errors.BucketAlreadyOwnedByYou
        self.buckets[name] = ModelBucket()

    def delete_bucket(self, name: str, force: bool) -> None:
        bucket = self.bucket(name)
        if not force and bucket.keys:
            raise errors.BucketNotEmpty
        del self.buckets[name]

    def set_versioning(self, name: str, state: str) -> None:
        self.bucket(name).versioning = state

    # --- finding ---
    def newest(self, bucket: str, key: str) -> ModelVersion | None:
        versions = self.bucket(bucket).keys.get(key)
        return versions[0] if versions else None

    def newest_object(self, bucket: str, key: str) -> ModelVersion | None:
        found = self.newest(bucket, key)
        return None if found is None or found.is_marker else found

    def find(self, bucket: str, key: str, version_id: str) -> ModelVersion:
        if not version_id:
            found = self.newest(bucket, key)
            if found is None:
                raise errors.NoSuchKey
            if found.is_marker:
                raise errors.KeyIsDeleted("")
            return found
        for found in self.bucket(bucket).keys.get(key, []):
            if found.id() == version_id:
                if found.is_marker:
                    raise errors.VersionIsMarker("")
                return found
        raise errors.NoSuchVersion

    def read(
        self, bucket: str, key: str, version_id: str, conditions: Conditions | None
    ) -> ModelVersion:
        found = self.find(bucket, key, version_id)
        if conditions is not None:
            if _mismatch(conditions, found):
                raise errors.PreconditionFailed
            if _is_current(conditions, found):
                raise errors.NotModified("", 0)
        return found

    # --- writing ---
    def put(
        self, bucket: str, key: str, new: ModelVersion, conditions: Conditions | None
    ) -> ModelVersion:
        found = self.newest_object(bucket, key)
        if conditions is not None:
            if found is not None:
                if _mismatch(conditions, found) or _is_current(conditions, found):
                    raise errors.PreconditionFailed
            elif conditions.if_match is not None and "" not in conditions.if_match:
                raise errors.NoSuchKey
        self._add(bucket, key, new)
        return new

    def _add(self, bucket: str, key: str, new: ModelVersion) -> None:
        here = self.bucket(bucket)
        new.is_null = here.versioning != "Enabled"
        versions = here.keys.setdefault(key, [])
        if new.is_null:
            versions[:] = [old for old in versions if not old.is_null]
        versions.insert(0, new)

    def delete(
        self, bucket: str, key: str, version_id: str, conditions: Conditions | None, number: int
    ) -> tuple[str, bool]:
        """Version id and whether a marker came or went, as `DeleteResult`."""
        here = self.bucket(bucket)
        versions = here.keys.get(key, [])
        if not version_id:
            if versions and conditions is not None and _mismatch(conditions, versions[0]):
                raise errors.PreconditionFailed
            if not here.versioning:
                here.keys.pop(key, None)
                return "", False
            if not versions and conditions is not None:
                return "", False
            marker = ModelVersion(is_marker=True, number=number)
            self._add(bucket, key, marker)
            return marker.id(), True
        for found in versions:
            if found.id() == version_id:
                if conditions is not None and _mismatch(conditions, found):
                    raise errors.PreconditionFailed
                versions.remove(found)
                if not versions:
                    del here.keys[key]
                return version_id, found.is_marker
        return version_id, False

    def rename(self, bucket: str, key: str, new_key: str, new: ModelVersion) -> None:
        source = self.newest_object(bucket, key)
        if source is None:
            raise errors.NoSuchKey
        if self.newest_object(bucket, new_key) is not None:
            raise errors.KeyAlreadyExists
        if self.bucket(bucket).versioning:
            self._add(bucket, key, ModelVersion(is_marker=True, number=new.number))
        else:
            del self.bucket(bucket).keys[key]
        new.body, new.etag, new.acl = source.body, source.etag, source.acl
        new.tags, new.metadata = source.tags, source.metadata
        self._add(bucket, new_key, new)

    # --- listing, by brute force ---
    def list_objects(
        self, bucket: str, prefix: str, delimiter: str, start_after: str
    ) -> list[tuple[str, ModelVersion | None]]:
        lines: list[tuple[str, ModelVersion | None]] = []
        for key in self._keys(bucket, prefix, delimiter, start_after):
            found = self.newest_object(bucket, key)
            common = _common(key, prefix, delimiter)
            if found is not None and (common is None or (common, None) not in lines):
                lines.append((key, found) if common is None else (common, None))
        return lines

    def list_versions(
        self, bucket: str, prefix: str, delimiter: str, key_marker: str, version_marker: str
    ) -> list[tuple[str, ModelVersion | None, bool]]:
        lines: list[tuple[str, ModelVersion | None, bool]] = []
        here = self.bucket(bucket)
        rest: list[ModelVersion] = []
        if version_marker:
            versions = here.keys.get(key_marker, [])
            ids = [version.id() for version in versions]
            rest = versions[ids.index(version_marker) + 1 :]
            common = _common(key_marker, prefix, delimiter)
            if common == key_marker or not key_marker.startswith(prefix):
                rest = []
            elif common is not None and rest:
                lines.append((common, None, True))
            else:
                lines += [(key_marker, version, False) for version in rest]
        for key in self._keys(bucket, prefix, delimiter, key_marker):
            common = _common(key, prefix, delimiter)
            if common is None:
                lines += [(key, version, not i) for i, version in enumerate(here.keys[key])]
            elif (common, None, True) not in lines:
                lines.append((common, None, True))
        return lines

    def _keys(self, bucket: str, prefix: str, delimiter: str, marker: str) -> list[str]:
        keys = sorted(self.bucket(bucket).keys, key=str.encode)
        folded = _common(marker, prefix, delimiter) == marker
        return [
            key
            for key in keys
            if key.startswith(prefix)
            and (not marker or key.encode() > marker.encode())
            and not (marker and folded and key.startswith(marker))
        ]


def _common(key: str, prefix: str, delimiter: str) -> str | None:
    if not delimiter or not key.startswith(prefix):
        return None
    before, found, _ = key[len(prefix) :].partition(delimiter)
    return prefix + before + found if found else None


def _mismatch(conditions: Conditions, found: ModelVersion) -> bool:
    match, since = conditions.if_match, conditions.if_unmodified_since
    return (
        (match is not None and "*" not in match and found.etag not in [e for e in match if e])
        or (since is not None and found.number // 10**9 > since)
        or conditions.if_match_size not in (None, len(found.body))
    )


def _is_current(conditions: Conditions, found: ModelVersion) -> bool:
    match, since = conditions.if_none_match, conditions.if_modified_since
    return (match is not None and ("*" in match or found.etag in match)) or (
        since is not None and found.number // 10**9 <= since
    )
