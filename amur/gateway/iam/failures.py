"""Failures as IAM's clients read them: XML or JSON of the query protocol, or the REST part's.

Codes are Amazon's (IAM "Common errors"); the signature's and the store's are S3's, where IAM has
no name of its own for them.
"""

from __future__ import annotations

from amur.gateway import xml
from amur.gateway.context import Response
from amur.gateway.errors import MESSAGES, S3Error, explained
from amur.gateway.iam.render import NAMESPACES, XML_TYPE, json_response
from amur.gateway.request import Request
from amur.gateway.xml import tag
from amur.iam.model import IamError
from amur.objects.errors import StoreError

STATUSES = {
    "AccessDenied": 403,
    "DeleteConflict": 409,
    "EntityAlreadyExists": 409,
    "InvalidAction": 400,
    "InvalidClientTokenId": 403,
    "InvalidInput": 400,
    "LimitExceeded": 409,
    "MalformedPolicyDocument": 400,
    "MethodNotAllowed": 405,
    "MissingAction": 400,
    "MissingAuthenticationToken": 403,
    "NoSuchEntity": 404,
    "NotFound": 404,
    "NotImplemented": 501,
    "PackedPolicyTooLarge": 400,
    "ValidationError": 400,
}

_OF_S3 = {
    "InvalidAccessKeyId": ("InvalidClientTokenId", "The access key does not exist."),
    "InvalidToken": ("InvalidClientTokenId", "The session token is not valid."),
}
_TELLABLE = frozenset({"NotImplemented", "SlowDown", "StorageFull", "ServiceUnavailable"})
_INTERNAL = (500, "InternalFailure", "We encountered an internal error. Please try again.")


def told(error: Exception) -> tuple[int, str, str]:
    """Status, code and message. What is in no table is InternalFailure (500), to be logged."""
    if isinstance(error, IamError):
        return STATUSES.get(error.code, 400), error.code, error.message
    if isinstance(error, StoreError):
        error = explained(error)
    if not isinstance(error, S3Error):
        return _INTERNAL
    if error.status >= 500 and error.code not in _TELLABLE:
        return _INTERNAL
    code, message = _OF_S3.get(error.code, (error.code, error.message))
    status = STATUSES.get(code) or MESSAGES[error.code][0]
    return status, code, message


def failure(request: Request, error: Exception) -> Response:
    """Without request id, date and server, which the app adds."""
    status, code, message = told(error)
    headers = error.headers if isinstance(error, S3Error) else []
    if request.path != "/":
        response = json_response({"status": "error", "message": message, "code": code}, status)
    elif request.wants_json:
        document = {"Message": message, "Code": code, "RequestId": request.id}
        response = json_response(document, status)
    else:
        kind = "Receiver" if status >= 500 else "Sender"
        body = xml.document(
            "ErrorResponse",
            tag("Error", tag("Type", kind), tag("Code", code), tag("Message", message)),
            tag("RequestId", request.id),
            namespace=NAMESPACES["iam"],
        )
        response = Response(status, [XML_TYPE], body)
    response.headers += headers
    return response
