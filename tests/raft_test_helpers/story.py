"""A cluster that tells what it does: the handler behind `tests/faunadb/raft/scripts/*.txt`.

Commands (members are numbers; `1>2` names a link):

    cluster N [learners ID...]   N voters with one shared first entry; `small`: before it, so
                                 that a message carries one entry
    found ID                     the one voter that `init` leaves; `empty ID [GENERATION]` a joiner
    timeout ID                   let time pass at ID alone until it does something about it
    tick ID [COUNT]              let COUNT ticks pass; `quiet ID...`: they hear no leader any more
    elect ID                     let ID win an election, silently; `settle` delivers and syncs all
    deliver [1>2] [COUNT]        deliver what is on its way (on one link, at most COUNT)
    copy 1>2                     deliver the oldest message of a link and leave a copy on its way
    drop [1>2]                   lose what is on its way
    sync ID [COUNT]              finish writes to ID's disk
    crash ID, restart ID, cut ID, heal; hang ID: its disk syncs only when told
    propose ID WORD...           read ID TOKEN
    change ID OP MEMBER [for OUTGOING] [generation G] [expecting T/I] [directory unknown]
    transfer ID [TO]             stall ID TICKS; lost ID PEER
    snapshot ID [KEEP]           send-snapshot ID [fails]; install ID; hand-snapshot FROM TO
    log ID, status, progress ID

`quietly COMMAND` does something without telling it.
"""

from collections.abc import Iterable, Sequence

import msgspec

from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    Index,
    MemberId,
    Peer,
    Term,
    decode_configuration,
    split_entries,
)
from faunadb.raft.events import (
    Applied,
    ChangeAsked,
    ChangeOp,
    DiskState,
    Event,
    Outgoing,
    PeerLost,
    Proposed,
    ReadAsked,
    Received,
    TransferAsked,
    Update,
    Write,
)
from faunadb.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadRequest,
    ReadResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raft_test_helpers.cluster import Cluster, Member, peer


def name(id_: EntryId) -> str:
    return f"{id_.term}/{id_.index}"


def names(entries: Sequence[Entry]) -> str:
    if not entries:
        return "nothing"
    return ", ".join(f"{name(entry.id)} {what(entry)}" for entry in entries)


def what(entry: Entry) -> str:
    if entry.kind is EntryKind.NOOP:
        return "noop"
    if entry.kind is EntryKind.CONFIGURATION:
        return group(decode_configuration(entry.payload))
    return bytes(entry.payload).decode()


def group(configuration: Configuration) -> str:
    """`{1 2}`, joint `{1 3}&{1 2}`, with learners `{1 2}+4`."""

    def ids(peers: Iterable[Peer]) -> str:
        return " ".join(str(p.id) for p in peers)

    text = "{" + ids(configuration.voters) + "}"
    if configuration.voters_outgoing:
        text += "&{" + ids(configuration.voters_outgoing) + "}"
    return text + "".join(f"+{p.id}" for p in configuration.learners)


def say(m: Message) -> str:  # noqa: PLR0912 -- a table of sentences
    """Put a message into words; every one is of the sender's term."""
    match m:
        case PreVoteRequest():
            text = f"would you vote for me next? my log ends at {name(m.last)}"
        case PreVoteResponse():
            text = "yes, I would" if m.granted else "no, I would not"
        case VoteRequest():
            hurry = ", the leader wants it" if m.forced else ""
            text = f"vote for me: my log ends at {name(m.last)}{hurry}"
        case VoteResponse():
            text = "you have my vote" if m.granted else "no vote for you"
        case AppendEntries():
            text = f"after {name(m.prev)} put {names(split_entries(m.block))}; commit {m.commit}"
        case AppendResponse():
            text = f"I have {m.index}"
            if m.refused:
                text = f"{m.index} does not fit; try after {name(m.hint)}"
        case Heartbeat():
            text = f"I lead; commit {m.commit}" + (f"; round {m.round}" if m.round else "")
            text += f"; my disk hangs for {m.stall_ticks}" if m.stall_ticks else ""
        case HeartbeatResponse():
            text = f"I follow; round {m.round}"
        case InstallSnapshot():
            text = f"here is a snapshot at {name(m.meta.id)}"
        case ReadRequest():
            text = f"where may I read? attempt {m.round}"
        case ReadResponse():
            text = f"attempt {m.round}: " + ("I cannot say" if m.index is None else f"at {m.index}")
        case TimeoutNow():
            text = "campaign now"
    return f"(term {m.term}) {text}"


