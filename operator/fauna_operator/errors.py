"""What can go wrong while looking or acting, told apart by what the loop does next.

    Stale         somebody changed the thing first; look again, at once
    Refused       the other side understood and said no; say so in a condition, look again later
    Unreachable   nobody answered in time; it may or may not have happened

A broken invariant is none of these. It is an AssertionError.
"""


class OperatorError(Exception):
    """Base class; never raised itself."""


class Stale(OperatorError):
    """The object is not the one that was observed: 409, 412, or gone."""


class Refused(OperatorError):
    """The Kubernetes API or a member refused; the message is theirs."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Unreachable(OperatorError):
    """No answer within the deadline: what was asked may have happened or not."""
