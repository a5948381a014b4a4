"""From what went wrong to what the client is told: one table for S3's codes, one for the store's.

Codes, statuses and messages are those of Amazon S3's error responses reference. What is in
neither table is InternalError (500), which the app logs with its request id.
"""

from __future__ import annotations

from email.utils import formatdate

from amur.objects import errors as store

MESSAGES: dict[str, tuple[int, str]] = {
    "AccessDenied": (403, "Access Denied."),
    "AccessForbidden": (403, "CORSResponse: This CORS request is not allowed."),
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs."),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed."),
    "AuthorizationQueryParametersError": (400, "The query's authorization is malformed."),
    "BadDigest": (400, "The Content-MD5 you specified did not match what we received."),
    "BadRequest": (400, "The request can't be understood."),
    "BucketAlreadyExists": (
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users "
        "of the system. Select a different name and try again.",
    ),
    "BucketAlreadyOwnedByYou": (
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "BundleKeyNotFound": (404, "One or more keys could not be resolved"),  # Tigris
    "ConditionalRequestConflict": (
        409,
        "A conflicting conditional operation was in progress against this resource. Try again.",
    ),
    "ContentSHA256Mismatch": (400, "The body does not have the SHA-256 that was announced."),
    "CredentialsNotSupported": (400, "This request does not support credentials."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size."),
    "ExpiredToken": (400, "The provided token has expired."),
    "IllegalLocationConstraintException": (400, "The location constraint is not valid here."),
    "IllegalVersioningConfigurationException": (
        400,
        "The versioning configuration specified in the request is invalid.",
    ),
    "IncompleteBody": (
        400,
        "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    ),
    "IncorrectNumberOfFilesInPostRequest": (400, "POST requires exactly one file upload."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (
        403,
        "The AWS access key ID that you provided does not exist in our records.",
    ),
    "InvalidArgument": (400, "Invalid argument."),
    "InvalidBucketAclWithObjectOwnership": (
        400,
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting.",
    ),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidBucketState": (409, "The request is not valid for the current state of the bucket."),
    "InvalidDigest": (400, "The Content-MD5 or checksum value that you specified is not valid."),
    "InvalidLocationConstraint": (400, "The specified location (Region) constraint is not valid."),
    "InvalidObjectState": (403, "The operation is not valid for the object's storage class."),
    "InvalidPart": (
        400,
        "One or more of the specified parts could not be found. The part might not have been "
        "uploaded, or the specified entity tag might not have matched the part's entity tag.",
    ),
    "InvalidPartNumber": (416, "The requested partnumber is not satisfiable."),
    "InvalidPartOrder": (
        400,
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
    ),
    "InvalidPolicyDocument": (400, "The form does not meet the conditions of its policy."),
    "InvalidRange": (416, "The requested range is not satisfiable."),
    "InvalidRedirectLocation": (
        400,
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    ),
    "InvalidRequest": (400, "Invalid Request."),
    "InvalidSecurity": (403, "The provided security credentials are not valid."),
    "InvalidStorageClass": (400, "The storage class you specified is not valid."),
    "InvalidTag": (400, "The tag provided was not a valid tag."),
    "InvalidToken": (400, "The provided token is malformed or otherwise not valid."),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "KeyAlreadyExists": (409, "An object of the new key already exists."),
    "KeyTooLongError": (400, "Your key is too long."),
    "MalformedACLError": (
        400,
        "The XML you provided was not well-formed or did not validate against our published "
        "schema.",
    ),
    "MalformedPOSTRequest": (
        400,
        "The body of your POST request is not well-formed multipart/form-data.",
    ),
    "MalformedTrailerError": (
        400,
        "The request contained trailing data that was not well-formed or did not conform to our "
        "published schema.",
    ),
    "MalformedXML": (
        400,
        "The XML you provided was not well-formed or did not validate against our published "
        "schema.",
    ),
    "MaxMessageLengthExceeded": (400, "Your request was too big."),
    "MaxPostPreDataLengthExceededError": (
        400,
        "Your POST request fields preceding the upload file were too large.",
    ),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": (400, "Request body is empty."),
    "MissingSecurityHeader": (400, "Your request is missing a required header."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "MalformedPolicy": (400, "The policy is not valid."),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist."),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist."),
    "NoSuchConfiguration": (404, "The specified configuration does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist."),
    "NoSuchObjectLockConfiguration": (
        404,
        "The specified object does not have an ObjectLock configuration.",
    ),
    "NoSuchPublicAccessBlockConfiguration": (
        404,
        "The public access block configuration was not found.",
    ),
    "NoSuchTagSet": (404, "The TagSet does not exist."),
    "NoSuchUpload": (
        404,
        "The specified multipart upload does not exist. The upload ID might be invalid, or the "
        "multipart upload might have been aborted or completed.",
    ),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": (
        404,
        "The specified bucket does not have a website configuration.",
    ),
    "NotImplemented": (501, "A header or sub-resource of this request is not implemented."),
    "NotModified": (304, "Not Modified."),
    "ObjectLockConfigurationNotFoundError": (
        404,
        "Object Lock configuration does not exist for this bucket.",
    ),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found."),
    "OperationAborted": (
        409,
        "A conflicting operation is in progress against this resource. Please try again.",
    ),
    "PreconditionFailed": (
        412,
        "At least one of the preconditions that you specified did not hold.",
    ),
    "RequestHeaderSectionTooLarge": (400, "The request header is larger than the allowed size."),
    "RequestTimeTooSkewed": (
        403,
        "The difference between the request time and the server's time is too large.",
    ),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout "
        "period.",
    ),
    "ReplicationConfigurationNotFoundError": (
        404,
        "The replication configuration was not found.",
    ),
    "ServerSideEncryptionConfigurationNotFoundError": (
        404,
        "The server-side encryption configuration was not found.",
    ),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature that we calculated does not match the signature that you "
        "provided. Check your secret access key and signing method.",
    ),
    "SlowDown": (503, "Please reduce your request rate."),
    "StorageFull": (507, "There is no room left to store this; reads and deletes go on."),
    "TooManyBuckets": (400, "You have attempted to create more buckets than are allowed."),
    "UnexpectedContent": (400, "This request contains unsupported content."),
    "UnresolvableGrantByEmailAddress": (
        400,
        "The email address that you provided does not match any account on record.",
    ),
    "UnsupportedSignature": (400, "The provided request is signed with an unsupported signature."),
    "UserKeyMustBeSpecified": (400, "The POST form must hold the field name `key`."),
    "XAmzContentSHA256Mismatch": (
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
}  # fmt: skip

OF_STORE: dict[type[store.StoreError], str] = {
    store.NoSuchBucket: "NoSuchBucket",
    store.NoSuchKey: "NoSuchKey",
    store.KeyIsDeleted: "NoSuchKey",
    store.VersionIsMarker: "MethodNotAllowed",
    store.NoSuchVersion: "NoSuchVersion",
    store.NoSuchUpload: "NoSuchUpload",
    store.BucketAlreadyExists: "BucketAlreadyExists",
    store.BucketAlreadyOwnedByYou: "BucketAlreadyOwnedByYou",
    store.BucketNotEmpty: "BucketNotEmpty",
    store.InvalidBucketName: "InvalidBucketName",
    store.InvalidBucketState: "InvalidBucketState",
    store.KeyTooLong: "KeyTooLongError",
    store.KeyAlreadyExists: "KeyAlreadyExists",
    store.PreconditionFailed: "PreconditionFailed",
    store.NotModified: "NotModified",
    store.ConditionalConflict: "ConditionalRequestConflict",
    store.InvalidPart: "InvalidPart",
    store.InvalidPartOrder: "InvalidPartOrder",
    store.InvalidPartNumber: "InvalidPartNumber",
    store.EntityTooSmall: "EntityTooSmall",
    store.EntityTooLarge: "EntityTooLarge",
    store.InvalidRange: "InvalidRange",
    store.InvalidRequest: "InvalidRequest",
    store.InvalidArgument: "InvalidArgument",
    store.BadDigest: "BadDigest",
    store.ContentSha256Mismatch: "XAmzContentSHA256Mismatch",
    store.IncompleteBody: "IncompleteBody",
    store.StorageFull: "StorageFull",
    store.StorageDamaged: "InternalError",
    store.Overloaded: "SlowDown",
    store.BucketClosed: "OperationAborted",
    store.BodyUnreachable: "ServiceUnavailable",
    store.RegionUnreachable: "ServiceUnavailable",
    store.InvalidRegion: "InvalidArgument",
}

_RETRY_AFTER_SECONDS = "2"  # as long as the endpoint takes to send clients elsewhere


class S3Error(Exception):
    """An S3 error document: a code of MESSAGES, and what the document adds in `detail`.

    `headers` go into the response beside it.
    """

    def __init__(self, code: str, message: str = "", **detail: str | list[str]) -> None:
        """A list in `detail` is one of keys."""
        status, default = MESSAGES[code]
        super().__init__(f"{code}: {message or default}")
        self.code = code
        self.status = status
        self.message = message or default
        self.detail = detail
        self.headers: list[tuple[str, str]] = []


def explained(error: store.StoreError) -> S3Error:
    """What the store raised, as S3 says it."""
    answer = S3Error(OF_STORE.get(type(error), "InternalError"), error.message, **error.detail)
    if isinstance(error, store.KeyIsDeleted | store.VersionIsMarker):
        answer.headers.append(("x-amz-delete-marker", "true"))
        answer.headers.append(("x-amz-version-id", error.version_id))
        if isinstance(error, store.VersionIsMarker):
            answer.headers.append(("allow", "DELETE"))
            answer.headers.append(("last-modified", formatdate(error.modified_s, usegmt=True)))
    elif isinstance(error, store.NotModified):
        answer.headers.append(("etag", f'"{error.etag}"'))
        answer.headers.append(("last-modified", formatdate(error.modified_s, usegmt=True)))
        if error.version_id not in ("", "null"):  # null says nothing where there are no versions
            answer.headers.append(("x-amz-version-id", error.version_id))
    elif isinstance(error, store.InvalidRange):
        answer.detail["ActualObjectSize"] = str(error.size)
        answer.headers.append(("content-range", f"bytes */{error.size}"))
    elif isinstance(error, store.BodyUnreachable | store.RegionUnreachable):
        answer.headers.append(("retry-after", _RETRY_AFTER_SECONDS))
    return answer
