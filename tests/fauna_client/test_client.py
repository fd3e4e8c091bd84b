"""`Client` over real sockets: connecting, failing over, applying once, closing."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fake_member_test_helpers import FakeMember, error, members, ok
from fauna_client import (
    Client,
    Contended,
    DeadlineExceeded,
    OutcomeUnknown,
    QueryError,
    Result,
    ServerError,
    Unauthorized,
    Unavailable,
    fql,
)

HANG_S = 20.0


@pytest.fixture
def three() -> Iterator[list[FakeMember]]:
    with members(3) as started:
        yield started


@pytest.fixture
def one() -> Iterator[FakeMember]:
    with members(1) as started:
        yield started[0]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def asked(started: list[FakeMember]) -> list[str]:
    return [request for member in started for request in member.ids()]


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_query_returns_its_value(one: FakeMember) -> None:
    """What the member sent tagged comes back as Python has it."""
    one.data = {"name": "Ada", "visits": {"@int": "3"}}

    with Client(one.url) as client:
        assert {"name": "Ada", "visits": 3} == client.query("Users.all().first()")


def test_arguments_go_as_values(one: FakeMember) -> None:
    """Named ones and a dictionary, tagged, beside the text."""
    with Client(one.url) as client:
        client.query("a + b", {"a": 1}, b=2.0)

    assert {
        "query": "a + b",
        "arguments": {"a": {"@int": "1"}, "b": {"@double": "2.0"}},
    } == one.asked[0][1]


def test_a_template_goes_as_its_pieces(one: FakeMember) -> None:
    """Text stays text and values stay values."""
    with Client(one.url) as client:
        client.query(fql("Users.byId(${id})", id="7"))

    assert {"fql": ["Users.byId(", {"value": "7"}, ")"]} == one.asked[0][1]["query"]


def test_what_the_environment_says_is_used(
    one: FakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Client()` takes $FAUNA_ENDPOINT and $FAUNA_SECRET."""
    monkeypatch.setenv("FAUNA_ENDPOINT", one.url)
    monkeypatch.setenv("FAUNA_SECRET", "secret")

    with Client() as client:
        assert client.is_connected


def test_nobody_there_is_a_connection_error() -> None:
    """It is raised within `connect_timeout`, give or take the machine."""
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="not connected"):
        Client(f"http://127.0.0.1:{unused_port()}", connect_timeout=0.2)

    assert time.monotonic() - began < HANG_S


def test_a_member_that_says_nothing_is_a_connection_error(one: FakeMember) -> None:
    """A port that accepts and is silent does not hold the constructor."""
    one.hang.set()

    with pytest.raises(Unavailable):
        Client(one.url, connect_timeout=0.2)


def test_a_wrong_secret_is_told_at_once(one: FakeMember) -> None:
    """`Unauthorized` is a ConnectionError; nobody waits for a secret to become right."""
    with pytest.raises(Unauthorized) as refused:
        Client(one.url, secret="wrong", connect_timeout=HANG_S)

    assert isinstance(refused.value, ConnectionError)


def test_the_second_endpoint_serves_when_the_first_does_not(one: FakeMember) -> None:
    """Any given endpoint that answers is enough."""
    with Client([f"http://127.0.0.1:{unused_port()}", one.url]) as client:
        assert client.query("1") is None


def test_the_connect_timeout_can_be_changed(one: FakeMember) -> None:
    """It is an attribute; only a number of seconds is accepted."""
    with Client(one.url) as client:
        client.connect_timeout = 0.5

        assert 0.5 == client.connect_timeout
        with pytest.raises(ValueError, match="seconds above 0"):
            client.connect_timeout = 0


@pytest.mark.parametrize("endpoint", ["localhost", "ftp://x", "", [], "http://"])
def test_what_is_no_endpoint_is_refused(endpoint: str | list[str]) -> None:
    """A ValueError says so before anything is sent."""
    if endpoint == "":
        endpoint = " "
    with pytest.raises(ValueError, match="endpoint"):
        Client(endpoint)


def test_the_nodes_are_counted(three: list[FakeMember]) -> None:
    """Voters and learners, as the cluster says now."""
    three[2].role = "learner"
    with Client(three[0].url) as client:
        before = client.get_node_count()
        for member in three:
            member.known = three[:2]
        after = client.get_node_count()

    assert (3, 2) == (before, after)


def test_a_count_that_nobody_gives_is_an_error(one: FakeMember) -> None:
    """An old number is not passed off as the present one."""
    with Client(one.url, connect_timeout=1) as client:
        one.down()
        with pytest.raises(ConnectionError):
            client.get_node_count()


def test_members_are_found_and_used_when_the_given_one_dies(three: list[FakeMember]) -> None:
    """One endpoint was given; another member answers after it died."""
    with Client(three[0].url, query_timeout=HANG_S) as client:
        until(lambda: all(member.surveys for member in three))
        three[0].down()

        assert [None] * 20 == [client.query("1") for _ in range(20)]
        assert client.is_connected