def why(at: Member, m: Message) -> str:  # noqa: PLR0911 -- one reason a line
    """Say for which reason a vote is granted or not, from the state before."""
    core = at.core
    asked_term = m.term + 1 if isinstance(m, PreVoteRequest) else m.term
    if not isinstance(m, PreVoteRequest | VoteRequest):
        return ""
    pre = isinstance(m, PreVoteRequest)
    if asked_term < core.term + pre:
        return f"is in term {core.term} already"
    forced = isinstance(m, VoteRequest) and m.forced
    if core._s.lease_holds() and not forced and (pre or m.term > core.term):
        return f"hears its leader {core.leader}"
    if not core.joined:
        return "is an empty directory"
    if m.last < core.last:
        return f"has a newer log ({name(core.last)})"
    if not pre and m.term == core.term and core.vote not in {0, m.sender}:
        return f"voted for {core.vote} in term {core.term}"
    return f"finds the log as new as its own ({name(core.last)})"


class Story(Cluster):
    """A cluster that keeps lines about what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.token = 0

    # ------------------------------------------------------------ telling

    def step(self, member: int, event: Event) -> Update:
        if isinstance(event, Received):
            m = event.message
            reason = why(self.members[member], m)
            self.lines.append(f"{m.sender}>{member} {say(m)}")
            if reason:
                self.lines.append(f"    {member} {reason}")
        return super().step(member, event)

    def _perform(self, at: Member, update: Update) -> None:
        tell = self.lines.append
        if update.write is not None:
            tell(f"    {at.id} writes {written(update.write)}")
        self._tell_messages(update.messages, "")
        self._tell_messages(update.messages_after_sync, "when synced ")
        if update.committed:
            tell(f"    {at.id} applies {names(update.committed)}")
        for ready in update.reads_ready:
            index = "nowhere, ask again" if ready.index is None else f"at {ready.index}"
            tell(f"    {at.id} may read r{ready.token} {index}")
        if update.install_snapshot is not None:
            tell(f"    {at.id} wants the snapshot at {name(update.install_snapshot.id)} installed")
        for asked in update.send_snapshot:
            tell(f"    {at.id} wants a snapshot of {asked.index_min} or later sent to {asked.to}")
        if update.role is not None:
            leader = f", led by {update.role.leader}" if update.role.leader else ""
            tell(f"    {at.id} is {update.role.role.value} in term {update.role.term}{leader}")
        if update.configuration is not None:
            tell(f"    {at.id} lives under {group(update.configuration[1])}")
        for change in update.changes:
            tell(
                f"    {at.id} answers: {change.refused or 'done'}; committed is "
                f"{group(change.configuration)} of {name(change.at)}"
            )
        if update.refused:
            tell(f"    {at.id} refuses the proposal")
        super()._perform(at, update)

    def _tell_messages(self, messages: Sequence[Outgoing], when: str) -> None:
        for outgoing in messages:
            m = outgoing.message
            self.lines.append(f"    {m.sender}>{outgoing.to} {when}{say(m)}")

    # ------------------------------------------------------------ commands

    def handle(self, command: str, words: list[str]) -> str:
        """Do one command and return the lines that tell what came of it."""
        self.lines = []
        if command == "quietly":
            self.handle(words[0], words[1:])
            return ""
        getattr(self, "do_" + command.replace("-", "_"))(*words)
        return "\n".join(self.lines)

    def do_cluster(self, voters: str, *words: str) -> None:
        learners = [int(word) for word in words[1:]]
        self.members = Cluster.of(int(voters), learners=learners, config=self.config).members
        for member in self.members:
            self._wake(member)

    def do_small(self) -> None:
        self.config = msgspec.structs.replace(self.config, append_bytes_max=1)

    def do_found(self, member: str) -> None:
        self.found(int(member))
        self.step(int(member), Applied(Index(0)))
        self.lines = []

    def do_empty(self, member: str, generation: str = "0") -> None:
        self.add(int(member), int(generation))
        self._wake(int(member))

    def _wake(self, member: int) -> None:
        """Let the first report of a core pass untold."""
        self.tick(member)
        self.lines = []

    def do_timeout(self, member: str) -> None:
        for _ in range(3 * self.config.election_ticks):
            if self.lines:
                return
            self.tick(int(member))

    def do_tick(self, member: str, count: str = "1") -> None:
        for _ in range(int(count)):
            self.tick(int(member))

    def do_quiet(self, *members: str) -> None:
        for member in members:
            self.members[int(member)].core._s.contact_at = -self.config.election_ticks

    def do_elect(self, member: str) -> None:
        self.elect(int(member))
        self.lines = [f"{member} leads term {self.members[int(member)].core.term}"]

    def do_settle(self) -> None:
        self.settle()

    def do_deliver(self, link: str = "", count: str = "1000000") -> None:
        waiting = [f for f in self.network if not link or f"{f.sender}>{f.to}" == link]
        for flight in waiting[: int(count)]:
            if self.deliver(next(i for i, f in enumerate(self.network) if f is flight)) is None:
                self.lines.append(f"{flight.sender}>{flight.to} is lost")

    def do_copy(self, link: str) -> None:
        links = [f"{f.sender}>{f.to}" for f in self.network]
        self.deliver(links.index(link), keep=True)

    def do_drop(self, link: str = "0>0") -> None:
        sender, to = link.split(">")
        lost = self.drop(sender=int(sender), to=int(to))
        self.lines.append(f"{lost} lost")

    def do_sync(self, member: str, count: str = "") -> None:
        self.sync(int(member), int(count) if count else None)

    def do_crash(self, member: str) -> None:
        self.crash(int(member))

    def do_restart(self, member: str) -> None:
        self.restart(int(member))
        self._wake(int(member))

    def do_hang(self, member: str) -> None:
        self.hung.add(int(member))

    def do_cut(self, member: str) -> None:
        self.isolate(int(member))

    def do_heal(self) -> None:
        self.heal()

    def do_propose(self, member: str, *words: str) -> None:
        self.step(int(member), Proposed([word.encode() for word in words]))

    def do_read(self, member: str, token: str) -> None:
        self.step(int(member), ReadAsked(int(token)))

    def do_change(self, member: str, op: str, target: str, *words: str) -> None:
        given = dict(zip(words[::2], words[1::2], strict=True))
        expected, _ = self.members[int(member)].core.committed_configuration
        if "expecting" in given:
            term, index = given["expecting"].split("/")
            expected = EntryId(Term(int(term)), Index(int(index)))
        self.token += 1
        named = peer(int(target), int(given.get("generation", "0")))
        if "directory" in given:
            named = Peer(named.id, named.name, b"")
        outgoing = MemberId(int(given.get("for", "0")))
        asked = ChangeAsked(self.token, ChangeOp(op), named, expected, outgoing)
        self.step(int(member), asked)

    def do_transfer(self, member: str, to: str = "0") -> None:
        self.step(int(member), TransferAsked(MemberId(int(to))))

    def do_stall(self, member: str, ticks: str) -> None:
        self.step(int(member), DiskState(10**9, int(ticks)))

    def do_lost(self, member: str, lost: str) -> None:
        self.step(int(member), PeerLost(MemberId(int(lost)), 0.5))

    def do_snapshot(self, member: str, keep: str = "0") -> None:
        self.take_snapshot(int(member), keep_count=int(keep))
        snapshot = self.members[int(member)].disk.snapshot
        assert snapshot is not None
        self.lines.append(f"{member} has a snapshot at {name(snapshot.id)}")

    def do_send_snapshot(self, member: str, outcome: str = "works") -> None:
        self.send_snapshot(int(member), ok=outcome == "works")

    def do_hand_snapshot(self, source: str, to: str) -> None:
        at = self.members[int(source)]
        assert at.disk.snapshot is not None
        self.hand_snapshot(at.disk.snapshot, at, int(to))

    def do_install(self, member: str) -> None:
        self.install(int(member))

    def do_log(self, member: str) -> None:
        core = self.members[int(member)].core
        entries = core.entries_after(core.base.index)
        self.lines.append(f"{name(core.base)} | {names(entries)}")

    def do_status(self) -> None:
        for at in self.members.values():
            core = at.core
            self.lines.append(
                f"{at.id} {core.role.value if at.up else 'down'}, term {core.term}, "
                f"last {name(core.last)}, synced {core.synced}, commit {core.commit}, "
                f"{group(core.configuration[1])}"
            )

    def do_progress(self, member: str) -> None:
        for p in self.members[int(member)].core.progress():
            near = ", caught up" if p.caught_up else ""
            self.lines.append(f"{p.member} {p.flow.value}: match {p.match}, next {p.next}{near}")


def written(write: Write) -> str:
    parts = []
    if write.hard_state is not None:
        hard = write.hard_state
        parts.append(f"term {hard.term}, vote {hard.vote}, commit {hard.commit}")
    if write.truncate_from is not None:
        parts.append(f"cut from {write.truncate_from}")
    if write.entries:
        parts.append(names(write.entries))
    return "; ".join(parts)
