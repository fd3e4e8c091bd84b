"""One run: a calm beginning, a storm, and the demand that life goes on after it.

    calm     the cluster is founded, opened for clients, and gets its collections
    storm    faults of all kinds that the seed has; whatever is answered must be true
    after    faults stop; within `HEAL_S` everything is answered, equal, and takes a write

At the end the whole history of the clients must be explained by one copy of the data.
"""

import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from faunadb.codec import Answer
from faunadb.node.language import Language
from faunadb.node.query import Outcome
from faunadb.raft.entries import Configuration, MemberId
from faunadb.raft.events import Role
from faunadb_sim import history
from faunadb_sim.clients import SETUP, Client, query_of
from faunadb_sim.faults import Faults
from faunadb_sim.history import Operation
from faunadb_sim.host import Host, check_same_states
from faunadb_sim.linearizable import check
from faunadb_sim.network import Network
from faunadb_sim.options import Options, draw_options
from faunadb_sim.watch import Watch, check_times
from faunadb_sim.world import US_PER_MS, US_PER_S, Violation, World

CALM_S = 10.0  # is usually over after one or two
HEAL_S = 30.0
POLL_US = 50 * US_PER_MS
LAST_WRITE = 'Register.byId("0")!.update({ last: true }).last'


class Result(msgspec.Struct, frozen=True):
    """What a run came to. `violation` is "" when every promise was kept."""

    seed: int
    violation: str
    digest: str
    events: int
    virtual_s: float
    healed_s: float
    operations_ok: int
    operations_unknown: int
    entries: int
    faults: dict[str, int]


