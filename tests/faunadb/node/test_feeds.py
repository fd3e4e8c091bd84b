"""Pages of events, from a token that a query made to the JSON of `/feed/1`."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from faunadb.codec import Answer
from faunadb.errors import InvalidRequest
from faunadb.fql.positions import decode_position as place
from faunadb.node.asked import FeedAsked, Opened
from faunadb.node.query import Caller, Outcome, Query
from faunadb.store.changes import Change, Stretch
from node_test_helpers.cluster import Cluster, Host

ROOT = Caller()
INDEXES = (
    "{byKind: {terms: [{field: 'kind'}], values: [{field: 'n'}]},"
    " tagged: {terms: [{field: 'tags', mva: true}]}}"
)


@pytest.fixture
def host() -> Host:
    """The leader of one, with a collection."""
    leader = Cluster().elect()
    leader.data(f"Collection.create({{name: 'C', indexes: {INDEXES}}})")
    leader.data("C.create({id: '1', kind: 'a', n: 1, tags: ['x', 'y']})")
    return leader


def token(host: Host, source: str) -> str:
    found: str = host.data(source)
    return found


def ask(host: Host, asked: FeedAsked, caller: Caller = ROOT) -> Outcome:
    answers = host.submit(Query(b"", feed=asked, caller=caller))
    host.cluster.pump()
    (answer,) = answers
    return answer


def page(host: Host, source: str, **asked: Any) -> dict[str, Any]:
    answer = ask(host, FeedAsked(source, **{"page_size": 16, **asked}))
    assert isinstance(answer, Answer), answer
    found: dict[str, Any] = json.loads(answer.data)
    return found


def events(host: Host, source: str, **asked: Any) -> list[tuple[str, Any]]:
    """Return what happened in short: the kind, and of a document its id and `n`."""
    return [(e["type"], short(e["data"])) for e in page(host, source, **asked)["events"]]


def short(data: Any) -> Any:
    if isinstance(data, dict) and "@doc" in data:
        fields = data["@doc"]
        return fields["id"], int(fields["n"]["@int"])
    return int(data["@int"]) if isinstance(data, dict) else data


STORIES = [
    ("C.all()", "C.create({id: '2', n: 5})", [("add", ("2", 5))]),
    ("C.all()", "C.byId('1')!.update({n: 2})", [("update", ("1", 2))]),
    ("C.all()", "C.byId('1')!.delete()", [("remove", ("1", 1))]),
    ("C.all()", "C.byId('1')!.update({n: 2}); C.byId('1')!.update({n: 3})", [("update", ("1", 3))]),
    ("C.all()", "C.create({id: '2', n: 5}); C.byId('2')!.delete()", []),
    ("C.all()", "C.byId('1')!.delete(); C.create({id: '1', n: 9})", [("update", ("1", 9))]),
    (
        "C.all()",
        "C.create({id: '3', n: 3}); C.create({id: '2', n: 2})",
        [("add", ("2", 2)), ("add", ("3", 3))],
    ),
    ("C.where(.n > 1)", "C.byId('1')!.update({n: 2})", [("add", ("1", 2))]),
    ("C.where(.n < 2)", "C.byId('1')!.update({n: 2})", [("remove", ("1", 1))]),
    ("C.where(.n > 1)", "C.byId('1')!.update({n: 0})", []),
    ("C.all().map(.n + 10)", "C.byId('1')!.update({n: 2})", [("update", 12)]),
    ("C.all().map(.n + 10)", "C.byId('1')!.delete()", [("remove", 11)]),
    (
        "C.all().map(.n).where(x => x > 1).map(x => -x)",
        "C.byId('1')!.update({n: 2})",
        [("add", -2)],
    ),
    ("C.byKind('a')", "C.byId('1')!.update({n: 2})", [("update", ("1", 2))]),
    ("C.byKind('a')", "C.byId('1')!.update({kind: 'b'})", [("remove", ("1", 1))]),
    ("C.byKind('b')", "C.byId('1')!.update({kind: 'b'})", [("add", ("1", 1))]),
    ("C.byKind('a')", "C.byId('1')!.update({other: 1})", []),
    ("C.byKind('b')", "C.byId('1')!.update({n: 2})", []),
    ("C.tagged('x')", "C.byId('1')!.update({tags: ['x']})", []),
    ("C.tagged('y')", "C.byId('1')!.update({tags: ['x']})", [("remove", ("1", 1))]),
    (
        "C.byKind('a')",
        "C.create({id: '2', kind: 'a', n: 7}); C.create({id: '3', kind: 'a', n: 4})",
        [("add", ("3", 4)), ("add", ("2", 7))],
    ),
    ("Set.single(C.byId('1'))", "C.byId('1')!.update({other: 1})", [("update", ("1", 1))]),
    ("Set.single(C.byId('1'))", "C.create({id: '2', n: 5})", []),
    ("Set.single(C.byId('1'))", "C.byId('1')!.delete()", [("remove", ("1", 1))]),
]


@pytest.mark.parametrize(("source", "program", "expected"), STORIES)
def test_one_event_a_document_and_transaction(
    host: Host, source: str, program: str, expected: list[Any]
) -> None:
    """Before and after are compared; what was in between is not seen."""
    found = token(host, f"{source}.eventSource()")
    host.data(program + "; null" if "delete()" in program else program)

    assert expected == events(host, found)


WATCHED = [
    ("C.all()", "(.n)", "C.byId('1')!.update({n: 2})", ["update"]),
    ("C.all()", "(.n)", "C.byId('1')!.update({kind: 'b'})", []),
    ("C.all()", "(.n, .kind)", "C.byId('1')!.update({kind: 'b'})", ["update"]),
    ("C.all()", "(.other)", "C.create({id: '2', n: 1})", []),
    ("C.all()", "(.other, .n)", "C.create({id: '2', n: 1})", ["add"]),
    ("C.all()", "(.n, .other)", "C.byId('1')!.delete(); null", []),
    ("C.all()", "(.n, .kind)", "C.byId('1')!.delete(); null", ["remove"]),
    ("C.all()", "(.tags[0])", "C.byId('1')!.update({tags: ['x', 'z']})", []),
    ("C.all()", "(.tags[1])", "C.byId('1')!.update({tags: ['x', 'z']})", ["update"]),
    ("C.all()", "(.ts)", "C.byId('1')!.update({other: 1})", ["update"]),
    ("C.byKind('a')", "(.n)", "C.byId('1')!.update({n: 3})", ["update"]),
]


@pytest.mark.parametrize(("source", "fields", "program", "expected"), WATCHED)
def test_watched_fields_decide_which_events_pass(
    host: Host, source: str, fields: str, program: str, expected: list[str]
) -> None:
    """One is there (add), one differs (update), all were there (remove)."""
    found = token(host, f"{source}.eventsOn{fields}")
    host.data(program)

    assert expected == [event["type"] for event in page(host, found)["events"]]


def test_a_source_can_be_filtered_and_shaped(host: Host) -> None:
    """`where` and `map` of an event source are those of a set."""
    found = token(host, "C.all().eventsOn(.n).where(.n > 1).map(.n)")
    host.data("C.byId('1')!.update({n: 4})")

    assert [("add", 4)] == events(host, found)


def test_the_query_that_made_the_source_is_not_among_its_events(host: Host) -> None:
    """Its writes came with its answer; the token begins behind its time."""
    found = token(host, "C.create({id: '2', n: 1}); C.all().eventSource()")
    assert [] == events(host, found)
    host.data("C.create({id: '3', n: 3})")

    assert [("add", ("3", 3))] == events(host, found)


def test_pages_follow_each_other_through_one_transaction(host: Host) -> None:
    """Nothing is missed and nothing comes twice, wherever a page ends."""
    found = token(host, "C.all().eventSource()")
    host.data("Set.sequence(10, 20).forEach(i => C.create({id: i, n: i}))")
    host.data("C.byId('15')!.update({n: 0})")
    for size in (1, 2, 3, 11, 16):
        seen: list[Any] = []
        asked = FeedAsked(found, size)
        while True:
            answer = ask(host, asked)
            assert isinstance(answer, Answer)
            got = json.loads(answer.data)
            seen += [(e["type"], short(e["data"])) for e in got["events"]]
            if not got["has_next"]:
                break
            asked = FeedAsked(found, size, place(got["cursor"]))
        assert [("add", (str(i), i)) for i in range(10, 20)] + [("update", ("15", 0))] == seen
    assert [] == events(host, found, start=place(got["cursor"]))


def test_a_page_without_events_moves_on(host: Host) -> None:
    """The cursor of an empty page is the time of its snapshot."""
    found = token(host, "C.all().eventSource()")
    first = page(host, found)
    host.data("1")
    second = page(host, found, start=place(first["cursor"]))

    assert ([], False) == (second["events"], second["has_next"])
    assert place(first["cursor"]) < place(second["cursor"])


def test_an_error_ends_the_page_before_its_event(host: Host) -> None:
    """What came before is delivered; the cursor asks for the same event again."""
    found = token(host, "C.all().map(d => if (d.n == 3) abort(d.n) else d.n).eventSource()")
    for n in (2, 3, 4):
        host.data(f"C.byId('1')!.update({{n: {n}}})")
    got = page(host, found)

    assert ["update", "error"] == [event["type"] for event in got["events"]]
    assert {"code": "abort", "message": "Query aborted.", "abort": {"@int": "3"}} == (
        got["events"][1]["error"]
    )
    assert place(got["cursor"]) == place(got["events"][0]["cursor"])


def test_an_index_that_is_filled_makes_no_event(host: Host) -> None:
    """Its entries are new, the documents are not."""
    found = token(host, "C.byKind('a').eventSource()")
    before = page(host, found)
    host.data("C.definition.update({indexes: {more: {terms: [{field: 'kind'}]}}})")
    host.cluster.tick(100)
    more = token(host, "C.more('a').eventSource()")

    assert [] == events(host, more, start=place(before["cursor"]))


OLD = ".1900-01-01T00:00:00Z"
REFUSED = [
    (OLD, {}, "Invalid request body: invalid event source provided."),
    (".x", {}, "Invalid request body: invalid event source provided."),
    ("x", {}, "Invalid request body: invalid event source provided."),
    ("x", {"stream": True}, "Invalid request body: invalid event source provided"),
]


@pytest.mark.parametrize(("source", "more", "message"), REFUSED)
def test_what_is_no_token_is_refused(
    host: Host, source: str, more: dict[str, Any], message: str
) -> None:
    """With the words of Fauna v10."""
    good = token(host, "C.create({id: '2', n: 1}); C.all().eventSource()").partition(".")[0]
    made = good + source if source[:1] == "." else source
    answer = ask(host, FeedAsked(made, 16, **more))

    assert isinstance(answer, InvalidRequest)
    assert message == str(answer)


def test_a_stream_cannot_begin_before_its_source(host: Host) -> None:
    """A feed can."""
    began = page(host, token(host, "C.all().eventSource()"))
    found = token(host, "C.create({id: '2', n: 1}); C.all().eventSource()")
    earlier = place(began["cursor"])

    assert [("add", ("2", 1))] == events(host, found, start=earlier)
    answer = ask(host, FeedAsked(found, 16, earlier, stream=True))
    assert isinstance(answer, InvalidRequest)
    assert "can not be before" in str(answer)


def test_a_start_beyond_history_is_an_error_event(host: Host) -> None:
    """The versions before it may be gone."""
    found = token(host, "C.all().eventSource()")
    got = page(host, found, start=(1, 0))

    assert "invalid_stream_start_time" == got["events"][0]["error"]["code"]
    assert not got["has_next"]


def test_a_source_of_a_collection_that_is_gone_is_refused(host: Host) -> None:
    """There is nothing to compare any more."""
    found = token(host, "C.all().eventSource()")
    host.data("C.definition.delete(); null")
    answer = ask(host, FeedAsked(found, 16))

    assert isinstance(answer, InvalidRequest)


def test_a_long_history_is_read_in_a_worker(host: Host) -> None:
    """The loop gives it away, and the page is the same."""
    found = token(host, "C.all().eventSource()")
    for start in range(100, 700, 100):
        host.data(f"Set.sequence({start}, {start + 100}).forEach(i => C.create({{id: i, n: i}}))")
    answers = host.submit(Query(b"", feed=FeedAsked(found, 1000)))
    host.cluster.pump()
    assert [] == answers
    host.workers.evaluate()()
    (answer,) = answers

    assert isinstance(answer, Answer)
    assert 600 == len(json.loads(answer.data)["events"])


def test_the_right_to_read_is_part_of_the_set(host: Host) -> None:
    """Losing it is a remove that shows what was readable, gaining it an add."""
    host.data(
        "Role.create({name: 'Reader',"
        " privileges: {resource: 'C', actions: {read: 'doc => doc.n < 10'}}}); null"
    )
    found = token(host, "C.all().eventSource()")
    for n in (2, 20, 30, 3):
        host.data(f"C.byId('1')!.update({{n: {n}}})")
    answer = ask(host, FeedAsked(found, 16), Caller(role="@role/Reader"))
    assert isinstance(answer, Answer)
    seen = [(e["type"], short(e["data"])) for e in json.loads(answer.data)["events"]]

    assert [("update", ("1", 2)), ("remove", ("1", 2)), ("add", ("1", 3))] == seen
    nobody = ask(host, FeedAsked(found, 16), Caller(role="client"))
    assert isinstance(nobody, Answer)
    assert [] == json.loads(nobody.data)["events"]


def test_a_wrong_role_opens_no_feed(host: Host) -> None:
    """As it opens no query."""
    answer = ask(host, FeedAsked(token(host, "C.all().eventSource()"), 16), Caller(role="@role/No"))

    assert isinstance(answer, Answer)
    assert 401 == answer.http_status


class Heard:
    """Implements `node.followers.Follower`."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.broken_count = 0

    def touched(self, changes: Sequence[Change]) -> None:
        self.changes += changes

    def broken(self) -> None:
        self.broken_count += 1


