"""How the language words its errors: one function for each template of the original.

Codes and texts: `docs` of Fauna v10, "Error codes"; spans are added by the compiled node that
was running (`compile`).
"""

from collections.abc import Iterable, Sequence

from faunadb.errors import QueryError

Failure = tuple[tuple[tuple[str | int, ...], ...], str]
"""One element of `constraint_failures`: paths, message."""


def fail(code: str, message: str) -> QueryError:
    """Return the error, for the caller to raise."""
    return QueryError(code, message)


def invalid_argument(name: str, reason: str) -> QueryError:
    return QueryError("invalid_argument", f"invalid argument `{name}`: {reason}")


def expected_argument(name: str, expected: str, actual: str) -> QueryError:
    return QueryError(
        "invalid_argument", f"expected value for `{name}` of type {expected}, received {actual}"
    )


def type_mismatch(expected: str, actual: str) -> QueryError:
    return QueryError("type_mismatch", f"expected type: {expected}, received {actual}")


def no_function(name: str, owner: str) -> QueryError:
    return QueryError(
        "invalid_function_invocation", f"The function `{name}` does not exist on `{owner}`"
    )


def not_built(name: str) -> QueryError:
    """Say that we know it and have not made it."""
    return QueryError("disabled_feature", f"{name} is not supported by this server yet.")


def null_access(name: str) -> QueryError:
    return QueryError("invalid_null_access", f"Cannot access `{name}` on null.")


def out_of_bounds(index: int, length: int) -> QueryError:
    return QueryError("index_out_of_bounds", f"index {index} out of bounds for length {length}")


def too_large(what: str) -> QueryError:
    return QueryError("value_too_large", f"Value too large: {what}.")


def denied(collection: str | None = None) -> QueryError:
    what = f"read from collection {collection}" if collection else "perform the action"
    return QueryError("permission_denied", f"Insufficient privileges to {what}.")


EFFECTS = ("nothing", "an observation", "a read", "a write")


def invalid_effect(action: str, effect: int, place: str) -> QueryError:
    return QueryError(
        "invalid_effect", f"{action} performs {EFFECTS[effect]}, which is not allowed in {place}."
    )


def unique_failure(paths: Sequence[tuple[str | int, ...]]) -> QueryError:
    return QueryError(
        "constraint_failure",
        "Failed unique constraint.",
        constraint_failures=((tuple(paths), "Failed unique constraint"),),
    )


def constraint(action: str, what: str, failures: Iterable[Failure]) -> QueryError:
    """`action` is create, update or delete; `what` as in "Failed to create Collection."."""
    return QueryError(
        "constraint_failure",
        f"Failed to {action} {what}.",
        constraint_failures=tuple(failures),
    )


def arity_text(counts: Sequence[int], noun: str, *, variadic: bool) -> str:
    """Say which numbers of arguments are accepted: "exactly 1 argument", "1 or 2 arguments"."""
    if variadic:
        least = min(counts)
        return (
            f"at least {least} {noun}{'' if least == 1 else 's'}"
            if least
            else (f"any number of {noun}s")
        )
    if list(counts) == [0]:
        return f"no {noun}s"
    if len(counts) == 1:
        return f"exactly {counts[0]} {noun}{'' if counts[0] == 1 else 's'}"
    listed = ", ".join(str(n) for n in counts[:-1])
    return f"{listed} or {counts[-1]} {noun}s"


def wrong_arity(counts: Sequence[int], given: int, *, variadic: bool = False) -> QueryError:
    expected = arity_text(counts, "argument", variadic=variadic)
    verb = "was" if given == 1 else "were"
    return QueryError(
        "invalid_function_invocation",
        f"callee function expects {expected}, but {given} {verb} provided.",
    )
