"""One member and three of them, whole, over maps in memory."""

import json

import pytest

from faunadb.codec import Answer, RequestId
from faunadb.errors import InvalidRequest, OutcomeUnknown, TooManyPending
from faunadb.node.leader import BACKLOG_BYTES_MAX, NO_SPACE, NO_SPACE_LEFT, PROPOSALS_PENDING_MAX
from faunadb.node.query import NotReadOnly, Outcome
from faunadb.raft.log import READY_ENTRIES_MAX
from faunadb.store.definition_writes import BUILT_AT_ONCE_MAX
from faunadb.store.requests import REQUEST_HORIZON_US
from node_test_helpers import Cluster, Host
from node_test_helpers.cluster import BEGAN_US, query

US_PER_HOUR = 3_600_000_000
SECONDS = 100  # in ticks
LONG = "Set.sequence(0, 20000).fold(0, (a, b) => a + b)"


def value(answer: object) -> object:
    assert isinstance(answer, Answer), answer
    return json.loads(answer.data)


def statuses(answers: list[object]) -> list[object]:
    return [a.http_status if isinstance(a, Answer) else type(a) for a in answers]


@pytest.fixture
def one() -> Host:
    leader = Cluster(1).elect()
    leader.data('Collection.create({name: "A", constraints: [{unique: ["name"]}]})')
    return leader


@pytest.fixture
def three() -> Cluster:
    cluster = Cluster(3)
    leader = cluster.elect()
    leader.data('Collection.create({name: "A", constraints: [{unique: ["name"]}]})')
    leader.data('A.create({id: 1, name: "stock", left: 5})')
    return cluster


def request(host: Host, nonce: int = 1) -> RequestId:
    return RequestId(host.clock.wall_us(), nonce.to_bytes(16, "big"))


def held(host: Host) -> None:
    """From here on nothing becomes durable at this member."""
    host.log.hangs = True


# ---------------------------------------------------------------- one member


def test_an_answer_waits_for_the_disk(one: Host) -> None:
    """A write, and an error or a value that was computed on top of it (SAFETY 4)."""
    held(one)
    write = one.submit(query('A.create({name: "x"})'))
    one.cluster.pump()
    error = one.submit(query('A.create({name: "x"})'))
    seen = one.submit(query('let d = A.create({name: "y"}) abort(A.all().map(.name).toArray())'))
    read = one.submit(query("A.all().map(.name).toArray()"))
    one.cluster.pump()
    assert [[], [], [], []] == [write, error, seen, read]
    one.log.hangs = False
    one.cluster.pump()

    assert [200, 400, 400, 200] == statuses([*write, *error, *seen, *read])
    assert ["x"] == value(read[0])
    times = [a.txn_ts for a in (*write, *error, *seen, *read) if isinstance(a, Answer)]
    assert times == sorted(set(times))


def test_two_queries_of_one_turn_see_each_other(one: Host) -> None:
    """The tip holds what is appended, whether it is applied or not (SAFETY 2)."""
    one.data('A.create({id: 1, name: "stock", left: 5})')
    takes = [
        one.submit(query("A.byId(1)!.update({left: A.byId(1)!.left - 1})!.left")) for _ in range(3)
    ]
    one.cluster.pump()

    assert [[4], [3], [2]] == [[value(answer) for answer in answers] for answers in takes]


def test_a_query_sees_the_schema_of_the_query_before_it(one: Host) -> None:
    """Within a turn, and while nothing is applied; an error of the query changes nothing."""
    one.data("A.all().count()")
    one.log.hangs = True
    texts = [
        'Collection.create({name: "B"}) B.create({}) 1',  # B is not known to the compiler yet
        'Collection.create({name: "B"}).name',
        'B.create({x: "b"}).x',
        'Collection.create({name: "C"}) abort(0)',
        "C.all().count()",
    ]
    asked = [one.submit(query(text)) for text in texts[:3]]
    one.cluster.pump()
    asked += [one.submit(query(text)) for text in texts[3:]]
    one.log.hangs = False
    one.cluster.pump()

    assert [400, 200, 200, 400, 400] == [statuses(answers)[0] for answers in asked]
    assert ["B", "b"] == [value(answers[0]) for answers in asked[1:3]]