def opened(host: Host, source: str) -> Stretch:
    answer = ask(host, FeedAsked(token(host, source), 0, stream=True))
    assert isinstance(answer, Answer)
    found = msgspec.msgpack.decode(answer.data, type=Opened)
    return Stretch(found.start, found.end)


def test_what_is_heard_is_what_history_says(host: Host) -> None:
    """The same changes, in the same order, with the same places: pages and streams agree."""
    sources = ("C.all()", "C.byKind('a')", "C.tagged('x')", "Set.single(C.byId('1'))")
    heard = {source: Heard() for source in sources}
    tokens = {}
    for source in sources:
        host.state.followers.add(opened(host, f"{source}.eventSource()"), heard[source])
        tokens[source] = token(host, f"{source}.eventSource()")
    host.data(
        "Set.sequence(5, 9).forEach(i => C.create({id: i, kind: 'a', n: 9 - i, tags: ['x']}))"
    )
    host.data("C.byId('1')!.update({kind: 'b', tags: ['y', 'x', 'z']})")
    host.data("C.byId('6')!.delete(); C.byId('5')!.update({n: 0}); null")
    for source in sources:
        changes = tuple(heard[source].changes)
        live = page(host, tokens[source], page_size=100, changes=changes, stream=True)
        past = page(host, tokens[source], page_size=100)
        assert past["events"] == live["events"], source
        assert past["events"]