def test_a_request_id_is_kept_over_all_attempts(three: list[FakeMember]) -> None:
    """Each attempt may be applied; under one id they are applied once."""
    for member in three:
        member.script = [error(503, "time_out"), None, error(429, "limit_exceeded")]
        member.data = {"@int": "1"}

    with Client(endpoints=[member.url for member in three], query_timeout=HANG_S) as client:
        result = client.run("1")

    assert (1, len(asked(three))) == (result.value, result.attempts)
    assert result.attempts > 3
    assert 1 == len(set(asked(three)))


def test_two_queries_have_two_request_ids(one: FakeMember) -> None:
    """And they are born when the wall clock says."""
    began_us = time.time_ns() // 1000
    with Client(one.url) as client:
        client.query("1")
        client.query("1")

    ids = one.ids()
    assert 2 == len(set(ids))
    assert all(int(request.partition("-")[0]) >= began_us for request in ids)
    assert all(32 == len(request.partition("-")[2]) for request in ids)


def test_a_silent_member_is_left_for_another(three: list[FakeMember]) -> None:
    """A frozen member costs about a second, not the whole timeout."""
    urls = [member.url for member in three]
    with Client(endpoints=urls, query_timeout=HANG_S) as client:
        client.query("1")
        before = [len(member.asked) for member in three]
        for member in three:
            member.hang.set()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(client.run, "2")
            while before == [len(member.asked) for member in three] and not running.done():
                time.sleep(0.01)
            for member, count in zip(three, before, strict=True):
                if len(member.asked) == count:
                    member.hang.clear()
            result = running.result(HANG_S)

    assert 2 == result.attempts
    assert not result.certain  # the frozen member may still do what it was asked


def test_a_write_that_was_applied_at_the_second_attempt_is_certain(
    three: list[FakeMember],
) -> None:
    """Its request id is in the log; the first attempt can do nothing more."""
    for member in three:
        member.script = [error(503, "time_out"), ok(None, write_ops=1)]

    with Client(endpoints=[member.url for member in three], query_timeout=HANG_S) as client:
        result = client.run("A.create({})")

    assert result.attempts > 1
    assert result.certain


def test_contention_is_tried_again(one: FakeMember) -> None:
    """409 says that nothing was applied."""
    one.script = [error(409, "contended_transaction")] * 2

    with Client(one.url, query_timeout=HANG_S) as client:
        result: Result = client.run("1")

    assert (3, True) == (result.attempts, result.certain)


def test_contention_without_end_is_raised(one: FakeMember) -> None:
    """When the timeout is over, the caller learns that nothing was applied."""
    one.script = [error(409, "contended_transaction")] * 1000

    with Client(one.url, query_timeout=0.1) as client, pytest.raises(Contended) as raised:
        client.query("1")

    assert raised.value.certain


def test_a_deadline_is_not_tried_again(one: FakeMember) -> None:
    """440 says that nothing was applied and that it was too late."""
    one.script = [error(440, "time_out")]

    with Client(one.url) as client, pytest.raises(DeadlineExceeded) as raised:
        client.query("1")

    assert (1, True) == (len(one.asked), raised.value.certain)


def test_late_after_an_unknown_attempt_is_unknown(one: FakeMember) -> None:
    """440 speaks of its own attempt only."""
    one.script = [error(503, "time_out"), error(440, "time_out")]

    with Client(one.url, query_timeout=HANG_S) as client, pytest.raises(OutcomeUnknown):
        client.query("1")


def test_an_error_of_the_query_carries_everything(one: FakeMember) -> None:
    """Code, message, summary, constraint failures and the value of abort."""
    failure = {"paths": [["email"]], "message": "Failed unique constraint."}
    one.script = [
        error(400, "constraint_failure", "Failed.", constraint_failures=[failure]),
        error(400, "abort", "Query aborted.", abort={"left": {"@int": "0"}}),
    ]

    with Client(one.url) as client:
        with pytest.raises(QueryError) as failed:
            client.query("1")
        with pytest.raises(QueryError) as aborted:
            client.query("1")

    assert ("constraint_failure", "Failed.", 400, "drawn", (failure,)) == (
        failed.value.code,
        failed.value.message,
        failed.value.status,
        failed.value.summary,
        failed.value.constraint_failures,
    )
    assert ("abort", {"left": 0}, True) == (
        aborted.value.code,
        aborted.value.abort,
        aborted.value.certain,
    )


def test_a_broken_member_is_not_believed(one: FakeMember) -> None:
    """After a 500 nobody knows whether the write happened."""
    one.script = [error(500, "internal_error")]

    with Client(one.url) as client, pytest.raises(ServerError) as raised:
        client.query("1")

    assert not raised.value.certain


def test_an_error_after_a_lost_attempt_is_not_certain(one: FakeMember) -> None:
    """The lost attempt may be applied after this answer."""
    one.script = [None, error(400, "abort", abort=None)]

    with Client(one.url, query_timeout=HANG_S) as client, pytest.raises(QueryError) as raised:
        client.query("1")

    assert not raised.value.certain


def test_a_query_that_nobody_took_is_unavailable(one: FakeMember) -> None:
    """Nothing was sent, so nothing was applied."""
    with Client(one.url, query_timeout=0.3) as client:
        one.down()
        with pytest.raises(Unavailable):
            client.query("1")

        assert not client.is_connected


