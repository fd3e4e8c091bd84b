"""Everything that a caller of the client can do something about.

    QueryError         the cluster answered: this query is wrong, refused or aborted
      Contended        409: other writes were faster, every time; nothing was applied
      DeadlineExceeded 440: too late to begin; nothing was applied
      ServerError      500: the member says that it is broken
    Unauthorized       401: the secret opens nothing
    Unavailable        nobody answered; nothing was applied
    OutcomeUnknown     the query was sent and may have been applied, or may yet be

`Unauthorized` and `Unavailable` are `ConnectionError`s too: that is what constructors raise.
"""

from typing import Any


class FaunaError(Exception):
    """Base class of all that this package raises, but for `ValueError` and `SystemError`."""


class QueryError(FaunaError):
    """The cluster refused or failed a query.

    `certain` says that nothing of it was or will be applied. It is False in one case only: an
    earlier attempt of the same query got no answer and may still be applied.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        summary: str = "",
        constraint_failures: tuple[dict[str, Any], ...] = (),
        abort: Any = None,
        txn_ts: int = 0,
    ) -> None:
        super().__init__(code, message)
        self.code, self.message, self.status = code, message, status
        self.summary = summary  # points into the text of the query
        self.constraint_failures = constraint_failures
        self.abort = abort  # the value given to abort(), when `code` is "abort"
        self.txn_ts = txn_ts
        self.certain = True

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f"\n{self.summary}" if self.summary else "")


class Contended(QueryError):
    """Every attempt within the timeout met conflicting writes; nothing was applied."""


class DeadlineExceeded(QueryError):
    """The timeout passed before anything was proposed."""


class ServerError(QueryError):
    """A member failed at the query; whether it was applied is not known (`certain` is False)."""


class Unauthorized(FaunaError, ConnectionError):
    """The secret opens nothing."""


class Unavailable(FaunaError, ConnectionError):
    """No member took the query within the timeout; nothing was applied."""


class OutcomeUnknown(FaunaError):
    """The query may have been applied, or may be within the next seconds. Read before repeating."""
