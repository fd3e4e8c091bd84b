"""What a leader knows of one other member's log, and how much it may send it now.

    PROBE       where the logs part is unknown: one message, then silence until an answer
    REPLICATE   they agree up to `match`: a pipeline, bounded by messages and by bytes
    SNAPSHOT    what it needs was cut: a transfer runs over its own connection

Progress belongs to a directory, not to a name: `nonce` is part of the key. What another
directory under the same id acknowledged counts for nothing (SAFETY 22).

Trap: `match` is what the peer has on disk and may be counted; `next` is only a hope.
"""

from collections import deque
from enum import Enum

import msgspec

from faunadb.raft.entries import Index, MemberId


class Flow(Enum):
    """How entries are sent to a peer."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class ProgressView(msgspec.Struct, frozen=True):
    """One peer as `status` shows it. Ages are in ticks."""

    member: MemberId
    nonce: bytes
    match: Index
    next: int
    flow: Flow
    heard_ago_ticks: int
    stall_ticks: int
    caught_up: bool


class Progress:
    """The leader's bookkeeping for one (member, nonce) in its present term."""

    __slots__ = (
        "_inflight",
        "commit_told",
        "flow",
        "heard_at",
        "inflight_bytes",
        "match",
        "member",
        "next",
        "nonce",
        "paused",
        "round_acked",
        "round_started_at",
        "round_target",
        "round_ticks",
        "snapshot_index",
        "stall_ticks",
    )

    def __init__(self, member: MemberId, nonce: bytes, *, last: int, now: int) -> None:
        self.member = member
        self.nonce = nonce
        self.match = Index(0)
        self.next = last + 1
        self.flow = Flow.PROBE
        self.paused = False  # a probe is out and unanswered
        self.heard_at = now  # in ticks; a new leader gives everybody one election timeout
        self.stall_ticks = 0
        self.round_acked = 0  # the newest read round that it answered
        self.commit_told = 0
        self.snapshot_index = 0
        self.inflight_bytes = 0
        self._inflight: deque[tuple[int, int]] = deque()  # (last index, bytes)
        self.round_target = last  # catch-up rounds of a learner (dissertation 4.2.1)
        self.round_started_at = now
        self.round_ticks: int | None = None  # how long the last finished round took

    # ------------------------------------------------------------ sending

    def may_send(self, messages_max: int, bytes_max: int) -> bool:
        """Say whether one more message with entries may leave."""
        if self.flow is Flow.REPLICATE:
            return len(self._inflight) < messages_max and self.inflight_bytes < bytes_max
        return self.flow is Flow.PROBE and not self.paused

    def sent(self, last: int, size_bytes: int) -> None:
        """Count a message with entries up to `last`; a probe pauses, a pipeline moves on."""
        if self.flow is Flow.REPLICATE:
            self._inflight.append((last, size_bytes))
            self.inflight_bytes += size_bytes
            self.next = last + 1
        else:
            self.paused = True

    def awaits_snapshot(self, index: int) -> None:
        """Stop sending entries until a snapshot of at least `index` has arrived."""
        self._probe_from(self.next)
        self.flow = Flow.SNAPSHOT
        self.snapshot_index = index

    # ------------------------------------------------------------ answers

    def accepted(self, index: int) -> bool:
        """Take the acknowledgement of everything up to `index`; say whether it is news."""
        while self._inflight and self._inflight[0][0] <= index:
            self.inflight_bytes -= self._inflight.popleft()[1]
        news = index > self.match
        if news:
            self.match = Index(index)
        if self.flow is Flow.PROBE or (self.flow is Flow.SNAPSHOT and news):
            self._probe_from(self.match + 1)
            self.flow = Flow.REPLICATE
        self.next = max(self.next, self.match + 1)
        return news

    def refused(self, prev: int, fitting: int) -> bool:
        """Go back to after `fitting` because `prev` did not fit; say whether it is news."""
        if self.flow is Flow.REPLICATE:
            if prev <= self.match:
                return False  # an answer from before it caught up
            self._probe_from(self.match + 1)
            return True
        if self.flow is not Flow.PROBE or prev != self.next - 1:
            return False  # an answer to an earlier probe
        self._probe_from(max(min(prev, fitting + 1), self.match + 1))
        return True

    def snapshot_ended(self, *, ok: bool) -> None:
        """Probe behind the snapshot, or from where it was; a failure waits for a heartbeat."""
        if self.flow is Flow.SNAPSHOT:
            self._probe_from(max(self.match, self.snapshot_index if ok else 0) + 1)
            self.paused = not ok

    def _probe_from(self, next_index: int) -> None:
        self.flow = Flow.PROBE
        self.paused = False
        self.next = next_index
        self._inflight.clear()
        self.inflight_bytes = 0

    # ------------------------------------------------------------ catching up

    def measure_round(self, last: int, now: int) -> None:
        """End the catch-up round if its target was reached, and begin the next one."""
        if self.match >= self.round_target:
            self.round_ticks = now - self.round_started_at
            self.round_target, self.round_started_at = last, now

    def caught_up(self, last: int, now: int, ticks_max: int) -> bool:
        """Say whether the rest would take less than `ticks_max`: it was heard, and either has
        everything, or its last round and the one that runs are both shorter than that.
        """
        if now - self.heard_at >= ticks_max or not self.match:
            return False
        if self.match >= last:
            return True
        return (
            self.round_ticks is not None
            and self.round_ticks < ticks_max
            and now - self.round_started_at < ticks_max
        )

    def view(self, last: int, now: int, ticks_max: int) -> ProgressView:
        return ProgressView(
            member=self.member,
            nonce=self.nonce,
            match=self.match,
            next=self.next,
            flow=self.flow,
            heard_ago_ticks=now - self.heard_at,
            stall_ticks=self.stall_ticks,
            caught_up=self.caught_up(last, now, ticks_max),
        )
