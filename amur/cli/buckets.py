"""`amur buckets ...` and `amur mk`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from amur.cli import listing
from amur.cli.address import parse
from amur.cli.copying import Access
from amur.cli.listing import Limit, PageToken
from amur.cli.remote import Problem, Remote, command, send_header

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CORSRuleTypeDef

app = typer.Typer(help="Buckets: create, look at, set up, delete.", no_args_is_help=True)

_LISTED = "X-Amz-Acl-Public-List-Objects-Enabled"
_TIERS = ("STANDARD", "STANDARD_IA", "GLACIER_IR")

Name = Annotated[str, typer.Argument(metavar="BUCKET")]
Public = Annotated[bool, typer.Option("--public", help="The same as --access public.")]
ObjectAcl = Annotated[
    bool, typer.Option("--allow-object-acl", help="Objects may have access rules of their own.")
]
Listed = Annotated[
    bool,
    typer.Option("--enable-directory-listing", help="Everybody may list a public bucket."),
]
Tier = Annotated[str, typer.Option(metavar="CLASS", help=f"Storage class: {', '.join(_TIERS)}.")]


def register(main: typer.Typer) -> None:
    command(main, "mk", "create")(mk)
    main.add_typer(app, name="buckets")
    main.add_typer(app, name="b", hidden=True)
    command(app, "list", "ls")(list_)
    command(app, "create", "mk")(create)
    command(app, "get", "stat")(get)
    command(app, "delete", "rm")(delete)
    command(app, "set")(set_)
    command(app, "set-cors")(set_cors)


def _name(text: str) -> str:
    """Also of t3://bucket."""
    place = parse(text)
    if place.key.strip("/"):
        raise Problem(f"{text!r} is more than the name of a bucket")
    return place.bucket


def mk(
    remote: Remote,
    path: Annotated[str, typer.Argument(help="A bucket, or a folder: bucket/folder/.")],
    access: Access = "",
    public: Public = False,
    allow_object_acl: ObjectAcl = False,
    enable_directory_listing: Listed = False,
    default_tier: Tier = "",
) -> None:
    """Make a bucket, or a folder in one."""
    place = parse(path)
    if not place.key:
        create(
            remote, place.bucket, access, public, allow_object_acl, enable_directory_listing,
            default_tier,
        )  # fmt: skip
        return
    if access or public or allow_object_acl or enable_directory_listing or default_tier:
        raise Problem("these options are of buckets, not of folders")
    remote.s3.put_object(Bucket=place.bucket, Key=place.folder, Body=b"")
    shown = f"{place.bucket}/{place.folder}"
    remote.out.document({"action": "created", "folder": shown}, [f"created folder {shown}"])


def list_(remote: Remote, limit: Limit = 0, page_token: PageToken = "") -> None:
    """List buckets."""
    listing.list_buckets(remote, limit, page_token)


def create(
    remote: Remote,
    name: Name,
    access: Access = "",
    public: Public = False,
    allow_object_acl: ObjectAcl = False,
    enable_directory_listing: Listed = False,
    default_tier: Tier = "",
) -> None:
    """Make a bucket, private unless said otherwise."""
    bucket = _name(name)
    if access not in ("", "public", "private") or (public and access == "private"):
        raise Problem("--access is public or private")
    if default_tier and default_tier not in _TIERS:
        raise Problem(f"--default-tier is one of {', '.join(_TIERS)}")
    is_public = public or access == "public"
    given = {
        _LISTED: _flag(enable_directory_listing),
        "X-Tigris-Enable-Object-Acl": _flag(allow_object_acl),
        "X-Amz-Storage-Class": default_tier,
    }
    for header, value in given.items():
        if value:
            send_header(remote.s3, "CreateBucket", header, value)
    remote.s3.create_bucket(Bucket=bucket, ACL="public-read" if is_public else "private")
    shown = "public" if is_public else "private"
    remote.out.document(
        {"action": "created", "bucket": bucket, "access": shown},
        [f"created bucket {bucket} ({shown})"],
    )


def _flag(on: bool) -> str:
    return "true" if on else "false"


def get(remote: Remote, name: Name) -> None:
    """Show a bucket's settings."""
    listing.stat_bucket(remote, _name(name))


def delete(
    remote: Remote,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Its objects, too.")] = False,
) -> None:
    """Delete a bucket that is empty, or with --force one that is not."""
    bucket = _name(name)
    if force:
        remote.confirm(f"delete bucket {bucket} with everything in it?")
        send_header(remote.s3, "DeleteBucket", "X-Tigris-Force-Delete", "true")
    remote.s3.delete_bucket(Bucket=bucket)
    remote.out.document({"action": "deleted", "bucket": bucket}, [f"deleted bucket {bucket}"])


