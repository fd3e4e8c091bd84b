"""A query on its way through members: what the client asked, under which limits, and who asks.

The body travels as it came (`body`): a member that forwards does not encode it again, and the
leader decodes it as the first member did. Times here are of one member's monotonic clock; a
forwarded query carries the time that is left instead (SAFETY 6).
"""

from collections.abc import Callable

import msgspec

from faunadb.codec import Answer, RequestId
from faunadb.errors import FaunaError
from faunadb.fql.credentials import Claim
from faunadb.fql.schema_push import SchemaAsked
from faunadb.node.asked import FeedAsked

ATTEMPTS_DEFAULT = 5
HOLD_WITHOUT_LEADER_S = 5.0


class Caller(msgspec.Struct, frozen=True, array_like=True):
    """Whose rights apply in the database `scope`: the root's, or those of a claim.

    A claim is proven only where the query is evaluated, by `Language.context`: till then a
    caller with one has no rights, and `role` is "", which nobody takes for a role.
    """

    role: str = "admin"  # of the root secret: admin | server | .. | @role/Name | @doc/Coll/ID
    scope: int = 0
    claim: Claim | None = None
    asked: str = ""  # the scope that a claim's secret came with, as `role`


class Query(msgspec.Struct, frozen=True, array_like=True):
    """One request to `/query/1`, validated by the front."""

    body: bytes  # JSON: {"query": …, "arguments": …}
    format: str = "tagged"  # tagged | simple | decorated
    caller: Caller = Caller()
    timeout_ms: int = 120_000  # from arrival, or what was left when it was forwarded
    last_txn_ts: int = 0
    attempts_max: int = ATTEMPTS_DEFAULT
    typecheck: bool = False
    request: RequestId | None = None
    attempt: int = 1  # above 1: an earlier sending may still be on its way somewhere
    feed: FeedAsked | None = None  # events of a source instead of a program: `body` is empty
    schema: SchemaAsked | None = None  # of the schema's files instead of a program


class NotReadOnly(Exception):
    """At its read point the program writes: the schema it was judged by was not yet the newest."""


Outcome = Answer | FaunaError  # errors of the query itself are answers
Reply = Callable[[Outcome], None]
