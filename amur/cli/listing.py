"""Reading what there is: `amur ls`, `amur stat`, and the same of `amur objects`, `amur buckets`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amur.cli.address import Address, parse
from amur.cli.output import moment, size
from amur.cli.remote import Problem, Remote, code_of, command

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Limit = Annotated[int, typer.Option("--limit", metavar="N", help="At most so many.")]
PageToken = Annotated[
    str, typer.Option("--page-token", metavar="TOKEN", help="Where the page before ended.")
]
VersionId = Annotated[
    str, typer.Option("--version-id", metavar="ID", help="Of this version, not the current one.")
]

_PAGE = 1000
_ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def register(app: typer.Typer) -> None:
    command(app, "ls", "list")(ls)
    command(app, "stat")(stat)


def ls(
    remote: Remote,
    path: Annotated[str, typer.Argument(help="Without it: the buckets.")] = "",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="All below, not folder by folder.")
    ] = False,
    limit: Limit = 0,
    page_token: PageToken = "",
) -> None:
    """List buckets, or what is in a bucket or folder."""
    if not path:
        list_buckets(remote, limit, page_token)
        return
    place = parse(path)
    prefix = place.key
    if prefix and not place.is_folder and first_below(remote.s3, place):
        prefix = place.folder
    list_objects(remote, place.bucket, prefix, "" if recursive else "/", limit, page_token)


def list_buckets(remote: Remote, limit: int, page_token: str) -> None:
    following: dict[str, Any] = {}

    def rows() -> Iterator[dict[str, Any]]:
        left, token = limit, page_token
        while True:
            given = {"ContinuationToken": token} if token else {}
            page = remote.s3.list_buckets(MaxBuckets=min(left or _PAGE, _PAGE), **given)
            for each in page["Buckets"]:
                yield {"name": each["Name"], "created": each.get("CreationDate")}
            token, left = page.get("ContinuationToken", ""), left - len(page["Buckets"])
            if not token or (limit and left <= 0):
                following["next_page_token"] = token or None
                return

    def line(row: Mapping[str, Any]) -> str:
        return f"{moment(row['created']) if row['created'] else '-':19}  {row['name']}"

    _listed(remote, rows(), line, following, "buckets")


def list_objects(
    remote: Remote, bucket: str, prefix: str, delimiter: str, limit: int, page_token: str
) -> None:
    following: dict[str, Any] = {}

    def rows() -> Iterator[dict[str, Any]]:
        left, token = limit, page_token
        while True:
            given: Any = {"ContinuationToken": token} if token else {}
            page = remote.s3.list_objects_v2(
                Bucket=bucket, Prefix=prefix, Delimiter=delimiter,
                MaxKeys=min(left or _PAGE, _PAGE), **given,
            )  # fmt: skip
            yield from _in_order(page)
            token, left = page.get("NextContinuationToken", ""), left - page["KeyCount"]
            if not token or (limit and left <= 0):
                following["next_page_token"] = token or None
                return

    base = prefix[: prefix.rfind("/") + 1] if delimiter == "/" else ""
    _listed(remote, rows(), lambda row: _object_line(row, len(base)), following, "objects")


def _in_order(page: Any) -> Iterator[dict[str, Any]]:
    """Folders among the objects, by name, as the server counts them."""
    folders = [
        {"key": each["Prefix"], "is_folder": True} for each in page.get("CommonPrefixes", ())
    ]
    objects = [object_row(each) for each in page.get("Contents", ())]
    yield from sorted(folders + objects, key=lambda row: row["key"].encode())


def object_row(each: Any) -> dict[str, Any]:
    return {
        "key": each["Key"],
        "is_folder": False,
        "size": each["Size"],
        "modified": each["LastModified"],
        "etag": each["ETag"].strip('"'),
        "storage_class": each.get("StorageClass", "STANDARD"),
    }


def _object_line(row: Mapping[str, Any], skipped: int) -> str:
    name = row["key"][skipped:] or "."
    if row["is_folder"]:
        return f"{'':19}  {'folder':>10}  {name}"
    return f"{moment(row['modified'])}  {size(row['size']):>10}  {name}"


def _listed(
    remote: Remote,
    rows: Iterator[dict[str, Any]],
    line: Callable[[Any], str],
    following: dict[str, Any],
    what: str,
) -> None:
    count = remote.out.items(rows, line, lambda: following)
    if remote.out.is_for_people and following.get("next_page_token"):
        remote.out.remark(f"there are more; go on with --page-token {following['next_page_token']}")
    elif remote.out.is_watched() and not count:
        remote.out.remark(f"no {what}")


def list_versions(
    remote: Remote, bucket: str, prefix: str, limit: int, key_marker: str, version_id_marker: str
) -> None:
    following: dict[str, Any] = {}

    def rows() -> Iterator[dict[str, Any]]:
        left, key, version = limit, key_marker, version_id_marker
        while True:
            markers: Any = {"KeyMarker": key} if key else {}
            if version:
                markers["VersionIdMarker"] = version
            page = remote.s3.list_object_versions(
                Bucket=bucket, Prefix=prefix, MaxKeys=min(left or _PAGE, _PAGE), **markers
            )
            found = sorted(version_rows(page), key=lambda row: row["key"].encode())
            yield from found
            left -= len(found)
            key, version = page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", "")
            if not page["IsTruncated"] or (limit and left <= 0):
                if page["IsTruncated"]:
                    following.update(next_key_marker=key, next_version_id_marker=version)
                return

    _listed(remote, rows(), _version_line, following, "versions")
    if remote.out.is_for_people and following:
        remote.out.remark(
            f"there are more; go on with --key-marker {following['next_key_marker']} "
            f"--version-id-marker {following['next_version_id_marker']}"
        )


def version_rows(page: Any) -> list[dict[str, Any]]:
    """Versions and delete markers, the newest of a key first as the server gives them."""
    rows = [
        {"key": each["Key"], "version_id": each["VersionId"], "is_latest": each["IsLatest"],
         "is_delete_marker": False, "size": each["Size"], "modified": each["LastModified"]}
        for each in page.get("Versions", ())
    ]  # fmt: skip
    rows += [
        {"key": each["Key"], "version_id": each["VersionId"], "is_latest": each["IsLatest"],
         "is_delete_marker": True, "size": 0, "modified": each["LastModified"]}
        for each in page.get("DeleteMarkers", ())
    ]  # fmt: skip
    rows.sort(key=lambda row: row["version_id"], reverse=True)
    return rows


def _version_line(row: Mapping[str, Any]) -> str:
    what = "deleted" if row["is_delete_marker"] else size(row["size"])
    mark = "*" if row["is_latest"] else " "
    when = moment(row["modified"])
    return f"{when}  {what:>10}  {row['version_id']:>19} {mark} {row['key']}"


def first_below(s3: S3Client, place: Address) -> bool:
    """Whether the key is a folder with something in it."""
    page = s3.list_objects_v2(Bucket=place.bucket, Prefix=place.folder, MaxKeys=1)
    return page["KeyCount"] > 0


def walk(s3: S3Client, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Every object below a prefix, page by page, as `object_row` shows it."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for each in page.get("Contents", ()):
            yield object_row(each)


# --- one thing ---


def stat(
    remote: Remote,
    path: Annotated[str, typer.Argument(help="Without it: the connection itself.")] = "",
    version_id: VersionId = "",
) -> None:
    """Show what is known of an object, a bucket, or the connection."""
    if not path:
        given = remote.connection
        remote.out.document(
            {
                "endpoint": given.endpoint, "endpoint_from": given.endpoint_source,
                "access_key": given.access_key or given.profile, "keys_from": given.keys_source,
                "region": given.region,
                "buckets": sum(
                    len(page["Buckets"])
                    for page in remote.s3.get_paginator("list_buckets").paginate()
                ),
            }
        )  # fmt: skip
        return
    place = parse(path)
    if place.key:
        stat_object(remote, place, version_id)
    else:
        stat_bucket(remote, place.bucket)


def stat_object(remote: Remote, place: Address, version_id: str) -> None:
    given: Any = {"VersionId": version_id} if version_id else {}
    try:
        head = remote.s3.head_object(
            Bucket=place.bucket, Key=place.key, ChecksumMode="ENABLED", **given
        )
    except remote.s3.exceptions.ClientError as error:
        if code_of(error) != "404":
            raise
        raise Problem(missing(remote.s3, place)) from None
    shown: dict[str, Any] = {
        "path": str(place), "size": head["ContentLength"], "modified": head["LastModified"],
        "etag": head["ETag"].strip('"'), "content_type": head.get("ContentType", ""),
        "storage_class": head.get("StorageClass", "STANDARD"),
    }  # fmt: skip
    optional = {
        "version_id": "VersionId", "cache_control": "CacheControl", "expires": "ExpiresString",
        "content_encoding": "ContentEncoding", "content_disposition": "ContentDisposition",
        "content_language": "ContentLanguage", "tags": "TagCount", "metadata": "Metadata",
    }  # fmt: skip
    shown |= {name: head[of] for name, of in optional.items() if head.get(of)}  # type: ignore[literal-required]
    for algorithm in ("CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1"):
        if value := head.get(f"Checksum{algorithm}"):
            shown[f"checksum_{algorithm.lower()}"] = value
    remote.out.document(shown)


def missing(s3: S3Client, place: Address) -> str:
    """Why there is no such object, for people. Raises ClientError without the right to list."""
    if not place.is_folder and first_below(s3, place):
        return f"{place} is a folder; write {place}/ or use --recursive"
    return f"{place}: there is no such object"


def stat_bucket(remote: Remote, name: str) -> None:
    s3 = remote.s3
    head: Any = s3.head_bucket(Bucket=name)
    shown: dict[str, Any] = {"bucket": name, "region": head.get("BucketRegion", "")}
    listed = s3.list_buckets(Prefix=name, MaxBuckets=1)["Buckets"]
    if listed and listed[0]["Name"] == name:
        shown["created"] = listed[0]["CreationDate"]
    shown["versioning"] = s3.get_bucket_versioning(Bucket=name).get("Status", "never enabled")
    shown["access"] = "public" if is_public(s3, name) else "private"
    shown["ownership"] = ownership(s3, name)
    shown["tags"] = tags_of(s3, name)
    shown["cors"] = [
        " ".join((*rule["AllowedMethods"], "from", *rule["AllowedOrigins"]))
        for rule in cors_of(s3, name)
    ]
    remote.out.document(shown)


def is_public(s3: S3Client, bucket: str) -> bool:
    grants = s3.get_bucket_acl(Bucket=bucket)["Grants"]
    return any(each.get("Grantee", {}).get("URI") == _ALL_USERS for each in grants)


def ownership(s3: S3Client, bucket: str) -> str:
    """ "" when nobody has set it."""
    try:
        answer = s3.get_bucket_ownership_controls(Bucket=bucket)
    except s3.exceptions.ClientError as error:
        if code_of(error) != "OwnershipControlsNotFoundError":
            raise
        return ""
    return answer["OwnershipControls"]["Rules"][0]["ObjectOwnership"]


def cors_of(s3: S3Client, bucket: str) -> list[Any]:
    try:
        return list(s3.get_bucket_cors(Bucket=bucket)["CORSRules"])
    except s3.exceptions.ClientError as error:
        if code_of(error) != "NoSuchCORSConfiguration":
            raise
        return []


def tags_of(s3: S3Client, bucket: str) -> dict[str, str]:
    try:
        tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except s3.exceptions.ClientError as error:
        if code_of(error) != "NoSuchTagSet":
            raise
        return {}
    return {each["Key"]: each["Value"] for each in tags}