def test_a_read_point_before_a_change_of_the_schema_sees_the_one_before(one: Host) -> None:
    """A read may be evaluated when later entries are applied already."""
    before = one.state.last_ts
    one.data('Collection.create({name: "B"}).name')
    answers: list[Outcome | NotReadOnly] = []
    for ts in (before, one.state.last_ts):
        one.state.read_at(query("B.all().count()"), ts, one.clock.monotonic_s() + 1, answers.append)

    assert [400, 200] == [a.http_status for a in answers if isinstance(a, Answer)]


def test_every_member_knows_a_new_schema_once_it_is_applied(three: Cluster) -> None:
    """What a member proves of a program stands on its own newest schema."""
    leader = three.leaders()[-1]
    follower = three.others(leader)[0]
    for text in ('Function.create({name: "f", body: "_ => 1"}).name', "A.all().count()"):
        leader.data(text)
    assert 1 == follower.data("f(0)")
    leader.data(
        'Function.byName("f")!.update({body: "_ => A.create({id: 7, name: \\"n\\"}).name"})!.name'
    )
    assert "n" == follower.data("f(0)")
    assert ["n"] == leader.data('A.all().map(.name).toArray().filter(.startsWith("n"))')


def test_the_tip_holds_what_is_appended_and_not_applied(one: Host) -> None:
    """Through many turns, while the disk hangs (SAFETY 2)."""
    one.data('A.create({id: 1, name: "stock", left: 5})')
    one.log.hangs = True
    takes = []
    for _ in range(3):
        takes.append(one.submit(query("A.byId(1)!.update({left: A.byId(1)!.left - 1})!.left")))
        one.cluster.pump()
    assert [[], [], []] == takes
    one.log.hangs = False
    one.cluster.pump()

    assert [[4], [3], [2]] == [[value(answer) for answer in answers] for answers in takes]


def test_a_retry_finds_its_answer(one: Host) -> None:
    """In the state, in the tail, or while it is still being written (SAFETY 5)."""
    text, named = 'A.create({name: "x"}).name', request(one)
    held(one)
    first = one.submit(query(text, request=named))
    second = one.submit(query(text, request=named))
    one.cluster.pump()
    one.log.hangs = False
    one.cluster.pump()
    third = one.submit(query(text, request=named))
    one.cluster.pump()

    assert 1 == len({answer.txn_ts for answer in (*first, *second, *third)})  # type: ignore[union-attr]
    assert ["x", "x", "x"] == [value(answer) for answer in (*first, *second, *third)]
    assert 1 == one.data("A.all().count()")


def test_a_retry_that_finds_only_a_digest_is_told_so(one: Host) -> None:
    """It was applied; what it answered is too long to be kept."""
    text = f'A.create({{name: "x", big: "{"y" * 5000}"}})'
    named = request(one)
    assert 200 == statuses([one.ask(text, request=named)])[0]

    assert isinstance(one.ask(text, request=named), OutcomeUnknown)
    assert 1 == one.data("A.all().count()")


def test_a_request_id_that_may_have_been_forgotten_is_refused(one: Host) -> None:
    """Its outcome cannot be looked up any more (SAFETY 5)."""
    old = RequestId(one.clock.wall_us() - REQUEST_HORIZON_US - 1_000_000, bytes(16))
    future = RequestId(one.clock.wall_us() + US_PER_HOUR, bytes(16))

    assert isinstance(one.ask('A.create({name: "x"})', request=old), InvalidRequest)
    assert isinstance(one.ask('A.create({name: "x"})', request=future), InvalidRequest)
    assert 0 == one.data("A.all().count()")