def set_(
    remote: Remote,
    name: Name,
    versioning: Annotated[str, typer.Option(metavar="enable|suspend")] = "",
    access: Access = "",
    allow_object_acl: Annotated[
        bool | None,
        typer.Option(
            "--allow-object-acl/--no-object-acl", help="Access rules of the objects' own."
        ),
    ] = None,
    directory_listing: Annotated[
        bool | None,
        typer.Option(
            "--enable-directory-listing/--disable-directory-listing",
            help="Everybody may list it when it is public.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Without the tags it has.")] = False,
) -> None:
    """Change a bucket's settings; what is not named stays."""
    bucket = _name(name)
    if versioning not in ("", "enable", "suspend"):
        raise Problem("--versioning is enable or suspend")
    if access not in ("", "public", "private"):
        raise Problem("--access is public or private")
    tags = pairs(tag or ())
    changed: dict[str, Any] = {}
    if allow_object_acl is not None:
        _set_object_acl(remote.s3, bucket, allow_object_acl)
        changed["allow_object_acl"] = allow_object_acl
    if access or directory_listing is not None:
        changed |= _set_access(remote.s3, bucket, access, directory_listing)
    if versioning:
        status: Literal["Enabled", "Suspended"] = (
            "Enabled" if versioning == "enable" else "Suspended"
        )
        remote.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        changed["versioning"] = status
    if tags or no_tags:
        changed["tags"] = _set_tags(remote.s3, bucket, tags, no_tags)
    if not changed:
        raise Problem("nothing to set; see amur buckets set --help")
    remote.out.document({"bucket": bucket, **changed})


def pairs(given: Any) -> dict[str, str]:
    """Of NAME=VALUE. Raises Problem."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Problem(f"{text!r} is not NAME=VALUE")
        found[name] = value
    return found


def _set_object_acl(s3: S3Client, bucket: str, allowed: bool) -> None:
    ownership: Any = "ObjectWriter" if allowed else "BucketOwnerEnforced"
    s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": ownership}]}
    )


def _set_access(
    s3: S3Client, bucket: str, access: str, directory_listing: bool | None
) -> dict[str, Any]:
    if not access:
        access = "public" if listing.is_public(s3, bucket) else "private"
    changed: dict[str, Any] = {"access": access}
    if directory_listing is not None:
        send_header(s3, "PutBucketAcl", _LISTED, _flag(directory_listing))
        changed["directory_listing"] = directory_listing
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read" if access == "public" else "private")
    return changed


def _set_tags(s3: S3Client, bucket: str, tags: dict[str, str], anew: bool) -> dict[str, str]:
    tags = tags if anew else listing.tags_of(s3, bucket) | tags
    if tags:
        rows = [{"Key": name, "Value": value} for name, value in tags.items()]
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": rows})  # type: ignore[typeddict-item]
    else:
        s3.delete_bucket_tagging(Bucket=bucket)
    return tags


def set_cors(
    remote: Remote,
    name: Name,
    origins: Annotated[str, typer.Option(metavar="A,B", help="https://example.com, or *.")] = "",
    methods: Annotated[str, typer.Option(metavar="A,B")] = "GET,HEAD",
    headers: Annotated[str, typer.Option(metavar="A,B", help="Allowed in requests.")] = "",
    expose_headers: Annotated[str, typer.Option(metavar="A,B", help="Scripts may read.")] = "",
    max_age: Annotated[int, typer.Option(metavar="SECONDS", min=0)] = 3600,
    override: Annotated[bool, typer.Option("--override", help="Instead of the rules it has.")] = (
        False
    ),
    reset: Annotated[bool, typer.Option("--reset", help="Without any rules.")] = False,
) -> None:
    """Add a rule that lets web pages of other origins use a bucket."""
    bucket = _name(name)
    if reset == bool(origins):
        raise Problem("give --origins, or --reset")
    rules: list[CORSRuleTypeDef] = []
    if reset:
        remote.s3.delete_bucket_cors(Bucket=bucket)
    else:
        rule: CORSRuleTypeDef = {
            "AllowedOrigins": _split(origins), "AllowedMethods": _split(methods.upper()),
            "MaxAgeSeconds": max_age,
        }  # fmt: skip
        if headers:
            rule["AllowedHeaders"] = _split(headers)
        if expose_headers:
            rule["ExposeHeaders"] = _split(expose_headers)
        rules = [*([] if override else listing.cors_of(remote.s3, bucket)), rule]
        remote.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    remote.out.document({"bucket": bucket, "cors_rules": len(rules)})


def _split(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
