"""The bodies of answers: from outcomes to JSON, and from errors to status, here and only here.

Shapes: FQL.md §2. A query's answer carries `txn_ts`, `stats`, `summary`; a protocol error (the
request never reached the language) has only `error`.
"""

from http import HTTPStatus

import msgspec

from faunadb.codec import Answer
from faunadb.errors import FaunaError, QueryError, Unauthorized, Unavailable
from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.render import Source, summary
from faunadb.fql.tagged import Format, encode_error
from faunadb.fql.template import ValueInQueryRefused
from faunadb.node.query import Outcome

Headers = tuple[tuple[str, str], ...]
JSON_TYPE = ("content-type", "application/json;charset=utf-8")
JSON: Headers = (JSON_TYPE,)
_encode = msgspec.json.Encoder().encode
_EMPTY_STATS = (
    b'{"compute_ops":0,"read_ops":0,"write_ops":0,"query_time_ms":0,"contention_retries":0,'
    b'"storage_bytes_read":0,"storage_bytes_write":0,"rate_limits_hit":[]}'
)


class Response(msgspec.Struct, frozen=True):
    """One HTTP answer; the connection adds length and framing."""

    status: int
    body: bytes
    headers: Headers = JSON
    close: bool = False  # the connection cannot go on after this


def query_response(outcome: Outcome, form: Format, tags: str) -> Response:
    """Return the answer of `/query/1`."""
    match outcome:
        case Answer(http_status=HTTPStatus.UNAUTHORIZED):
            return refusal(Unauthorized("Access token required"), tags)
        case Answer():
            return _answered(outcome, tags)
        case QueryError():
            return _failed(outcome, form, tags)
        case FaunaError():
            return refusal(outcome, tags)


def refusal(error: FaunaError, tags: str = "") -> Response:
    """Return the answer for a request that the language never saw."""
    headers = JSON
    if isinstance(error, Unauthorized):
        headers = (JSON_TYPE, ("www-authenticate", "Bearer"))
    elif isinstance(error, Unavailable) and error.retry_after_s is not None:
        headers = (JSON_TYPE, ("retry-after", str(max(1, round(error.retry_after_s)))))
    body: dict[str, object] = {"error": {"code": error.code, "message": str(error)}}
    if tags:
        body["query_tags"] = tags
    return Response(error.http_status, _encode(body), headers)


def protocol_error(status: int, code: str, message: str) -> Response:
    return Response(status, _encode({"error": {"code": code, "message": message}}))


def channel_error(status: int, text: str) -> Response:
    """Return the answer to broken HTTP; the connection ends with it."""
    return Response(status, _encode({"error": text}), close=True)


def _answered(answer: Answer, tags: str) -> Response:
    name = b"data" if answer.http_status == 200 else b"error"
    stats = _EMPTY_STATS if answer.stats == b"{}" else answer.stats
    parts = [
        b'{"%s":' % name,
        answer.data,
        b',"summary":',
        _encode(answer.summary),
        b',"txn_ts":%d,"stats":' % answer.txn_ts,
        stats,
        b',"schema_version":%d' % answer.schema_version,
    ]
    if tags:
        parts.append(b',"query_tags":' + _encode(tags))
    parts.append(b"}")
    return Response(answer.http_status, b"".join(parts))


def _failed(error: QueryError, form: Format, tags: str) -> Response:
    """A query that failed before a transaction: it has no time of its own."""
    text = error.text if isinstance(error, ValueInQueryRefused) else None
    if text is None and isinstance(error, InvalidQuery):
        drawn = "\n".join(f"error: {problem.message}" for problem in error.diagnostics)
    else:
        drawn = summary(error, Source(text))
    body: dict[str, object] = {
        "error": msgspec.Raw(encode_error(error, form)),
        "summary": drawn,
        "stats": msgspec.Raw(_EMPTY_STATS),
    }
    if tags:
        body["query_tags"] = tags
    return Response(error.http_status, _encode(body))