def test_a_query_that_was_taken_and_not_answered_is_unknown(one: FakeMember) -> None:
    """The connection broke after it was sent, every time."""
    one.script = [None] * 1000

    with Client(one.url, query_timeout=0.3) as client, pytest.raises(OutcomeUnknown):
        client.query("1")


def test_a_client_connects_again(one: FakeMember) -> None:
    """`is_connected` tells the way down and the way up."""
    with Client(one.url, query_timeout=0.3) as client:
        one.down()
        with pytest.raises((Unavailable, OutcomeUnknown)):
            client.query("1")
        one.up()
        until(lambda: client.is_connected)
        client.query_timeout = HANG_S

        assert client.query("1") is None


def test_the_last_time_is_carried(one: FakeMember) -> None:
    """Each query asks to see what the one before it saw."""
    one.script = [ok(None, txn_ts=7), ok(None, txn_ts=5), ok(None, txn_ts=6)]
    with Client(one.url) as client:
        for _ in range(3):
            client.query("1")

        assert 7 == client.last_txn_ts
    assert [None, "7", "7"] == [headers.get("x-last-txn-ts") for headers, _ in one.asked]


def test_a_member_of_another_cluster_is_not_used(three: list[FakeMember]) -> None:
    """A name may mean somebody else from where the client is."""
    for stranger in three[1:]:
        stranger.cluster_id = "cd" * 16
    with Client(three[0].url, query_timeout=HANG_S) as client:
        until(lambda: all(member.surveys for member in three))
        for _ in range(20):
            client.query("1")

    assert [20, 0, 0] == [len(member.asked) for member in three]


def test_a_member_without_a_leader_is_asked_last(three: list[FakeMember]) -> None:
    """It answers surveys and would let queries wait."""
    three[0].leader = None
    with Client(endpoints=[three[0].url, three[1].url], query_timeout=HANG_S) as client:
        until(lambda: all(member.surveys for member in three))
        for member in three:
            member.asked.clear()
        for _ in range(20):
            client.query("1")

    assert [] == three[0].asked


def test_threads_share_a_client(one: FakeMember) -> None:
    """Sixteen threads, four connections, every query once."""

    def ask(number: int) -> int:
        answered: int = client.run("n", n=number).attempts
        return answered

    with (
        Client(one.url, connections=4, query_timeout=HANG_S) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        assert [1] * 400 == list(pool.map(ask, range(400)))

    assert list(range(400)) == sorted(int(body["arguments"]["n"]["@int"]) for _, body in one.asked)
    assert one.peak <= 4


def test_clients_are_closed_independently(one: FakeMember) -> None:
    """Four open, and each closes its own connections only."""
    one.data = {"@int": "1"}
    clients = [Client(one.url) for _ in range(4)]
    for number, client in enumerate(clients):
        client.close()
        still = clients[number + 1 :]
        assert [1] * len(still) == [other.query("1") for other in still]
        assert [False] * (number + 1) == [other.is_connected for other in clients[: number + 1]]

    until(lambda: not one.sockets)


def test_a_closed_client_does_nothing(one: FakeMember) -> None:
    """Closing twice is closing once; queries raise SystemError."""
    client = Client(one.url)
    client.close()
    client.close()

    assert (False, 0) == (client.is_connected, client.get_node_count())
    with pytest.raises(SystemError, match=r"^fauna_client is closed$"):
        client.query("1")


def test_a_query_under_way_is_finished_when_the_client_closes(one: FakeMember) -> None:
    """`close` takes nothing away from who was first."""
    waiting, go = threading.Event(), threading.Event()

    def slow() -> tuple[int, dict[str, object]]:
        waiting.set()
        go.wait(HANG_S)
        return ok({"@int": "5"})

    one.script = [slow]
    client = Client(one.url, query_timeout=HANG_S)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.query, "1")
        assert waiting.wait(HANG_S)
        client.close()
        go.set()

        assert 5 == answer.result(HANG_S)
    until(lambda: not one.sockets)


def test_a_forgotten_client_closes_itself(one: FakeMember) -> None:
    """The thread that looks for members keeps nobody alive."""
    client = Client(one.url)
    client.query("1")
    del client
    gc.collect()

    until(lambda: not one.sockets)


def test_pages_are_read_to_the_end(one: FakeMember) -> None:
    """The first page is a set; the later ones come as plain objects."""
    one.script = [
        ok({"@set": {"data": [{"@int": "1"}], "after": "c1"}}),
        ok({"data": [{"@int": "2"}], "after": "c2"}),
        ok({"data": [{"@int": "3"}]}),
    ]

    with Client(one.url) as client:
        assert [[1], [2], [3]] == [list(page) for page in client.pages("A.all()")]
    assert ["c1", "c2"] == [body["arguments"]["after"] for _, body in one.asked[1:]]


def test_only_sets_have_pages(one: FakeMember) -> None:
    """Anything else is a TypeError."""
    with Client(one.url) as client, pytest.raises(TypeError, match="no set"):
        list(client.pages("1"))