def test_a_write_that_does_not_commit_in_time_is_unknown(one: Host) -> None:
    """It was proposed: nobody may say that it was not applied (SAFETY 6)."""
    held(one)
    answers = one.submit(query('A.create({name: "x"})', timeout_ms=500))
    one.cluster.tick(SECONDS)
    assert [OutcomeUnknown] == statuses([*answers])
    one.log.hangs = False
    one.cluster.tick()

    assert 1 == len(answers)
    assert 1 == one.data("A.all().count()")


def test_a_cluster_that_is_not_open_refuses_writes_only() -> None:
    """It is opened once, when all voters are there (SAFETY 26)."""
    leader = Cluster(1).elect(open_for_clients=False)

    assert isinstance(leader.ask('Collection.create({name: "A"})'), TooManyPending)
    assert 2 == leader.data("1 + 1")


def test_so_many_proposals_may_wait(one: Host) -> None:
    """What comes beyond is refused before it is evaluated."""
    held(one)
    answers = [one.submit(query("A.create({})")) for _ in range(PROPOSALS_PENDING_MAX + 2)]
    one.cluster.pump()

    assert {TooManyPending} == {type(found[0]) for found in answers if found}


# ---------------------------------------------------------------- long queries


def test_a_long_write_is_validated_when_it_comes_back(one: Host) -> None:
    """Effects that nothing contradicts are appended as they are (SAFETY 1)."""
    answers = one.submit(query(f"A.create({{n: {LONG}}}).n"))
    assert 200 == statuses([one.ask('A.create({name: "other"})')])[0]
    one.workers.evaluate()()
    one.cluster.pump()

    assert [199_990_000] == [value(answer) for answer in answers]


def test_a_long_write_that_was_overtaken_is_evaluated_again(one: Host) -> None:
    """What it read was written meanwhile; its second sight is what counts (SAFETY 3)."""
    one.data("A.create({id: 1, left: 5})")
    text = f"{LONG}; A.byId(1)!.update({{left: A.byId(1)!.left - 1}})!.left".replace(";", "\n")
    answers = one.submit(query(text))
    came = one.workers.evaluate()
    assert 4 == one.data("A.byId(1)!.update({left: A.byId(1)!.left - 1})!.left")
    came()
    one.cluster.pump()
    assert [] == answers
    one.workers.evaluate()()
    one.cluster.pump()

    assert [3] == [value(answer) for answer in answers]


def test_five_attempts_and_no_more(one: Host) -> None:
    """Then the client is told, and nothing was applied."""
    one.data("A.create({id: 1, left: 5})")
    answers = one.submit(query(f"{LONG}\nA.byId(1)!.update({{left: A.byId(1)!.left - 1}})!.left"))
    for nth in range(5):
        came = one.workers.evaluate()
        one.data(f"A.byId(1)!.update({{left: {50 + nth}}})!.left")
        came()
        one.cluster.pump()

    assert ["Contended"] == [type(answer).__name__ for answer in answers]
    assert 0 == len(one.workers.jobs)
    assert 54 == one.data("A.byId(1)!.left")


def test_a_phantom_is_a_conflict(one: Host) -> None:
    """What was looked for and not found is read too (SAFETY 3)."""
    answers = one.submit(query(f"{LONG}\nA.create({{n: A.all().count()}}).n"))
    came = one.workers.evaluate()
    one.data("A.create({n: 77})")
    came()
    one.cluster.pump()
    one.workers.evaluate()()
    one.cluster.pump()

    assert [1] == [value(answer) for answer in answers]


def test_two_sendings_of_a_long_write_are_applied_once(one: Host) -> None:
    """Neither is in the table when the other begins."""
    text, named = f"A.create({{n: {LONG}}}).n", request(one)
    answers = [*(one.submit(query(text, request=named)) for _ in range(2))]
    first, second = one.workers.evaluate(), one.workers.evaluate()
    first()
    second()
    one.cluster.pump()

    assert [[199_990_000], [199_990_000]] == [[value(a) for a in found] for found in answers]
    assert 1 == one.data("A.all().count()")


