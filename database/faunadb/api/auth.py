"""Whose request is this: secrets in the Authorization header, and what they claim.

    secret [":" [path ":"] role]
    role := admin | server | server-readonly | client | @role/Name | @doc/Coll/ID

The root secret is compared here, in constant time. Of every other one only the claim goes on
(which key, and the digest of its random part); it is proven in the snapshot that the query is
evaluated at, so that a caller is to be believed only once a query of his was answered
(`prove` for requests that are none). Child databases are not built: a path opens nothing.

Trap: a secret of Fauna may not hold a colon, so the first one always begins the scope. What
follows it and is no scope opens nothing, unlike in the original: a misspelt role must not give
the rights of the whole key.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus

from faunadb.api.ports import Database, Secret
from faunadb.codec import Answer
from faunadb.errors import Unauthorized
from faunadb.fql.credentials import claim_of
from faunadb.fql.rights import BUILT_IN_ROLES
from faunadb.node.query import Caller, Outcome, Query

_PATH = re.compile(r"[A-Za-z0-9_/-]+", re.ASCII)
_SECRET_CHARACTERS_MAX = 4096


class Authenticator:
    """Turns an Authorization header into a caller."""

    def __init__(self, root_secret: str) -> None:
        assert root_secret, "an empty root secret would open to everybody"
        self._root = root_secret.encode()

    def caller(self, authorization: str | None) -> Caller:
        """Return who asks, for the language to prove; raises `Unauthorized`."""
        secret = parse_secret(authorization)
        if secret is None or secret.database:
            raise Unauthorized("Access token required")
        if hmac.compare_digest(secret.key.encode(), self._root):
            return Caller(role=secret.role or "admin")
        claim = claim_of(secret.key)
        if claim is None:
            raise Unauthorized("Access token required")
        return Caller(role="", claim=claim, asked=secret.role or "")


def prove(database: Database, caller: Caller, done: Callable[[Outcome | None], None]) -> None:
    """Find out whether a caller is to be believed: `done(None)`, else with what to answer.

    For requests that are no query themselves. The root is known at once; a claim is proven by a
    query that reads nothing, at a point in time like that of others. What comes is for
    `bodies.query_response`.
    """
    if caller.claim is None and caller.role in BUILT_IN_ROLES:
        done(None)
        return

    def answered(outcome: Outcome) -> None:
        good = isinstance(outcome, Answer) and outcome.http_status == HTTPStatus.OK
        done(None if good else outcome)

    database.submit(Query(b'{"query":"null"}', caller=caller), answered)


@lru_cache(256)
def parse_secret(authorization: str | None) -> Secret | None:
    """Read `Bearer <secret>` or Basic with the secret as user; None when there is none."""
    scheme, _, credentials = (authorization or "").partition(" ")
    credentials = credentials.strip()
    if len(credentials) > _SECRET_CHARACTERS_MAX:
        return None
    if scheme.lower() == "bearer":
        return _scoped(credentials)
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        return _scoped(decoded.removesuffix(":"))
    return None


def _scoped(text: str) -> Secret | None:
    key, *scope = text.split(":")
    if not key or len(scope) > 2:
        return None
    role = scope.pop() if scope else None
    if role is not None and not _is_role(role):
        return None
    if not scope:
        return Secret(key, (), role)
    if not _PATH.fullmatch(scope[0]):
        return None
    return Secret(key, tuple(scope[0].split("/")), role)


def _is_role(text: str) -> bool:
    if text in BUILT_IN_ROLES:
        return True
    kind, *parts = text.split("/")
    needed = {"@role": 1, "@doc": 2, "collections": 2}.get(kind)
    return needed == len(parts) and all(parts)
