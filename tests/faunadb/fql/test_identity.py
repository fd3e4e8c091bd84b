"""Which rights a secret has under which scope, and which open nothing."""

from typing import Any

import pytest

from faunadb.definitions import SystemCollection
from faunadb.errors import Unauthorized
from faunadb.fql.compile import STORED
from faunadb.fql.credentials import Claim, claim_of, key_secret, secret_hash, token_secret
from faunadb.fql.identity import authenticate
from faunadb.fql.runtime import Context
from faunadb.values import Ref, Time
from fql_test_helpers.memory_view import MemoryDatabase
from fql_test_helpers.specification import evaluate

RANDOM = b"r" * 20
STEPS = 10_000
PERSON = Ref(1024, 1)


class Committing(MemoryDatabase):
    def commit(self, view: Any) -> None:
        view.commit()


@pytest.fixture(scope="module")
def database() -> MemoryDatabase:
    """Keys 1 admin, 2 server, 3 server-readonly, 4 client, 5 of the role `seller`, 6 of a child,
    7 expired, 8 gone; tokens 1 of a member, 2 of no member, 3 of nobody."""
    database = Committing()
    for text in (
        'Collection.create({ name: "P", alias: "Person" })',
        """Role.create({ name: "seller" })
           Role.create({ name: "person", membership: { resource: "P", predicate: "p => p.in" } })
           Role.create({ name: "alias", membership: [{ resource: "X" }, { resource: "Person" }] })
           P.create({ id: "1", in: true })
           P.create({ id: "2", in: false })""",
    ):
        evaluate(database, text, "admin", bytes)
    roles = {1: "admin", 2: "server", 3: "server-readonly", 4: "client", 5: "seller"}
    fields: dict[int, dict[str, Any]] = {number: {"role": role} for number, role in roles.items()}
    fields[6] = {"role": "admin", "database": "child"}
    fields[7] = {"role": "admin", "ttl": Time.from_micros(database.clock)}
    view: Any = database.view()
    for number, data in fields.items():
        data["secret_hash"] = secret_hash(RANDOM)
        view.put_definition(SystemCollection.KEY, number, data)
    for number in (1, 2, 3):
        data = {"document": Ref(1024, number), "secret_hash": secret_hash(RANDOM)}
        view.put_definition(SystemCollection.TOKEN, number, data)
    view.commit()
    return database


def rights(database: MemoryDatabase, claim: Claim | None, scope: str = "") -> Any:
    """Return (role, roles), or 401."""
    try:
        found = authenticate(database.view(), Context(), STORED, claim, scope, STEPS)
    except Unauthorized:
        return 401
    return found.role, found.roles


def key(number: int) -> Claim:
    claim = claim_of(key_secret(number, RANDOM))
    assert claim is not None
    return claim


def token(number: int, database: int = 0) -> Claim:
    claim = claim_of(token_secret(number, database, RANDOM))
    assert claim is not None
    return claim


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, ("admin", ())),
        (2, ("server", ())),
        (3, ("server-readonly", ())),
        (4, ("client", ())),
        (5, ("", ("seller",))),
        (6, 401),
        (7, 401),
        (8, 401),
        (2**63, 401),
    ],
)
def test_a_key_has_its_role(database: MemoryDatabase, number: int, expected: object) -> None:
    """Keys of child databases, expired and deleted ones open nothing."""
    assert expected == rights(database, key(number))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_another_random_part_opens_nothing(database: MemoryDatabase, number: int) -> None:
    """The id of a key is no secret."""
    assert 401 == rights(database, claim_of(key_secret(number, b"R" * 20)))
    assert 401 == rights(database, Claim("key", number, b""))


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("admin", ("admin", ())),
        ("server", ("server", ())),
        ("server-readonly", ("server-readonly", ())),
        ("client", ("client", ())),
        ("@role/seller", ("", ("seller",))),
        ("@role/nobody", 401),
        ("@role/admin", 401),
        ("@doc/P/1", ("", ("alias", "person"))),
        ("@doc/Person/1", ("", ("alias", "person"))),
        ("@doc/P/2", ("", ("alias",))),
        ("collections/P/2", ("", ("alias",))),
        ("@doc/P/3", 401),
        ("@doc/Q/1", 401),
        ("@doc/P/x", 401),
        ("@doc/Key/1", 401),
        ("seller", ("", ("seller",))),
        ("nobody", 401),
    ],
)
def test_a_scope_of_the_root_and_of_admin_keys(
    database: MemoryDatabase, scope: str, expected: object
) -> None:
    """Any scope that names what there is."""
    assert expected == rights(database, None, scope)
    assert expected == rights(database, key(1), scope)


@pytest.mark.parametrize("number", [2, 3, 4, 5])
@pytest.mark.parametrize("scope", ["admin", "server", "client", "@role/seller", "@doc/P/1"])
def test_other_keys_have_no_scopes(database: MemoryDatabase, number: int, scope: str) -> None:
    """But a server key may act as a document."""
    expected = ("", ("alias", "person")) if number == 2 and scope == "@doc/P/1" else 401
    assert expected == rights(database, key(number), scope)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, ("alias", "person")), (2, ("alias",)), (3, ()), (4, None)],
)
@pytest.mark.parametrize("scope", ["", "admin", "@role/seller"])
def test_a_token_has_the_roles_of_its_document(
    database: MemoryDatabase, number: int, expected: tuple[str, ...] | None, scope: str
) -> None:
    """A scope adds nothing; a document that is gone is no member of anything."""
    assert (401 if expected is None else ("", expected)) == rights(database, token(number), scope)
    assert 401 == rights(database, token(number, database=1), scope)


def test_who_asks_is_in_the_context(database: MemoryDatabase) -> None:
    """`Query.identity()` and `Query.token()`."""
    found = authenticate(database.view(), Context(), STORED, token(1), "", STEPS)
    assert (PERSON, 1) == (found.identity, found.token)
    found = authenticate(database.view(), Context(), STORED, None, "@doc/P/1", STEPS)
    assert (PERSON, None) == (found.identity, found.token)


@pytest.mark.parametrize(
    "text", ["", "secret", "fn" * 20, "é", "x" * 500, key_secret(1, RANDOM)[:-4]]
)
def test_what_is_no_secret_of_ours_claims_nothing(text: str) -> None:
    """So it costs nothing either."""
    assert claim_of(text) is None
