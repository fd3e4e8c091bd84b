"""Everything that can go wrong and that a caller can do something about.

Three families, told apart by who must act:

    InvalidRequest    the client must change the request; a retry cannot help
    Unavailable       nobody is at fault; the same request may succeed later
    DataLoss          an operator must look; the process stops rather than guess

A broken invariant is none of these: it is an AssertionError, and it is fatal.
The HTTP mapping is done in `api/`, nowhere else; errors of queries, with their
codes, are values of `fql` and derive from `QueryError` below.
"""

from typing import Any, ClassVar


class FaunaError(Exception):
    """Base class. A family without a `code` is never raised itself."""

    code: ClassVar[str]
    http_status: ClassVar[int]

    def __init__(self, message: str) -> None:
        assert hasattr(self, "code"), "raise the most precise subclass"
        super().__init__(message)


class InvalidRequest(FaunaError):
    """The request can never succeed as written (headers, body, JSON, tags)."""

    code = "invalid_request"
    http_status = 400


class RequestTooLarge(InvalidRequest):
    """The body exceeds `request_bytes_max`."""

    code = "request_size_exceeded"
    http_status = 413


class Unauthorized(InvalidRequest):
    """No secret, or one that opens nothing."""

    code = "unauthorized"
    http_status = 401


class Forbidden(InvalidRequest):
    """The secret is known and may not do this."""

    code = "forbidden"
    http_status = 403


class QueryError(Exception):
    """A query failed with `code` at `span` of its text; nothing of it was applied.

    `span` counts characters of the concatenated query text, (0, 0) when the place is
    unknown. `constraint_failures` holds ([path, ...], message) pairs; `abort` the value
    given to `abort()`, a value of `faunadb.values`, when `code` is "abort".
    Codes and messages: the table of errors in the documentation of Fauna v10.
    """

    http_status: ClassVar[int] = 400

    def __init__(
        self,
        code: str,
        message: str,
        *,
        span: tuple[int, int] = (0, 0),
        hints: tuple[str, ...] = (),
        constraint_failures: tuple[tuple[tuple[tuple[str | int, ...], ...], str], ...] = (),
        abort: Any = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.hints = hints
        self.constraint_failures = constraint_failures
        self.abort = abort
        self.log: tuple[Any, ...] = ()  # what was logged before it failed: `fql.runtime.LogLine`


class Unavailable(FaunaError):
    """Not now. `retry_after_s` is a hint, `None` when we cannot tell."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyPending(Unavailable):
    """A queue is full or there is no leader. Nothing was proposed: send it again as it is."""

    code = "limit_exceeded"
    http_status = 429


class DeadlineExceeded(Unavailable):
    """The client's deadline passed before anything was proposed: never applied."""

    code = "time_out"
    http_status = 440


class OutcomeUnknown(Unavailable):
    """The write was proposed and may yet commit: repeat it only under its own request id."""

    code = "time_out"
    http_status = 503


class Contended(Unavailable):
    """Five attempts met conflicting writes; nothing was applied."""

    code = "contended_transaction"
    http_status = 409


class DataLoss(FaunaError):
    """Bytes on disk or in a backup do not match their checksum."""

    code = "internal_error"
    http_status = 500


class Corrupt(DataLoss):
    """A data directory cannot be believed; `reason` is one word for machines. Exit code 78."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Malformed(Exception):
    """Bytes from a disk, peer or client are not what the format says (decoders raise only this)."""
