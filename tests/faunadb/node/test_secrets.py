"""Keys and tokens on members of a cluster: they open and close everywhere at once."""

import json
from typing import Any

import msgspec
import pytest

from faunadb.codec import Answer
from faunadb.errors import InvalidRequest
from faunadb.fql.credentials import claim_of, key_secret
from faunadb.node.query import Caller
from node_test_helpers import Cluster, Host
from node_test_helpers.cluster import query

WRONG = key_secret(1, b"w" * 20)
LONG = "Set.sequence(0, 20000).fold(0, (a, b) => a + b)"


def as_key(secret: str, text: str, **options: Any) -> Any:
    claim = claim_of(secret)
    assert claim is not None
    caller = Caller("", claim=claim)
    return msgspec.structs.replace(query(text), caller=caller, **options)


def ask(host: Host, asked: Any) -> Any:
    """Return the value, or the status and code of an error."""
    answers = host.submit(asked)
    host.cluster.pump()
    (answer,) = answers
    if not isinstance(answer, Answer):
        return type(answer)
    found = json.loads(answer.data)
    return found if answer.http_status == 200 else (answer.http_status, found["code"])


@pytest.fixture
def three() -> Cluster:
    cluster = Cluster(3)
    leader = cluster.elect()
    leader.data('Collection.create({name: "A"})')
    return cluster


def test_a_key_opens_on_every_member_at_once(three: Cluster) -> None:
    """The next request, reading or writing, wherever it goes; also after its deletion."""
    leader = three.elect()
    secret = leader.data('Key.create({role: "server"}).secret')
    for host in three.hosts:
        assert 1 == ask(host, as_key(secret, "1"))
        assert 2 == ask(host, as_key(secret, "A.create({n: 2}).n"))
        assert (400, "permission_denied") == ask(host, as_key(secret, 'Role.create({name: "r"})'))
    leader.data("Key.all().first()!.delete()")
    for host in three.hosts:
        assert (401, "unauthorized") == ask(host, as_key(secret, "1"))
        assert (401, "unauthorized") == ask(host, as_key(secret, "A.create({n: 2}).n"))


def test_a_member_that_is_behind_asks_before_it_refuses(three: Cluster) -> None:
    """Its own state does not know the key yet; the read point does."""
    leader = three.elect()
    behind = next(host for host in three.hosts if host is not leader)
    behind.log.hangs = True
    secret = leader.data('Key.create({role: "server"}).secret')
    answers = behind.submit(as_key(secret, "A.create({n: 1}).n"))
    three.pump()
    assert [] == answers
    behind.log.hangs = False
    three.pump()
    assert [200] == [answer.http_status for answer in answers if isinstance(answer, Answer)]


def test_a_wrong_secret_is_not_compiled(three: Cluster) -> None:
    """Nor sent to the leader as a write: it takes part in a round of reads."""
    leader = three.elect()
    secret = leader.data('Key.create({role: "server"}).secret')
    for host in three.hosts:
        assert host.member.is_read_only(as_key(WRONG, "A.create({})"))
        assert not host.member.is_read_only(as_key(secret, "A.create({})"))


def test_a_wrong_secret_is_refused_whatever_it_asks(three: Cluster) -> None:
    """Also when the body is no request, or so large that a worker would decode it."""
    for host in three.hosts:
        for text in ("1", "A.create({})", "let x = ", "1 + " * 30_000 + "1"):
            assert (401, "unauthorized") == ask(host, as_key(WRONG, text))
        assert (401, "unauthorized") == ask(host, as_key(WRONG, "1", body=b"{"))


def test_a_right_secret_with_a_wrong_body(three: Cluster) -> None:
    """The refusal of others."""
    leader = three.elect()
    secret = leader.data('Key.create({role: "server"}).secret')
    assert InvalidRequest is ask(leader, as_key(secret, "1", body=b"{"))