def test_who_follows_is_told_that_the_state_is_another_one(host: Host) -> None:
    """Once; after a snapshot was installed nobody follows any more."""
    heard = Heard()
    host.state.followers.add(opened(host, "C.all().eventSource()"), heard)
    host.state.reopen(host.kv)
    host.state.reopen(host.kv)

    assert 1 == heard.broken_count


def test_a_follower_is_told_by_the_commits_that_it_applies() -> None:
    """A member that does not lead tells those who follow on it."""
    cluster = Cluster(size=3)
    leader = cluster.elect()
    leader.data("Collection.create({name: 'C'})")
    cluster.tick(20)
    other = next(host for host in cluster.hosts if host is not leader)
    heard = Heard()
    other.state.followers.add(opened(other, "C.all().eventSource()"), heard)
    leader.data("C.create({id: '7'})")
    cluster.tick(20)

    assert [7] == [change.doc_id for change in heard.changes]


def test_a_stream_looks_back_in_small_steps(host: Host) -> None:
    """It asks again rather than wait for a worker, and gets all of it."""
    found = token(host, "C.all().eventSource()")
    host.data("Set.sequence(100, 200).forEach(i => C.create({id: i, n: i}))")
    seen: list[Any] = []
    start: tuple[int, int] | None = None
    more = True
    while more:
        got = page(host, found, page_size=129, start=start, stream=True)
        seen += [int(event["data"]["@doc"]["id"]) for event in got["events"]]
        start, more = place(got["cursor"]), got["has_next"]
        assert len(got["events"]) < 100

    assert list(range(100, 200)) == seen
    assert not host.workers.jobs


def test_who_asks_again_needs_no_look_through_everything(host: Host) -> None:
    """The first page of a large collection takes a worker, the next ones what was applied since."""
    found = token(host, "C.all().eventSource()")
    for first in range(100, 4200, 100):
        host.data(f"Set.sequence({first}, {first + 100}).forEach(i => C.create({{id: i, n: i}}))")
    answers = host.submit(Query(b"", feed=FeedAsked(found, 16_000)))
    host.cluster.pump()
    host.workers.evaluate()()
    (answer,) = answers
    assert isinstance(answer, Answer)
    cursor = place(json.loads(answer.data)["cursor"])
    host.data("C.byId('150')!.update({n: 0})")

    assert [("update", ("150", 0))] == events(host, found, start=cursor)
    assert not host.workers.jobs
