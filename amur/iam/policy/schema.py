"""A JSON schema (draft 2020-12) of policy documents, made from what `parse` itself goes by.

For editors: it completes names and marks what is misspelled. It knows the structure, not the
meaning: that a condition key fits the actions, or that a bucket's resources lie in the bucket,
only `document.parse` says. It wants names as they are documented, where `parse` lets case go.
"""

from __future__ import annotations

import re
from typing import Any

from amur import limits
from amur.iam.policy import contextkeys, operators, vocabulary
from amur.iam.policy.document import SID_CHARS_MAX, VERSION
from amur.iam.policy.elements import IAM_ARN, S3_ARN
from amur.iam.policy.statements import ALLOW, DENY, EVERYBODY, Kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Schema = dict[str, Any]

_ANY_NUMBER = r"^[+-]?[0-9]{1,18}(\.[0-9]{1,18})?$"
_TIME = (
    r"^([+-]?[0-9]{1,18}(\.[0-9]{1,18})?|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?)$"
)
_TRUTH = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"
_ADDRESS = r"^[0-9A-Fa-f:.]+(/[0-9.]+)?$"
_PATTERN: _Schema = {"type": "string", "maxLength": limits.POLICY_PATTERN_CHARS_MAX}

_VALUES: dict[str, _Schema] = {
    "String": {"anyOf": [_PATTERN, {"type": ["number", "boolean"]}]},
    "Arn": {**_PATTERN, "pattern": "^arn:"},
    "Numeric": {"anyOf": [{"type": "string", "pattern": _ANY_NUMBER}, {"type": "number"}]},
    "Date": {"anyOf": [{"type": "string", "pattern": _TIME}, {"type": "number"}]},
    "Bool": {"anyOf": [{"type": "string", "pattern": _TRUTH}, {"type": "boolean"}]},
    "Null": {"anyOf": [{"type": "string", "pattern": _TRUTH}, {"type": "boolean"}]},
    "IpAddress": {"type": "string", "pattern": _ADDRESS},
}


def schema(kind: Kind) -> _Schema:
    """The schema of a kind of policy, as a JSON-like dict."""
    return {
        "$schema": DIALECT,
        "title": f"Amur policy ({kind.value})",
        "type": "object",
        "required": ["Version", "Statement"],
        "additionalProperties": False,
        "properties": {
            "Version": {"const": VERSION},
            "Id": {"type": "string", "maxLength": SID_CHARS_MAX},
            "Statement": {
                "anyOf": [
                    {"$ref": "#/$defs/Statement"},
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": limits.POLICY_STATEMENTS_MAX,
                        "items": {"$ref": "#/$defs/Statement"},
                    },
                ]
            },
        },
        "$defs": {
            "Statement": _statement(kind),
            "Action": _some({"$ref": "#/$defs/ActionName"}),
            "ActionName": _action(kind),
            "Resource": _some({**_PATTERN, "pattern": _resource(kind)}),
            "Condition": _condition(),
            **{f"{family}Keys": _keys(family) for family in _VALUES},
        },
    }


def _some(one: _Schema) -> _Schema:
    """One, or a list of some."""
    return {
        "anyOf": [
            one,
            {"type": "array", "minItems": 1, "maxItems": limits.POLICY_LIST_MAX, "items": one},
        ]
    }


def _statement(kind: Kind) -> _Schema:
    action, resource = {"$ref": "#/$defs/Action"}, {"$ref": "#/$defs/Resource"}
    properties: _Schema = {
        "Sid": {"type": "string", "maxLength": SID_CHARS_MAX, "pattern": "^[ -~]*$"},
        "Effect": {"enum": [ALLOW, DENY]},
        "Action": action,
        "NotAction": action,
        "Resource": resource,
        "NotResource": resource,
        "Condition": {"$ref": "#/$defs/Condition"},
    }
    required = ["Effect"]
    if kind is Kind.BUCKET:
        properties["Principal"] = {
            "anyOf": [
                {"const": EVERYBODY},
                {
                    "type": "object",
                    "required": ["AWS"],
                    "additionalProperties": False,
                    "properties": {"AWS": _some({"type": "string", "pattern": _PRINCIPAL})},
                },
            ]
        }
        required.append("Principal")
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
        "allOf": [
            {"oneOf": [{"required": ["Action"]}, {"required": ["NotAction"]}]},
            {"oneOf": [{"required": ["Resource"]}, {"required": ["NotResource"]}]},
        ],
    }


_PRINCIPAL = (
    r"^(\*|tid_[A-Za-z0-9_-]{1,124}"
    r"|arn:aws:iam::[A-Za-z0-9_.=+@-]{1,128}:(root|user/[!-~]{1,128}))$"
)


def _action(kind: Kind) -> _Schema:
    known = [action.name for action in vocabulary.ACTIONS]
    if kind is Kind.BUCKET:
        known = [
            action.name
            for action in vocabulary.ACTIONS
            if action.name.startswith("s3:") and action.level != vocabulary.SERVICE
        ]
    return {"anyOf": [{"enum": known}, {"type": "string", "pattern": r"^[^*?]*[*?].*$"}]}


def _resource(kind: Kind) -> str:
    if kind is Kind.BUCKET:
        return f"^{S3_ARN}[^/]"
    return rf"^(\*|{S3_ARN}[^/].*|{IAM_ARN}.+)$"


def _condition() -> _Schema:
    """Plain operators as properties, for completion; with prefix and suffix by pattern."""
    properties = {
        name: {"$ref": f"#/$defs/{each.family}Keys"} for name, each in operators.OPERATORS.items()
    }
    patterns: _Schema = {}
    for family in dict.fromkeys(each.family for each in operators.OPERATORS.values()):
        names = "|".join(
            name for name, each in operators.OPERATORS.items() if each.family == family
        )
        if family != "Null":
            prefix = f"({operators.FOR_ALL}:|{operators.FOR_ANY}:)?"
            pattern = f"^{prefix}({names})({operators.IF_EXISTS})?$"
            patterns[pattern] = {"$ref": f"#/$defs/{family}Keys"}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "patternProperties": patterns,
        "maxProperties": limits.POLICY_CLAUSES_MAX,
    }


def _keys(family: str) -> _Schema:
    fitting = [key for key in contextkeys.KEYS if family in (*key.families, "Null")]
    values = _some(_VALUES[family])
    tagged = [re.escape(key.name) for key in fitting if key.name.endswith("/")]
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {key.name: values for key in fitting if not key.name.endswith("/")},
        "patternProperties": {f"^({'|'.join(tagged)}).+$": values} if tagged else {},
    }
