"""Whose request is this: secrets in the Authorization header, and what they open.

    secret [":" [path ":"] role]
    role := admin | server | server-readonly | client | @role/Name | @doc/Coll/ID

The root secret is compared here, in constant time; every other one is looked up by the node.

Trap: a secret of Fauna may not hold a colon, so the first one always begins the scope.
"""

import base64
import binascii
import hmac
import re
from functools import lru_cache

from faunadb.api.ports import Authenticate, Secret
from faunadb.errors import Unauthorized
from faunadb.node.query import Caller

BUILT_IN_ROLES = frozenset({"admin", "server", "server-readonly", "client"})
_PATH = re.compile(r"[A-Za-z0-9_/-]+", re.ASCII)
_SECRET_CHARACTERS_MAX = 4096


class Authenticator:
    """Turns an Authorization header into a caller.

    `lookup` opens secrets other than the root's; None is a member that knows no others.
    """

    def __init__(self, root_secret: str, lookup: Authenticate | None = None) -> None:
        assert root_secret, "an empty root secret would open to everybody"
        self._root = root_secret.encode()
        self._lookup = lookup

    def caller(self, authorization: str | None) -> Caller:
        """Return who asks; raises `Unauthorized`."""
        secret = parse_secret(authorization)
        if secret is None:
            raise Unauthorized("Access token required")
        if hmac.compare_digest(secret.key.encode(), self._root):
            return self._root_caller(secret)
        caller = self._lookup(secret) if self._lookup is not None else None
        if caller is None:
            raise Unauthorized("Access token required")
        return caller

    def _root_caller(self, secret: Secret) -> Caller:
        """The root may act as any role of its own database; other databases are looked up."""
        if secret.database:
            caller = self._lookup(secret) if self._lookup is not None else None
            if caller is None:
                raise Unauthorized("Access token required")
            return caller
        return Caller(role=secret.role or "admin")


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