def test_a_long_read_is_one_state(one: Host) -> None:
    """Whatever is written while a worker reads at its timestamp (SAFETY 8)."""
    one.data("A.create({n: 1})")
    answers = one.submit(query(f"{LONG}\nA.all().map(.n).toArray()"))
    one.cluster.pump()
    one.data("A.create({n: 2})")
    one.workers.evaluate()()
    one.cluster.pump()

    assert [[1]] == [value(answer) for answer in answers]


# ---------------------------------------------------------------- three members


def test_every_member_answers_every_query(three: Cluster) -> None:
    """And each sees what any other was told (SAFETY 7)."""
    for nth, host in enumerate(three.hosts):
        assert 4 - nth == host.data("A.byId(1)!.update({left: A.byId(1)!.left - 1})!.left")
        assert [4 - nth] * 3 == [other.data("A.byId(1)!.left") for other in three.hosts]


def test_two_answers_never_share_a_time(three: Cluster) -> None:
    """Reads included, whoever was asked, and in the order in which they were asked (SAFETY 8)."""
    times = []
    for nth in range(30):
        host = three.hosts[nth % 3]
        answer = host.ask("A.byId(1)!.update({left: 1})" if nth % 5 == 0 else "A.byId(1)!.left")
        assert isinstance(answer, Answer)
        times.append(answer.txn_ts)

    assert times == sorted(set(times))


def test_a_follower_waits_until_it_has_applied_the_point(three: Cluster) -> None:
    """A read point is a time and an index; its own state may be behind (SAFETY 8)."""
    leader = three.leaders()[-1]
    follower = three.others(leader)[0]
    held(follower)
    assert 4 == leader.data("A.byId(1)!.update({left: 4})!.left")
    answers = follower.submit(query("A.byId(1)!.left"))
    three.pump()
    assert [] == answers
    follower.log.hangs = False
    three.tick(20)

    assert [4] == [value(answer) for answer in answers]


def test_a_follower_may_be_told_of_a_collection_that_it_has_not_applied(three: Cluster) -> None:
    """Its proof that a program only reads stood on an older schema."""
    leader = three.leaders()[-1]
    follower = three.others(leader)[0]
    held(follower)
    leader.data('Collection.create({name: "B"})')
    answers = follower.submit(query("B.create({n: 3}).n"))
    follower.log.hangs = False
    three.tick(20)

    assert [3] == [value(answer) for answer in answers]


def test_a_leader_that_is_cut_off_answers_nobody(three: Cluster) -> None:
    """Neither what it reads nor an error that it computes is proven (SAFETY 4, 7)."""
    old = three.leaders()[-1]
    three.isolate(old)
    read = old.submit(query("A.byId(1)!.left", timeout_ms=60_000))
    error = old.submit(query('A.create({name: "stock"})', timeout_ms=60_000))
    write = old.submit(query('A.create({id: 5, name: "mine"})', timeout_ms=60_000))
    three.tick(10)
    assert [[], [], []] == [read, error, write]
    new = three.elect(after=old)
    assert new is not old
    new.data("A.byId(1)!.update({left: 77})")
    new.data('A.create({id: 6, name: "mine"})')
    three.heal()
    three.tick(2 * SECONDS)

    assert [77] == [value(answer) for answer in read]
    assert [400, 400] == statuses([*error, *write])
    assert b"unique" in write[0].data  # type: ignore[union-attr]


def test_a_new_leader_sees_the_tail_that_it_inherited(three: Cluster) -> None:
    """A unique value in an entry that is not committed yet is taken (SAFETY 2).

    All have led before: they have worker numbers, and evaluate before they applied the tail.
    """
    old = three.leaders()[-1]
    heirs = three.others(old)
    for host in (*heirs, old):
        three.leaders()[-1].member.transfer(host.id)
        three.tick(20)
    assert [old] == three.leaders()
    heirs[1].log.hangs = old.log.hangs = True
    written = old.submit(query('A.create({name: "seat"})', timeout_ms=60_000))
    three.pump()
    assert old.member.core.last.index == heirs[0].member.core.last.index > heirs[0].state.applied
    three.isolate(old)
    three.tick(2 * SECONDS)
    taken = [host.submit(query('A.create({name: "seat"})')) for host in heirs]
    heirs[1].log.hangs = False
    three.tick(3 * SECONDS)
    old.log.hangs = False
    three.heal()
    three.tick(3 * SECONDS)

    assert [[400], [400]] == [statuses([*answers]) for answers in taken]
    assert [200] == statuses([*written])
    assert [1] * 3 == [h.data('A.where(.name == "seat").count()') for h in three.hosts]


