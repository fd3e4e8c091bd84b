"""Why is it null? What `!` says about the expression before it.

The original keeps the reason inside of the null; ours looks at the code that made it, which
tells the same wherever the null was made on the spot.
"""

from typing import Any

from faunadb.fql.syntax import Field, Index, Literal, Method

_REASONS = {
    "parseInt": "invalid number",
    "parseLong": "invalid number",
    "parseDouble": "invalid number",
    "parseNumber": "invalid number",
    "firstWhere": "no element found",
    "lastWhere": "no element found",
    "indexOf": "no element found",
    "indexWhere": "no element found",
    "lastIndexOf": "no element found",
    "lastIndexWhere": "no element found",
    "indexOfRegex": "no element found",
    "first": "empty set",
    "last": "empty set",
    "reduce": "empty set",
    "reduceRight": "empty set",
    "select": "no value in object found at path",
    "token": "no token",
    "identity": "missing identity",
}


def null_reason(node: Any) -> str:
    """Return the message of `null_value`."""
    match node:
        case Field(name=name):
            return f"Null value, due to missing field `{name}`"
        case Index(arguments=(Literal(value=str(key)),)):
            return f"Null value, due to missing field `{key}`"
        case Method(name=name) if name in _REASONS:
            return f"Null value, due to {_REASONS[name]}"
    return "Null literal value"