class Simulation:
    """One seed."""

    def __init__(
        self,
        seed: int,
        trace: Callable[[str], None] | None = None,
        options: Options | None = None,
    ) -> None:
        self.options = options or draw_options(seed)
        self.world = World(seed, trace)
        self.watch = Watch()
        self.network = Network(self.world, self.options)
        self.hosts: dict[MemberId, Host] = {}
        self.operations: list[Operation] = []
        self._language = Language(b"k" * 32, b"i" * 24, self.world.chance.randbytes)
        self._clients: list[Client] = []
        self._healed_us = 0

    def run(self) -> Result:
        """Run it whole; a broken promise ends it and is part of the result."""
        violation = ""
        try:
            self._calm()
            self._storm()
            self._after()
            self._judge()
        except (Violation, AssertionError) as problem:
            at = traceback.extract_tb(problem.__traceback__)[-1]
            where = f"{Path(at.filename).name}:{at.lineno} in {at.name}"
            violation = f"{type(problem).__name__} ({where}): {str(problem) or at.line}"
            self.world.say(f"VIOLATION {violation}")
            if self.world.is_traced:
                raise
        return self._result(violation)

    # ------------------------------------------------------------ phases

    def _calm(self) -> None:
        voters = [self.add() for _ in range(self.options.voters)]
        learners = [self.add()] if self.options.learner else []
        configuration = Configuration(
            voters=tuple(host.peer for host in voters),
            learners=tuple(host.peer for host in learners),
            highest_member_id=max(self.hosts),
        )
        for host in self.hosts.values():
            host.found(configuration)
            host.start()
        self._until(self._is_open, CALM_S, "no leader opened the cluster")
        for text in SETUP:
            self._ask_until_answered(text)

    def _storm(self) -> None:
        for number in range(self.options.clients):
            self._clients.append(
                Client(
                    f"c{number + 1}",
                    world=self.world,
                    options=self.options,
                    hosts=self.hosts,
                    operations=self.operations,
                    answered=self._answered,
                )
            )
        self._faults = Faults(self.world, self.options, self.network, self.hosts, self.add)
        self._faults.begin()
        self.world.run(self.world.now_us + int(self.options.storm_s * US_PER_S))

    def _after(self) -> None:
        self._faults.stop()
        began_us = self.world.now_us
        self.world.run(began_us + US_PER_S)
        for client in self._clients:
            client.is_stopping = True
        self._until(self._is_whole, HEAL_S, "the cluster does not come to life again")
        self._ask_until_answered(LAST_WRITE)
        self._until(self._is_whole, HEAL_S, "the members do not become equal")
        self._until(self._is_led_in_time, HEAL_S, "a member whose clock is off leads on")
        self._healed_us = self.world.now_us - began_us

    def _judge(self) -> None:
        check_same_states(list(self.hosts.values()))
        answered = [o for o in self.operations if o.outcome is history.Outcome.OK]
        check_times([(o.start // 1000, o.end // 1000, o.ts) for o in answered])
        found = check(self.operations)
        if found is not None:
            raise Violation(f"not linearizable: {found}")

    # ------------------------------------------------------------ helpers, in order of use

    def add(self) -> Host:
        """Put one more machine with an empty member into the world; the first ones are founded."""
        member_id = MemberId(len(self.hosts) + 1)
        host = Host(
            member_id,
            world=self.world,
            options=self.options,
            network=self.network,
            watch=self.watch,
            language=self._language,
            target=self._target,
        )
        self.hosts[member_id] = host
        self.network.members[member_id] = host
        if self._clients:
            host.start()
        return host

    def _target(self, member: MemberId) -> Host | None:
        host = self.hosts.get(member)
        return host if host is not None and host.is_up else None

    def _leader(self) -> Host | None:
        for host in self.hosts.values():
            if host.process is not None and host.member.leadership is not None:
                return host
        return None

    def _is_open(self) -> bool:
        leader = self._leader()
        if leader is None:
            return False
        if not leader.member.state.is_open:
            leader.do(leader.member.open)
        return leader.member.state.is_open

    def _is_whole(self) -> bool:
        """Say whether everybody was answered, and all members of the cluster have all."""
        leaders = [
            host
            for host in self.hosts.values()
            if host.process is not None and host.member.core.role is Role.LEADER
        ]
        if len(leaders) != 1 or any(client.is_waiting for client in self._clients):
            return False
        core = leaders[0].member.core
        configuration = core.configuration[1]
        if configuration.voters_outgoing or core.commit != core.last.index:
            return False
        return all(
            self.hosts[peer.id].process is not None
            and self.hosts[peer.id].member.state.applied == core.last.index
            for peer in configuration.everyone()
        )

    def _is_led_in_time(self) -> bool:
        """Say whether the leader's clock is right, where a majority of clocks says so."""
        leader = self._leader()
        if leader is None:
            return False
        voters = leader.member.core.configuration[1].voters
        off = [peer for peer in voters if self.hosts[peer.id].clock.skew_us]
        return 2 * len(off) >= len(voters) or not leader.clock.skew_us

    def _until(self, holds: Callable[[], bool], within_s: float, complaint: str) -> None:
        end_us = self.world.now_us + int(within_s * US_PER_S)
        while not holds():
            if self.world.now_us >= end_us:
                raise Violation(f"{complaint} within {within_s} s")
            self.world.run(self.world.now_us + POLL_US)

    def _ask_until_answered(self, text: str) -> None:
        """Let an administrator write something, as often as it takes."""
        answers: list[Outcome] = []
        for _ in range(20):
            answers.clear()
            host = self._leader() or next(iter(self.hosts.values()))
            host.do(lambda: host.member.submit(query_of(text, {}), answers.append))  # noqa: B023
            self._until(lambda: bool(answers), HEAL_S, f"no answer to {text}")
            answer = answers[0]
            if isinstance(answer, Answer):
                if answer.http_status != 200:
                    raise Violation(f"{text} was answered with {answer.data!r}")
                return
            self.world.run(self.world.now_us + POLL_US)
        raise Violation(f"{text} is never answered: {answers}")

    def _answered(self, ts: int, is_write: bool) -> None:  # noqa: FBT001 - a callback
        self.watch.answered(ts, is_write=is_write)

    def _result(self, violation: str) -> Result:
        outcomes = [operation.outcome for operation in self.operations]
        return Result(
            seed=self.world.seed,
            violation=violation,
            digest=self.world.digest(),
            events=self.world.event_count,
            virtual_s=self.world.now_us / US_PER_S,
            healed_s=self._healed_us / US_PER_S,
            operations_ok=outcomes.count(history.Outcome.OK),
            operations_unknown=outcomes.count(history.Outcome.UNKNOWN),
            entries=self.watch.entries_committed,
            faults=dict(sorted(self.world.faults.items())),
        )
