"""The way of one query to its answer: where to, how long, and when to try again.

    not sent                 → the next place
    no answer, 502-504       → the next place, under the same request id; it may have been applied
    429, 409                 → again after a moment; nothing was applied
    400-413, 440, 500        → the caller's
    200                      → the caller's

All attempts carry one request id, under which the cluster applies a write once. While there is
somebody else to ask, a silent place is left after `SILENCE_S`, doubled each time, so that a query
that takes long is answered in the end.

Trap: an attempt that got no answer lives on in the cluster. If a later one fails, or succeeds
without writing, the first may still write afterwards: `certain` says so.
"""

import time
from collections.abc import Callable, Generator

import msgspec

from fauna_client.answers import read_error, read_result
from fauna_client.directory import Directory
from fauna_client.errors import (
    DeadlineExceeded,
    FaunaError,
    OutcomeUnknown,
    QueryError,
    ServerError,
    Unauthorized,
    Unavailable,
)
from fauna_client.steps import Answered, Happened, Lost, NotSent, Send, Step, Wait
from fauna_client.values import Result

PATH = "/query/1"
SILENCE_S = 1.0
GRACE_S = 0.5  # beyond the deadline, for a member that says itself that it was late
BACKOFF_S, BACKOFF_MAX_S = 0.02, 1.0
REPEAT_MAX_S = 100.0  # the cluster remembers a request id for two minutes
QUERY_TIMEOUT_MAX_S = 600.0
_LOST_STATUS = frozenset({502, 503, 504})
_AGAIN_STATUS = frozenset({409, 429})


def new_request_id(nonce: bytes) -> str:
    """Return a request id born now, by the wall clock; `nonce` is 16 random bytes."""
    return f"{time.time_ns() // 1000}-{nonce.hex()}"


class Call(msgspec.Struct, frozen=True):
    """A query ready to be sent."""

    body: bytes
    headers: dict[str, str]
    timeout_s: float
    connect_s: float


class _State(msgspec.Struct):
    deadline: float
    repeat_until: float
    backoff_s: float = BACKOFF_S
    silences: int = 0
    attempts: int = 0
    lost: bool = False  # an attempt got no answer
    problem: FaunaError | None = None
    tried: list[str] = []


def course(
    call: Call, directory: Directory, now: Callable[[], float], chance: Callable[[], float]
) -> Generator[Step, Happened, Result]:
    """Carry a query to its answer. Raises `FaunaError`; `chance` returns numbers from 0 to 1."""
    began = now()
    state = _State(began + call.timeout_s, began + REPEAT_MAX_S)
    while (left := state.deadline - now()) > 0 and not (state.lost and now() > state.repeat_until):
        places = directory.order()
        fresh = [place for place in places if place not in state.tried]
        if not fresh:
            state.tried.clear()
            yield Wait(min(left, _backoff(state, chance())))
            continue
        place = fresh[0]
        state.tried.append(place)
        state.attempts += 1
        sent_at = now()
        happened = yield _send(call, place, left, state, alone=len(places) == 1)
        match happened:
            case Answered():
                directory.worked(place, now())
                pause_s = _judge(happened, place, state, directory, now())
                if isinstance(pause_s, Result):
                    return pause_s
                if pause_s:
                    pause_s = max(_backoff(state, chance()), pause_s)
                    yield Wait(min(max(0.0, state.deadline - now()), pause_s))
            case NotSent(reason, ours):
                if not ours:
                    directory.failed(place, now(), since=sent_at)
                state.problem = Unavailable(f"{place}: {reason}")
            case Lost(reason):
                state.silences += 1
                state.lost = True
                directory.failed(place, now(), since=sent_at)
                state.problem = OutcomeUnknown(f"{place}: {reason}")
            case None:
                raise AssertionError("a request ends in something")
    raise _given_up(state, call)


def _send(call: Call, place: str, left_s: float, state: _State, *, alone: bool) -> Send:
    """Who is not `alone` may be left when silent. A member is told of an attempt that got lost."""
    silence_s, connect_s = left_s + GRACE_S, min(call.connect_s, left_s)
    if not alone:
        silence_s = min(silence_s, SILENCE_S * 2**state.silences)
        connect_s = min(connect_s, SILENCE_S)
    left_ms = max(1, int(min(left_s, QUERY_TIMEOUT_MAX_S) * 1000))
    headers = {
        **call.headers,
        "x-query-timeout-ms": str(left_ms),
        "x-fauna-request-attempt": "2" if state.lost else "1",
    }
    return Send(place, "POST", PATH, connect_s, silence_s, left_s, headers, call.body)


def _judge(
    answer: Answered, place: str, state: _State, directory: Directory, now: float
) -> Result | float:
    """Return the result, or how long to wait at least before the next attempt; or raise."""
    if answer.status == 200:
        return _finished(answer.body, state)
    error = read_error(answer.status, answer.body)
    if answer.status in _LOST_STATUS:
        state.lost = True
        state.problem = OutcomeUnknown(str(error))
        directory.failed(place, now)
        return BACKOFF_S
    if isinstance(error, Unauthorized):
        raise error
    error.certain = not state.lost and not isinstance(error, ServerError)
    if answer.status in _AGAIN_STATUS:
        state.problem = error
        if answer.status == 409:
            state.tried.clear()
            return BACKOFF_S
        directory.failed(place, now)
        return min(BACKOFF_MAX_S, answer.retry_after_s) if _all_tried(state, directory) else 0.0
    if isinstance(error, DeadlineExceeded) and state.lost:
        raise OutcomeUnknown(str(error)) from error
    raise error


def _all_tried(state: _State, directory: Directory) -> bool:
    return all(place in state.tried for place in directory.order())


def _finished(body: bytes, state: _State) -> Result:
    try:
        result = read_result(body)
    except ValueError as error:
        raise OutcomeUnknown(f"the query was answered, but {error}") from error
    certain = not state.lost or bool(result.stats.get("write_ops"))
    return msgspec.structs.replace(result, attempts=state.attempts, certain=certain)


def _backoff(state: _State, chance: float) -> float:
    seconds = state.backoff_s * (0.5 + chance)
    state.backoff_s = min(BACKOFF_MAX_S, state.backoff_s * 2)
    return seconds


def _given_up(state: _State, call: Call) -> FaunaError:
    """Say what is true of a query that was not answered in time."""
    tries = f"after {state.attempts} attempts in {call.timeout_s:g} s"
    if state.lost:
        return OutcomeUnknown(f"{tries}: {state.problem}")
    if isinstance(state.problem, QueryError) and state.problem.status == 409:
        return state.problem
    return Unavailable(f"{tries}: {state.problem or 'no time was left'}")
