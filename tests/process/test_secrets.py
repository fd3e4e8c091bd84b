"""Keys, roles, logins and scopes through the official driver, on every member of a cluster."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fauna import fql
from fauna.client import Client
from fauna.encoding import QuerySuccess
from fauna.errors import AuthenticationError, QueryRuntimeError
from fauna.query.models import NullDocument

from process.cluster import HANG_S, SECRET, Cluster

pytestmark = pytest.mark.process
PATIENCE = timedelta(seconds=HANG_S)  # passwords are hashed where a busy machine has time last


class Door:
    """The official driver on every member with one secret; `ask` goes round them."""

    def __init__(self, cluster: Cluster, secret: str) -> None:
        places = [member.place for member in cluster.members]
        self.clients = [
            Client(endpoint=place.endpoint, secret=secret, query_timeout=PATIENCE)
            for place in places
        ]
        self._asked = 0

    def ask(self, text: str, **values: Any) -> Any:
        self._asked += 1
        client = self.clients[self._asked % len(self.clients)]
        answer: QuerySuccess = client.query(fql(text, **values))
        return answer.data

    def refused(self, text: str) -> str:
        """Return the code of the error that a query gives."""
        with pytest.raises(QueryRuntimeError) as error:
            self.ask(text)
        return str(error.value.code)

    def is_shut(self) -> bool:
        """Return whether no member lets this secret in (assertion: all agree)."""
        said = []
        for client in self.clients:
            try:
                client.query(fql("1"))
            except AuthenticationError:
                said.append(True)
            else:
                said.append(False)
        assert 1 == len(set(said)), said
        return said[0]


class Doors:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.opened: list[Door] = []
        self.root = self.open(SECRET)

    def open(self, secret: str) -> Door:
        door = Door(self._cluster, secret)
        self.opened.append(door)
        return door


@pytest.fixture(scope="module")
def doors(three: Cluster) -> Iterator[Doors]:
    """A shop: customers who see their own orders, and a login that anybody may call."""
    doors = Doors(three)
    doors.root.ask(
        """Collection.create({ name: "Customer", indexes: {
             byEmail: { terms: [{ field: "email" }] } } })
           Collection.create({ name: "Order" })"""
    )
    doors.root.ask(
        """Role.create({ name: "login", privileges: [
             { resource: "Customer", actions: { read: true } },
             { resource: "Credential", actions: { read: true } },
             { resource: "Token", actions: { create: true } }] })
           Role.create({ name: "visitor", privileges: [
             { resource: "logIn", actions: { call: true } }] })
           Role.create({ name: "customer",
             membership: { resource: "Customer", predicate: "c => !c.blocked" },
             privileges: [{ resource: "Order", actions: {
               read: "o => o.customer == Query.identity()",
               create: "o => o.customer == Query.identity() && o.total <= 100",
               write: "(old, new) => old.customer == Query.identity() && new.total == old.total"
             } }] })"""
    )
    doors.root.ask(
        """Function.create({ name: "logIn", role: "login", body: <<-END
             (email, password) => {
               let customer = Customer.byEmail(email).first()
               Credential.byDocument(customer!)!.login(password).secret
             }
           END
           })"""
    )
    doors.root.ask(
        """[["1", "ada"], ["2", "bob"]].forEach(each => {
             let c = Customer.create({ id: each[0], email: each[1], blocked: false })
             Order.create({ customer: c, total: 10 })
             Credential.create({ document: c, password: "pw of " + each[1] })
           })"""
    )
    yield doors
    for door in doors.opened:
        for client in door.clients:
            client.close()


def test_a_key_opens_and_shuts_on_all_members_at_once(doors: Doors) -> None:
    """From the answer to its creation until the answer to its deletion, thirty times."""
    for _ in range(30):
        made = doors.root.ask('Key.create({ role: "server" })')
        door = doors.open(made["secret"])
        assert not door.is_shut()
        doors.root.ask("Key.byId(${id})!.delete()", id=made.id)
        assert door.is_shut()


@pytest.mark.parametrize(
    ("role", "reads", "writes", "defines", "makes_keys"),
    [
        ("admin", True, True, True, True),
        ("server", True, True, True, False),
        ("server-readonly", True, False, False, False),
        ("client", False, False, False, False),
    ],
)
def test_built_in_roles(
    doors: Doors, role: str, *, reads: bool, writes: bool, defines: bool, makes_keys: bool
) -> None:
    """Each through its key, and as a scope of the root secret."""
    secret = doors.root.ask("Key.create({ role: ${role} }).secret", role=role)
    for door in (doors.open(secret), doors.open(f"{SECRET}:{role}")):
        assert reads == (door.ask("Order.all().count()") > 0)
        for allowed, text in (
            (writes, 'Order.create({ total: 1 })!.delete()\n"done"'),
            (defines, 'Collection.create({ name: "New" })!.delete()\n"done"'),
            (makes_keys, 'Key.create({ role: "client" })!.delete()\n"done"'),
        ):
            if allowed:
                assert "done" == door.ask(text)
            else:
                assert "permission_denied" == door.refused(text)


def test_a_login_gives_a_token_with_the_rights_of_its_document(doors: Doors) -> None:
    """Own orders only; logging out is deleting the token."""
    visitor = doors.open(doors.root.ask('Key.create({ role: "visitor" }).secret'))
    assert "invalid_secret" == visitor.refused('logIn("ada", "pw of bob")')
    assert isinstance(visitor.ask('Customer.byId("1")'), NullDocument)
    ada = doors.open(visitor.ask('logIn("ada", "pw of ada")'))
    for _ in range(3):
        assert ["1"] == ada.ask("Order.all().map(o => o.customer.id.toString()).toArray()")
        assert "1" == ada.ask("Query.identity().id")
    assert 20 == ada.ask("Order.create({ customer: Query.identity(), total: 20 }).total")
    dear = "Order.create({ customer: Query.identity(), total: 200 })"
    assert "permission_denied" == ada.refused(dear)
    assert "permission_denied" == ada.refused("Order.all().first()!.update({ total: 1 })")
    assert "yes" == ada.ask('Order.all().first()!.update({ paid: "yes" }).paid')
    assert "permission_denied" == ada.refused("Order.all().first()!.delete()")
    ada.ask("Query.token()!.delete()")
    assert ada.is_shut()


def test_a_role_follows_its_document(doors: Doors) -> None:
    """Who is blocked sees nothing from the next request on."""
    bob = doors.open(doors.root.ask('Token.create({ document: Customer("2") }).secret'))
    for blocked, seen in ((False, 1), (True, 0), (False, 1)):
        doors.root.ask('Customer("2")!.update({ blocked: ${blocked} })', blocked=blocked)
        for _ in range(3):
            assert seen == bob.ask("Order.all().count()")


@pytest.mark.parametrize(
    ("scope", "opens"),
    [
        ("server", True),
        ("@role/customer", True),
        ("@doc/Customer/1", True),
        ("@role/nobody", False),
        ("@doc/Customer/9", False),
        ("@doc/Nothing/1", False),
        ("sever", False),
        ("child:admin", False),
    ],
)
def test_scopes(doors: Doors, scope: str, *, opens: bool) -> None:
    """Of the root secret and of an admin key; what does not exist opens nothing."""
    admin = doors.root.ask('Key.create({ role: "admin" }).secret')
    for secret in (SECRET, admin):
        assert opens != doors.open(f"{secret}:{scope}").is_shut()
    server = doors.root.ask('Key.create({ role: "server" }).secret')
    assert (scope == "@doc/Customer/1") != doors.open(f"{server}:{scope}").is_shut()
