"""Feeds and streams through the official drivers, on every member and across its death."""

import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fauna import fql
from fauna.client import Client, FeedOptions, StreamOptions
from fauna.errors import FaunaError
from fauna.http.httpx_client import HTTPXClient
from fauna.query import EventSource
from fauna.query.models import Module

from process.cluster import HANG_S, SECRET, Cluster, MemberProcess, cluster, wait_until
from process.javascript import run_script

pytestmark = pytest.mark.process
EVERY_MEMBER = pytest.mark.parametrize("number", [1, 2, 3])
PATIENT = StreamOptions(max_attempts=200, max_backoff=1)


class Place:
    """A collection of the test's own, asked through one member."""

    def __init__(self, member: MemberProcess, name: str) -> None:
        self.endpoint = member.place.endpoint
        self.client = Client(endpoint=self.endpoint, secret=SECRET)
        self.items = Module(name)

    def ask(self, text: str, **values: Any) -> Any:
        return self.client.query(fql(text, items=self.items, **values)).data

    def source(self, text: str = "${items}.all().eventSource()") -> EventSource:
        found: EventSource = self.ask(text)
        return found


class Listener:
    """A stream that is read in a thread; `events` are what came.

    It has connections of its own and closes its stream in its own thread: the garbage of one may
    otherwise be collected within a lock of the connections that all clients share, for ever.
    """

    def __init__(
        self, endpoint: str, source: EventSource, options: StreamOptions, secret: str = SECRET
    ) -> None:
        self.events: list[Any] = []
        self.error: Exception | None = None
        own = HTTPXClient(httpx.Client(timeout=httpx.Timeout(None, connect=5.0)))
        client = Client(endpoint=endpoint, secret=secret, http_client=own)
        self._stream = client.stream(source, options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._stream as stream:
                self.events.extend(iter(stream))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error.with_traceback(None)

    def wait_for(self, count: int) -> list[Any]:
        def enough() -> bool:
            assert self.error is None, self.error
            return len(self.events) >= count

        wait_until(enough, f"{count} events, there are {len(self.events)}")
        return self.events


def seen(events: Iterator[Any] | list[Any]) -> list[tuple[str, int]]:
    return [(event["type"], event["data"]["n"]) for event in events]


@pytest.fixture
def place(three: Cluster, request: pytest.FixtureRequest) -> Callable[[int], Place]:
    """Give the test's collection as seen through any member."""
    name = "S" + str(abs(hash(request.node.name)))
    Place(three[1], name).ask("Collection.create({name: ${name}})", name=name)
    return lambda number: Place(three[number], name)


@EVERY_MEMBER
def test_a_feed_gives_every_event_once(place: Callable[[int], Place], number: int) -> None:
    """Page after page, on any member, as soon as the write is acknowledged by another."""
    here, there = place(number), place(number % 3 + 1)
    source = here.source()
    there.ask("Set.sequence(0, 5).forEach(n => ${items}.create({n: n}))")
    there.ask("${items}.where(.n == 2).first()!.update({n: 22})")
    pages = list(here.client.feed(source, FeedOptions(page_size=2)))

    expected = [("add", n) for n in range(5)] + [("update", 22)]
    assert expected == [event for page in pages for event in seen(iter(page))]
    assert [2, 2, 2] == [len(page) for page in pages]
    there.ask("${items}.where(.n == 4).first()!.delete()")
    rest = here.client.feed(source, FeedOptions(cursor=pages[-1].cursor)).flatten()
    assert [("remove", 4)] == seen(rest)


@EVERY_MEMBER
def test_a_stream_tells_what_other_members_write(
    place: Callable[[int], Place], number: int
) -> None:
    """First what happened since the source was made, then what happens."""
    here, there = place(number), place(number % 3 + 1)
    source = here.source("${items}.where(.n < 50).eventSource()")
    there.ask("${items}.create({n: 0}); ${items}.create({n: 100})")
    listener = Listener(here.endpoint, source, StreamOptions())
    listener.wait_for(1)
    there.ask("${items}.where(.n == 0).first()!.update({n: 1})")
    there.ask("${items}.where(.n == 1).first()!.update({n: 70})")
    there.ask("${items}.where(.n == 100).first()!.update({n: 2})")

    expected = [("add", 0), ("update", 1), ("remove", 1), ("add", 2)]
    assert expected == seen(listener.wait_for(4))


@EVERY_MEMBER
def test_javascript(three: Cluster, number: int) -> None:
    """The same over HTTP/2."""
    script = Path(__file__).with_name("streams.cjs")
    endpoint = three[number].place.endpoint
    done = run_script(script, endpoint, f"Streams{number}", timeout_s=2 * HANG_S)

    assert ("feed\nstream\nrefusals\n", 0) == (done.stdout, done.returncode), done.stderr


def test_an_error_of_the_program_ends_the_stream(place: Callable[[int], Place]) -> None:
    """The driver raises it; nobody else notices."""
    here = place(1)
    source = here.source("${items}.all().map(i => 10 / i.n).eventSource()")
    quiet = Listener(here.endpoint, here.source(), StreamOptions())
    broken = Listener(here.endpoint, source, StreamOptions())
    here.ask("${items}.create({n: 5})")
    broken.wait_for(1)
    here.ask("${items}.create({n: 0})")
    wait_until(lambda: broken.error, "the error reaches the driver")

    assert isinstance(broken.error, FaunaError)
    assert "divide_by_zero" == broken.error.code
    assert [("add", 5), ("add", 0)] == seen(quiet.wait_for(2))


def test_a_key_that_is_deleted_ends_its_stream(place: Callable[[int], Place]) -> None:
    """At the next event, on a member that has applied the deletion."""
    here = place(3)
    secret = here.ask('Key.create({role: "server"}).secret')
    listener = Listener(here.endpoint, here.source(), StreamOptions(), secret)
    here.ask("${items}.create({n: 1})")
    listener.wait_for(1)
    here.ask("Key.all().forEach(key => key.delete())")
    here.ask("${items}.create({n: 2})")
    wait_until(lambda: listener.error, "the driver is told")

    assert isinstance(listener.error, FaunaError)
    assert "permission_loss" == listener.error.code
    assert [("add", 1)] == seen(listener.events)


def test_too_many_events_to_replay_are_refused(place: Callable[[int], Place]) -> None:
    """128 are not too many; a feed gives all of them."""
    here = place(2)
    source = here.source()
    here.ask("Set.sequence(0, 128).forEach(n => ${items}.create({n: n}))")
    enough = Listener(here.endpoint, source, StreamOptions())
    assert 128 == len(enough.wait_for(128))
    here.ask("${items}.create({n: 128})")
    many = Listener(here.endpoint, source, StreamOptions())
    wait_until(lambda: many.error, "the driver is told")

    assert isinstance(many.error, FaunaError)
    assert "stream_replay_volume_exceeded" == many.error.code
    assert 129 == len(list(here.client.feed(source).flatten()))


def test_a_member_dies_and_the_stream_goes_on() -> None:
    """The driver comes back with its cursor: nothing is missing, nothing comes twice."""
    with cluster(3) as members:
        victim = members.followers()[0]
        others = [member for member in members.members if member is not victim]
        writer, reader = Place(others[0], "D"), Place(victim, "D")
        writer.ask('Collection.create({name: "D"})')
        listener = Listener(reader.endpoint, reader.source(), PATIENT)
        ends: list[Callable[[], None]] = [victim.kill, partial(stop, victim), victim.kill]
        for number, end in enumerate(ends):
            first = number * ROUND
            thread = threading.Thread(target=write, args=(writer, range(first, first + ROUND)))
            thread.start()
            listener.wait_for(first + ROUND // 4)
            end()
            thread.join(HANG_S)
            victim.start()
            listener.wait_for(first + ROUND)

        assert [("add", n) for n in range(3 * ROUND)] == seen(listener.events)


ROUND = 80  # what is written while a member is away must not be too much to replay


def write(writer: Place, numbers: range) -> None:
    for number in numbers:
        writer.ask("${items}.create({n: ${n}})", n=number)


def stop(member: MemberProcess) -> None:
    member.signal(signal.SIGTERM)
    assert 0 == member.exit_code()
