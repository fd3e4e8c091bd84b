"""What an operator is told by a member, and what it may tell a member to do (docs/admin-api.md).

The configuration that is shown is only ever the committed one, read after a confirmed round
(SAFETY 24); who cannot confirm says so with None. Compare-and-set is the core's: here it is
only put into words.

Trap: a member that waits (an empty directory) has no `Member` behind it; `member` is None then.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from faunadb.codec import FEATURE_LEVEL
from faunadb.errors import FaunaError
from faunadb.node.member import Member
from faunadb.node.node import Node
from faunadb.node.ports import Identity
from faunadb.node.query import Outcome, Query
from faunadb.node.report import (
    ClusterReport,
    ConfigurationId,
    ConfigurationReport,
    DiskReport,
    InitAsked,
    InitReport,
    MemberName,
    MembershipAsked,
    OpenAsked,
    PeerReport,
    PositionReport,
    ProgressReport,
    RefusalCode,
    RefusalReport,
    Refused,
    TransferAsked,
)
from faunadb.raft.entries import Configuration, EntryId, Index, MemberId, Peer, SnapshotMeta, Term
from faunadb.raft.events import ChangeAnswer, ChangeAsked, ChangeOp

CONFIRM_S = 1.0  # a leader that cannot reach a majority for so long says nothing of the cluster
CHANGE_S = 10.0
TRANSFER_S = 2.0
POLL_S = 0.005
READY_LAG_ENTRIES_MAX = 1000
CATCH_UP_MS = 10_000
_NOTHING = b'{"query": "null"}'  # proven read-only


class Founding(msgspec.Struct, frozen=True):
    """What a member was started as, before it has any directory: ids as on the command line."""

    cluster_id: bytes
    incarnation: int
    member_id: MemberId
    name: str
    version: str


class Heard(msgspec.Struct, frozen=True):
    """What a peer said in its hello."""

    nonce: bytes
    version: str
    feature_level: int


class Surroundings(Protocol):
    """What the program around a member knows: its directory, its disk, its peers' hellos."""

    def heard(self, member: MemberId) -> Heard | None: ...

    def disk(self) -> DiskReport: ...

    def newest_snapshot(self) -> SnapshotMeta | None: ...

    async def found(self, asked: InitAsked) -> Identity:
        """Form the cluster in the empty directory and start the member. Raises `Refused`."""
        ...

    def receiving_snapshot(self, member: MemberId) -> bool: ...

    def refused_by(self) -> tuple[RefusalReport, ...]:
        """Return who does not talk to this member, and why (SAFETY 22, 24, 25)."""
        ...


