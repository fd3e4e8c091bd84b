"""What a request to `/feed/1` or `/stream/1` asks for, and how a feed answers it.

The words of refusals are those of Fauna v10, which ends them with a dot for feeds only.
"""

from http import HTTPStatus

import msgspec

from faunadb.api.bodies import Response, refusal
from faunadb.api.options import Options
from faunadb.codec import Answer
from faunadb.errors import FaunaError, InvalidRequest, Malformed, Unauthorized
from faunadb.fql.positions import decode_position
from faunadb.node.asked import FeedAsked
from faunadb.node.query import Caller, Outcome, Query
from faunadb.store.changes import ORDINAL_MAX

PAGE_SIZE, PAGE_SIZE_MAX = 16, 16_000
_TIME_MAX = 2**63 - 1


class _Body(msgspec.Struct):
    token: str
    page_size: int = PAGE_SIZE
    start_ts: int | None = None
    cursor: str | None = None


def feed_query(body: bytes, options: Options, caller: Caller) -> Query:
    """Return what asks for a page; raises `InvalidRequest`."""
    asked = _decode(body)
    if asked.page_size <= 0:
        raise _refused("page size must be greater than zero.")
    if asked.page_size > PAGE_SIZE_MAX:
        raise _refused(f"page size can not be greater than {PAGE_SIZE_MAX}.")
    start = _start(asked, ".", 0)
    return _query(FeedAsked(asked.token, asked.page_size, start), options, caller)


def stream_query(body: bytes, options: Options, caller: Caller) -> Query:
    """Return what opens the source of a stream; raises `InvalidRequest`."""
    asked = _decode(body)
    start = _start(asked, "", ORDINAL_MAX)
    return _query(FeedAsked(asked.token, 0, start, stream=True), options, caller)


def feed_response(outcome: Outcome) -> Response:
    """Return the answer of `/feed/1`, or the refusal of a stream."""
    match outcome:
        case Answer(http_status=HTTPStatus.OK):
            return Response(200, outcome.data)
        case FaunaError():
            return refusal(outcome)
    return refusal(Unauthorized("Invalid token, unable to authenticate request"))


def _query(asked: FeedAsked, options: Options, caller: Caller) -> Query:
    return Query(
        b"",
        caller=caller,
        timeout_ms=options.timeout_ms,
        last_txn_ts=options.last_txn_ts,
        feed=asked,
    )


def _decode(body: bytes) -> _Body:
    if not body:
        raise InvalidRequest("No request body provided")
    try:
        asked = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(str(error)) from None
    if asked.start_ts is not None and not 0 <= asked.start_ts <= _TIME_MAX:
        raise _refused("`start_ts` is not a time")
    return asked


def _start(asked: _Body, dot: str, ordinal: int) -> tuple[int, int] | None:
    """Return the place that is asked for: a time means the `ordinal` that the endpoint says."""
    if asked.start_ts is not None and asked.cursor is not None:
        raise _refused(f"can not provide both `start_ts` and `cursor`{dot}")
    if asked.start_ts is not None:
        return asked.start_ts, ordinal
    if asked.cursor is None:
        return None
    try:
        return decode_position(asked.cursor)
    except Malformed:
        raise _refused(f"invalid event cursor provided{dot}") from None


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid request body: {why}")
