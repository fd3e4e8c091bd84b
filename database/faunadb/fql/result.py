"""What a query returns, materialised: a tree that an encoder can write without asking anybody.

Plain values of `faunadb.values` may stand anywhere in it; the structs below stand for what
only the language knows. Documents are expanded once; documents inside documents stay
references; sets are pages or, where they would nest too deep, tokens (FQL.md §2).
"""

import msgspec

from faunadb.values import Time


class DocumentResult(msgspec.Struct, frozen=True):
    """A document with its fields; user documents have `id`, definitions have `name`."""

    coll: str
    id: int | None
    name: str | None
    ts: int | None  # microseconds; None is the time of this transaction
    ttl: Time | None
    fields: "dict[str, Result]"  # as shown: clashing fields under "data"


class ReferenceResult(msgspec.Struct, frozen=True):
    """A reference; `cause` is "" when the document exists or was not looked at."""

    coll: str
    id: int | None
    name: str | None
    cause: str = ""  # not found | deleted | permission denied | collection deleted


class ModuleResult(msgspec.Struct, frozen=True):
    name: str


class IdResult(msgspec.Struct, frozen=True):
    """An ID value: encoded as its digits in a string."""

    id: int


class PageResult(msgspec.Struct, frozen=True):
    """A page of a set: {"@set": {data, after}}."""

    data: "list[Result]"
    after: str | None


class SetTokenResult(msgspec.Struct, frozen=True):
    """A set that is not expanded: {"@set": "<cursor>"}."""

    cursor: str


class EventSourceResult(msgspec.Struct, frozen=True):
    """A source of events. `begins_now`: it starts at the time of the transaction that is running,
    which is written behind the token when it is known."""

    token: str
    begins_now: bool = False


class OpaqueResult(msgspec.Struct, frozen=True):
    """What has no encoding of its own, as its display text: "[function <lambda>]"."""

    text: str


Result = object
"""Any of the above, a plain value, or a list or dict of results (checked by the encoder)."""