def test_a_write_whose_leader_is_lost_is_applied_once(three: Cluster) -> None:
    """The member that took it sends it again under its id (SAFETY 5)."""
    old = three.leaders()[-1]
    follower = three.others(old)[0]
    answers = follower.submit(query("A.create({n: 1}).n", timeout_ms=60_000))
    follower.member.end_of_turn()
    old.deliver()
    old.member.end_of_turn()
    three.isolate(old)
    new = three.elect(after=old)
    three.tick(SECONDS)

    assert new is not old
    assert [1] == [value(answer) for answer in answers]
    assert 1 == new.data("A.all().where(.n == 1).count()")


def test_a_program_of_a_schema_that_never_committed_is_forgotten(three: Cluster) -> None:
    """Two leaders may give one version to two schemas: their counters know only their logs."""
    old = three.leaders()[-1]
    three.isolate(old)
    lost = old.submit(query('Function.create({name: "f", body: "() => 1"})', timeout_ms=1000))
    assert [] == old.submit(query("f()", timeout_ms=1000))
    assert old.language._compile.cache_info().currsize > 0
    three.tick(3 * SECONDS)

    assert [OutcomeUnknown] == statuses([*lost])
    assert old.member.leadership is None
    assert 0 == old.language._compile.cache_info().currsize


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("off_us", [US_PER_HOUR, -US_PER_HOUR])
@pytest.mark.parametrize("who", [0, 1, 2])
def test_one_clock_an_hour_off_moves_nothing(who: int, off_us: int) -> None:
    """And its owner does not lead for long (SAFETY 11)."""
    cluster = Cluster(3)
    cluster.hosts[who].clock.off_us = off_us
    cluster.elect()
    cluster.tick(3 * SECONDS)
    (leader,) = cluster.leaders()
    leader.data('Collection.create({name: "A"})')
    found = [host.ask("A.create({})") for host in cluster.hosts]
    now_us = BEGAN_US + int(cluster.now_s * 1_000_000)

    assert cluster.hosts[who] is not leader
    assert [200, 200, 200] == statuses([*found])
    assert all(abs(a.txn_ts - now_us) < 2_000_000 for a in found if isinstance(a, Answer))


@pytest.mark.parametrize("off_us", [US_PER_HOUR, -US_PER_HOUR])
def test_leadership_goes_to_a_clock_that_is_right(off_us: int) -> None:
    """Two that are off do not hand it to each other (SAFETY 11)."""
    cluster = Cluster(5)
    off = cluster.hosts[:2]
    cluster.elect()
    cluster.leaders()[-1].member.transfer(off[0].id)
    cluster.tick(SECONDS)
    assert [off[0]] == cluster.leaders()
    for host in off:
        host.clock.off_us = off_us
    cluster.tick(5 * SECONDS)  # the new times are heard one after the other
    led = set()
    for _ in range(5 * SECONDS):
        cluster.tick()
        led.update(host.id for host in cluster.leaders())

    assert 1 == len(led)
    assert set() == led & {host.id for host in off}