def test_a_long_query_has_its_rights_in_the_worker(three: Cluster) -> None:
    """Reading and writing ones are authenticated again where they are evaluated."""
    leader = three.elect()
    secret = leader.data('Key.create({role: "client"}).secret')
    answers = leader.submit(as_key(secret, f"{LONG}\nA.create({{}})"))
    leader.cluster.pump()
    assert [] == answers
    leader.workers.evaluate()()
    leader.cluster.pump()
    (answer,) = answers
    assert isinstance(answer, Answer)
    assert b"permission_denied" in answer.data


def test_the_state_knows_no_secret(three: Cluster) -> None:
    """Neither the documents nor the table of requests, which keeps answers for retries."""
    leader = three.elect()
    secret = leader.data('Key.create({role: "server"}).secret')
    found = leader.data("let a = A.create({id: 1})\nToken.create({document: a}).secret")
    for host in three.hosts:
        with host.kv.read() as reader:
            stored = b"".join(key + value for key, value in reader.scan(b"", None))
        assert secret.encode() not in stored
        assert found.encode() not in stored


def test_a_token_acts_for_its_document(three: Cluster) -> None:
    """With the roles that the document is a member of when the request is evaluated."""
    leader = three.elect()
    leader.data('Collection.create({name: "P"})')
    leader.data(
        'Role.create({name: "in", membership: {resource: "P", predicate: "p => p.in"}, '
        'privileges: {resource: "A", actions: {read: "a => a.owner == Query.identity()"}}})'
    )
    leader.data("let p = P.create({id: 1, in: true})\nA.create({id: 5, owner: p})\nA.create({})")
    secret = leader.data("Token.create({document: P(1)}).secret")
    host = next(host for host in three.hosts if host is not leader)
    assert ["5"] == ask(host, as_key(secret, "A.all().map(a => a.id.toString()).toArray()"))
    assert ["1", True] == ask(
        host, as_key(secret, "[Query.identity().id.toString(), Query.token()!.exists()]")
    )
    leader.data("P(1)!.update({in: false})")
    assert 0 == ask(host, as_key(secret, "A.all().count()"))
    ask(host, as_key(secret, "Query.token()!.delete()"))
    assert (401, "unauthorized") == ask(host, as_key(secret, "1"))


def test_an_expired_key_opens_nothing(three: Cluster) -> None:
    """The time is the cluster's."""
    leader = three.elect()
    secret = leader.data('Key.create({role: "server", ttl: Time.now().add(1, "minute")}).secret')
    assert 1 == ask(leader, as_key(secret, "1"))
    three.tick(6100)
    assert (401, "unauthorized") == ask(leader, as_key(secret, "1"))


def test_what_waits_for_the_disk_is_not_answered_early() -> None:
    """A refusal that rests on a deletion which may yet be lost is held like any answer."""
    one = Cluster(1).elect()
    secret = one.data('Key.create({role: "server"}).secret')
    one.log.hangs = True
    deleted = one.submit(query("Key.all().first()!.delete()"))
    one.cluster.pump()
    write = one.submit(as_key(secret, 'Collection.create({name: "B"})'))
    one.cluster.pump()
    assert [[], []] == [deleted, write]
    one.log.hangs = False
    one.cluster.pump()
    assert [401] == [answer.http_status for answer in write if isinstance(answer, Answer)]


def test_a_leader_that_is_cut_off_believes_no_key(three: Cluster) -> None:
    """The key was deleted at its successor: till it hears of that it answers nothing."""
    old = three.elect()
    secret = old.data('Key.create({role: "server"}).secret')
    three.isolate(old)
    new = three.elect(after=old)
    new.data("Key.all().first()!.delete()")
    read, write = (old.submit(as_key(secret, text)) for text in ("1", "A.create({n: 1}).n"))
    three.tick(50)
    assert [[], []] == [read, write]
    three.heal()
    three.tick(300)
    assert [401, 401] == [a.http_status for a in (*read, *write) if isinstance(a, Answer)]
    assert 0 == new.data("A.all().count()")
