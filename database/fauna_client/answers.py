"""What an HTTP answer of a member means: a result, or an error to raise."""

from typing import Any

import msgspec

from fauna_client.errors import (
    Contended,
    DeadlineExceeded,
    QueryError,
    ServerError,
    Unauthorized,
)
from fauna_client.tagged import decode
from fauna_client.values import Result


def read_result(body: bytes) -> Result:
    """Return the result of a 200. Raises `ValueError` when it cannot be read."""
    content = _object(body)
    try:
        return Result(
            value=decode(content["data"]),
            txn_ts=content["txn_ts"],
            summary=content.get("summary", ""),
            schema_version=content.get("schema_version", 0),
            stats=content.get("stats", {}),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the answer has an unexpected shape: {error!r}") from error


def read_error(status: int, body: bytes) -> QueryError | Unauthorized:
    """Return what to raise for any other status; never raises itself."""
    try:
        content = _object(body)
    except ValueError:
        content = {}
    said = content.get("error")
    problem: dict[str, Any] = said if isinstance(said, dict) else {"message": str(said or status)}
    message = str(problem.get("message", ""))
    if status == 401:
        return Unauthorized(message)
    return _kind(status)(
        str(problem.get("code", "")),
        message,
        status=status,
        summary=content.get("summary", ""),
        constraint_failures=tuple(problem.get("constraint_failures", ())),
        abort=_abort(problem),
        txn_ts=content.get("txn_ts", 0),
    )


def _kind(status: int) -> type[QueryError]:
    if status >= 500:
        return ServerError
    return {409: Contended, 440: DeadlineExceeded}.get(status, QueryError)


def _abort(problem: dict[str, Any]) -> Any:
    try:
        return decode(problem.get("abort"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return problem["abort"]


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the answer is no JSON object: {error}") from error