def test_a_time_from_the_future_is_refused_and_a_near_one_is_kept(three: Cluster) -> None:
    """`x-last-txn-ts` up to a minute beyond what was issued, on an idle cluster (SAFETY 10)."""
    follower = three.others(three.leaders()[-1])[0]
    three.tick(30 * SECONDS)
    last = follower.ask("1 + 1")
    assert isinstance(last, Answer)
    near = follower.ask("1 + 1", last_txn_ts=last.txn_ts + 30_000_000)
    assert isinstance(near, Answer)

    assert near.txn_ts > last.txn_ts + 30_000_000
    assert isinstance(follower.ask("1 + 1", last_txn_ts=near.txn_ts + US_PER_HOUR), InvalidRequest)


def test_a_new_leader_begins_above_all_that_was_told(three: Cluster) -> None:
    """Reads leave no entry but their ceiling, and all clocks may have gone back (SAFETY 9)."""
    old = three.leaders()[-1]
    told = [old.ask("A.byId(1)!.left", last_txn_ts=0) for _ in range(5)][-1]
    three.isolate(old)
    for host in three.hosts:
        host.clock.off_us = -US_PER_HOUR
    new = three.elect(after=old)
    later = new.ask("A.byId(1)!.left")

    assert isinstance(told, Answer)
    assert isinstance(later, Answer)
    assert later.txn_ts > told.txn_ts