class Reports:
    """Answers `GET /cluster` and does what an operator asks."""

    def __init__(self, founding: Founding, surroundings: Surroundings) -> None:
        self._founding, self._around = founding, surroundings
        self.node: Node | None = None
        self.removed = False

    @property
    def _member(self) -> Member | None:
        return self.node.member if self.node is not None else None

    async def cluster(self) -> ClusterReport:
        member = self._member
        if member is None:
            return self._waiting_report()
        committed = None
        if member.leadership is not None and await self._confirmed():
            committed = self._configuration(member)
        core, state, identity = member.core, member.state, member.identity
        snapshot = self._around.newest_snapshot()
        return ClusterReport(
            version=self._founding.version,
            feature_level=FEATURE_LEVEL,
            state="removed" if self.removed else "member",
            cluster_id=identity.cluster_id.hex(),
            incarnation=identity.incarnation,
            incarnation_salt=identity.incarnation_salt.hex(),
            member_id=identity.member_id,
            name=self._founding.name,
            nonce=identity.nonce.hex(),
            role=core.role.value,
            term=core.term,
            leader=_named(core.leader, core.configuration[1]),
            applied=state.applied,
            commit=core.commit,
            last=core.last.index,
            last_term=core.last.term,
            open=state.is_open,
            txn_ts=state.last_ts,
            ts_ceiling=state.ceiling_us,
            snapshot=PositionReport(snapshot.id.term, snapshot.id.index) if snapshot else None,
            disk=self._around.disk(),
            configuration=committed,
            members=self._progress(member) if committed is not None else None,
            refused_by=self._around.refused_by(),
        )

    async def init(self, asked: InitAsked) -> InitReport:
        cluster_id = _hex16(asked.cluster_id)
        if (cluster_id, asked.incarnation) != (
            self._founding.cluster_id,
            self._founding.incarnation,
        ):
            raise Refused("invalid_request", "this member was started for another cluster id")
        member = self._member
        identity = member.identity if member else await self._around.found(asked)
        if (identity.cluster_id, identity.incarnation) != (cluster_id, asked.incarnation):
            raise Refused("already_initialized", "the directory belongs to another cluster")
        return InitReport(
            cluster_id=identity.cluster_id.hex(),
            incarnation=identity.incarnation,
            incarnation_salt=identity.incarnation_salt.hex(),
            member_id=identity.member_id,
            nonce=identity.nonce.hex(),
        )

    async def open(self, asked: OpenAsked) -> None:
        node, member = self._leading()
        if member.state.is_open:
            return
        _, committed = member.core.committed_configuration
        if committed.voters_outgoing or len(committed.voters) < asked.voters:
            raise Refused(
                "voters_missing", f"{len(committed.voters)} of {asked.voters} voters are there"
            )
        node.act(member.open)
        await self._until(lambda: member.state.is_open, CHANGE_S, "outcome_unknown")

    async def membership(self, asked: MembershipAsked) -> ConfigurationReport:
        node, member = self._leading()
        expected = asked.expected
        identity = member.identity
        if expected.incarnation != identity.incarnation or (
            expected.salt is not None and expected.salt != identity.incarnation_salt.hex()
        ):
            raise Refused(
                "configuration_changed",
                f"this is incarnation {identity.incarnation}, not {expected.incarnation}",
                configuration=self._configuration(member),
            )
        peer = Peer(
            MemberId(asked.member.id),
            asked.member.name or "",
            _hex16(asked.member.nonce) if asked.member.nonce else b"",
        )
        at = EntryId(Term(expected.term), Index(expected.index))
        answered: asyncio.Future[ChangeAnswer] = asyncio.get_running_loop().create_future()

        def ask(token: int) -> ChangeAsked:
            outgoing = MemberId(asked.outgoing or 0)
            return ChangeAsked(token, ChangeOp(asked.op), peer, at, outgoing)

        def answer(given: ChangeAnswer) -> None:
            if not answered.done():
                answered.set_result(given)

        node.act(lambda: member.change(ask, answer))
        try:
            given = await asyncio.wait_for(answered, CHANGE_S)
        except TimeoutError:
            raise Refused("outcome_unknown", "the change was proposed and is not decided") from None
        report = self._configuration(member)
        if given.refused:
            stale = given.at != at
            code: RefusalCode = "configuration_changed" if stale else "change_refused"
            raise Refused(code, given.refused, configuration=report)
        return report

    async def transfer(self, asked: TransferAsked) -> MemberName:
        node, member = self._leading()
        me = member.own_id
        node.act(lambda: member.transfer(MemberId(asked.to or 0)))
        await self._until(lambda: member.core.leader not in {0, me}, TRANSFER_S, "unavailable")
        leader = _named(member.core.leader, member.core.configuration[1])
        assert leader is not None
        return leader

    async def catch_up(self) -> None:
        """Wait until all that was committed before the call is applied here. Raises `Refused`.

        It is a read like any other: a read point of the leader's, and its index applied.
        """
        if self.node is None:
            raise Refused("waiting", "the directory is empty: init it or add it as a learner")
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def answer(outcome: Outcome) -> None:
            if not answered.done():
                answered.set_result(outcome)

        self.node.submit(Query(_NOTHING, timeout_ms=CATCH_UP_MS), answer)
        outcome = await answered
        if isinstance(outcome, FaunaError):
            raise Refused("unavailable", f"no read point: {outcome}")

    def ready(self) -> str:
        """Return "" when this member serves, else why not, in a word.

        Loss of the leader does not flip it: Services would empty and drains block.
        """
        member = self._member
        if member is None:
            return "waiting"
        if self.removed:
            return "removed"
        core = member.core
        if core.commit - member.state.applied > READY_LAG_ENTRIES_MAX or not core.commit:
            return "applying"
        if core.configuration[1].peer(member.own_id) is None:
            return "not-in-configuration"
        return ""

    # ------------------------------------------------------------ helpers

    def _waiting_report(self) -> ClusterReport:
        return ClusterReport(
            version=self._founding.version,
            feature_level=FEATURE_LEVEL,
            state="waiting",
            cluster_id=self._founding.cluster_id.hex(),
            incarnation=self._founding.incarnation,
            incarnation_salt=None,
            member_id=self._founding.member_id,
            name=self._founding.name,
            nonce=None,
            role=None,
            term=0,
            leader=None,
            applied=0,
            commit=0,
            last=0,
            last_term=0,
            open=False,
            txn_ts=0,
            ts_ceiling=0,
            snapshot=None,
            disk=self._around.disk(),
            configuration=None,
            members=None,
        )

    def _leading(self) -> tuple[Node, Member]:
        if self.node is None:
            raise Refused("waiting", "the directory is empty: init it or add it as a learner")
        member = self.node.member
        if member.leadership is None:
            leader = _named(member.core.leader, member.core.configuration[1])
            if leader is None or leader.id == member.own_id:
                raise Refused("unavailable", "no leader is known")
            raise Refused(
                "not_leader", f"member {leader.id} leads in term {member.core.term}", leader=leader
            )
        return self.node, member

    async def _confirmed(self) -> bool:
        node, member = self._leading()
        leadership = member.leadership
        assert leadership is not None
        proven: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def told(ok: bool) -> None:  # noqa: FBT001 - the shape of `Rounds.join`
            if not proven.done():
                proven.set_result(ok)

        node.act(lambda: leadership.rounds.join(told))
        try:
            return await asyncio.wait_for(proven, CONFIRM_S)
        except TimeoutError:
            return False

    async def _until(self, holds: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        deadline = asyncio.get_running_loop().time() + limit_s
        while not holds():
            if asyncio.get_running_loop().time() > deadline:
                if otherwise == "unavailable":
                    raise Refused("unavailable", "it did not happen within an election timeout")
                raise Refused("outcome_unknown", "proposed, and the outcome is not known")
            await asyncio.sleep(POLL_S)

    def _configuration(self, member: Member) -> ConfigurationReport:
        at, committed = member.core.committed_configuration
        in_force, _ = member.core.configuration
        return ConfigurationReport(
            id=ConfigurationId(
                member.identity.incarnation,
                at.term,
                at.index,
                member.identity.incarnation_salt.hex(),
            ),
            pending=in_force != at,
            voters=_peers(committed.voters),
            voters_outgoing=_peers(committed.voters_outgoing),
            learners=_peers(committed.learners),
            highest_member_id=committed.highest_member_id,
        )

    def _progress(self, member: Member) -> tuple[ProgressReport, ...]:
        core = member.core
        views = {view.member: view for view in core.progress()}
        found: list[ProgressReport] = []
        for peer in core.committed_configuration[1].everyone():
            me = peer.id == member.own_id
            view, heard = views.get(peer.id), self._around.heard(peer.id)
            match = core.last.index if me else view.match if view else Index(0)
            nonce = member.identity.nonce if me else heard.nonce if heard else None
            found.append(
                ProgressReport(
                    id=peer.id,
                    name=peer.name,
                    nonce=nonce.hex() if nonce else None,
                    match=match,
                    lag=max(0, core.last.index - match),
                    last_contact_ms=0 if me else view.heard_ago_ticks * 10 if view else None,
                    version=self._founding.version if me else heard.version if heard else None,
                    feature_level=FEATURE_LEVEL if me else heard.feature_level if heard else None,
                    receiving_snapshot=self._around.receiving_snapshot(peer.id),
                    caught_up=me or bool(view and view.caught_up),
                )
            )
        return tuple(found)


def _peers(peers: tuple[Peer, ...]) -> tuple[PeerReport, ...]:
    return tuple(PeerReport(p.id, p.name, p.nonce.hex() if p.nonce else None) for p in peers)


def _named(member: MemberId, configuration: Configuration) -> MemberName | None:
    peer = configuration.peer(member) if member else None
    return MemberName(peer.id, peer.name) if peer is not None else None


def _hex16(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise Refused("invalid_request", f"{text!r} is not 32 hex digits")
    return raw