@pytest.mark.parametrize("off_us", [US_PER_HOUR, -US_PER_HOUR])
@pytest.mark.parametrize(("off", "down"), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
def test_one_clock_off_and_one_member_down_refuses_nobody(off: int, down: int, off_us: int) -> None:
    """Of two clocks the lower counts; a client's id of today must be good nevertheless."""
    cluster = Cluster(3)
    cluster.hosts[off].clock.off_us = off_us
    cluster.elect()
    cluster.tick(3 * SECONDS)
    cluster.leaders()[-1].data('Collection.create({name: "A"})')
    cluster.isolate(cluster.hosts[down])
    cluster.tick(3 * SECONDS)
    cluster.tick(90 * SECONDS)  # idle
    alive = [host for host in cluster.hosts if host is not cluster.hosts[down]]
    born = RequestId(BEGAN_US + int(cluster.now_s * 1_000_000), b"1" * 16)
    answers = [
        host.submit(
            query(
                f"A.create({{id: {host.id}}})",
                request=RequestId(born.born_us, bytes([host.id]) * 16),
            )
        )
        for host in alive
    ]
    cluster.tick(2 * SECONDS)

    assert [200, 200] == statuses([found[0] for found in answers])


def test_a_leader_without_clocks_does_not_judge_ids_by_an_old_counter() -> None:
    """After a long idle time its counter is old; ids of today are not from the future."""
    cluster = Cluster(3)
    cluster.elect()
    cluster.now_s += 7200
    leader = cluster.leaders()[-1]
    leader.member._median.reset()
    answers = leader.submit(query('Collection.create({name: "A"})', request=request(leader)))
    cluster.pump()
    assert [] == answers
    cluster.tick(3 * SECONDS)

    assert [200] == statuses([*answers])


# ---------------------------------------------------------------- space


def refused(answer: object) -> str:
    assert isinstance(answer, TooManyPending), answer
    return str(answer)


def test_a_disk_that_is_nearly_full_takes_deletes(one: Host) -> None:
    """Ordinary writes are refused first; at the very end all are; reads go on (SAFETY 21)."""
    one.data('A.create({id: 1, name: "x"})')
    one.data('A.create({id: 2, name: "y"})')
    one.snapshots.takes_writes = False
    created, updated = one.ask("A.create({})"), one.ask("A.byId(1)!.update({n: 1})")
    mixed = one.ask("A.byId(2)!.delete()\nA.byId(1)!.update({n: 1})")
    one.data("A.byId(1)!.delete()")
    one.snapshots.takes_deletes = False
    deleted = one.ask("A.byId(2)!.delete()")

    assert [NO_SPACE] * 3 == [refused(answer) for answer in (created, updated, mixed)]
    assert NO_SPACE_LEFT == refused(deleted)
    assert ["y"] == one.data("A.all().map(.name).toArray()")


def test_a_full_disk_takes_what_the_cluster_needs(one: Host) -> None:
    """Ceilings, and removals of old versions, are no client's writes (SAFETY 21)."""
    one.data('A.create({id: 1, name: "x"})')
    one.snapshots.takes_writes = one.snapshots.takes_deletes = False
    last = one.member.core.last.index
    one.cluster.tick(20 * 60 * SECONDS)

    assert "x" == one.data("A.byId(1)!.name")
    assert one.member.core.last.index > last


def test_an_index_waits_for_space(one: Host) -> None:
    """Building it makes the state larger; it is built when there is space again."""
    for number in range(BUILT_AT_ONCE_MAX + 1):
        one.data(f'A.create({{name: "{number}"}})')
    one.data('Collection.byName("A")!.update({indexes: {byN: {terms: [{field: "n"}]}}})')
    status = 'Collection.byName("A")!.indexes.byN.status'
    one.snapshots.takes_writes = False
    one.cluster.tick(2 * SECONDS)
    without = one.data(status)
    one.snapshots.takes_writes = True
    one.cluster.tick(2 * SECONDS)

    assert ["building", "complete"] == [without, one.data(status)]


def test_a_log_that_does_not_commit_refuses_what_is_large(three: Cluster) -> None:
    """Before the core refuses a whole turn; what was proposed goes on (SAFETY 6)."""
    leader = three.leaders()[-1]
    for host in three.others(leader):
        held(host)
    text = f'A.create({{big: "{"y" * 60_000}"}}).id'
    answers = [leader.submit(query(text)) for _ in range(BACKLOG_BYTES_MAX // 60_000 + 20)]
    three.pump()
    early = [found[0] for found in answers if found]
    for host in three.others(leader):
        host.log.hangs = False
    three.tick(20)

    assert {"The cluster is behind with its writes."} == {refused(answer) for answer in early}
    assert 0 < len(early) < 25
    assert {200, TooManyPending} == set(statuses([found[0] for found in answers]))
    assert leader.member.leadership is not None


# ---------------------------------------------------------------- far behind


def test_a_member_that_is_far_behind_applies_in_pieces(three: Cluster) -> None:
    """Between them it answers heartbeats and probes."""
    leader = three.leaders()[-1]
    follower = three.others(leader)[0]
    held(follower)
    answers = [leader.submit(query(f"A.create({{n: {n}}})")) for n in range(3000)]
    three.pump()
    before = follower.state.applied
    follower.log.hangs = False
    pieces = []
    while follower.state.applied < leader.state.applied:
        three.tick()
        pieces.append(follower.state.applied - before)
        before = follower.state.applied

    assert {200} == set(statuses([found[0] for found in answers]))
    assert len(pieces) >= 3000 // READY_ENTRIES_MAX
    assert max(pieces) <= 2 * READY_ENTRIES_MAX


# ---------------------------------------------------------------- what a query logs


def test_what_was_logged_stands_in_the_summary(one: Host) -> None:
    """With its place, in the order of time, also by functions and in a worker."""
    one.data('Function.create({name: "f", body: "x => log(x)"})')
    said = one.ask('log("n", 3)\nf(5)')
    submitted = one.submit(query(f'log("long")\n{LONG}'))
    one.cluster.pump()
    one.workers.evaluate()()
    one.cluster.pump()
    (apart,) = submitted

    assert isinstance(said, Answer)
    assert isinstance(apart, Answer)
    assert "info at *query*:1: n 3\n\ninfo at *udf:f*:1: 5" == said.summary
    assert "info at *query*:1: long" == apart.summary


def test_what_was_logged_stands_behind_the_error(one: Host) -> None:
    """`dbg` shows the place too."""
    failed = one.ask('log("before")\ndbg(1)\nabort(1)')

    assert isinstance(failed, Answer)
    first, logged, debugged = failed.summary.split("\n\n")
    assert 400 == failed.http_status
    assert first.startswith("error: ")
    assert "info at *query*:1: before" == logged
    assert debugged.startswith("info: 1\nat *query*:2:")
    assert "dbg(1)" in debugged
