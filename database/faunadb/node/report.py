"""What a member says about itself and is told to do, as values: the bodies of the admin API.

Field names are the JSON of `docs/admin-api.md`. `api/admin.py` encodes them, the node fills them;
neither knows the other. Ids of 16 bytes are 32 lower-case hex digits here.

Trap: `configuration` and `members` are only ever *committed* truth, read after a confirmed
round (SAFETY 24); who cannot confirm says None.
"""

from typing import Literal

import msgspec

REPORT_FORMAT = 1


class MemberName(msgspec.Struct, frozen=True):
    id: int
    name: str


class PositionReport(msgspec.Struct, frozen=True):
    term: int
    index: int


class ConfigurationId(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names one committed configuration; `salt` None (left out by a caller) compares with any."""

    incarnation: int
    term: int
    index: int
    salt: str | None = None


class PeerReport(msgspec.Struct, frozen=True):
    id: int
    name: str
    nonce: str | None


class ConfigurationReport(msgspec.Struct, frozen=True):
    """The committed configuration; `pending` says that a later one is in the log."""

    id: ConfigurationId
    pending: bool
    voters: tuple[PeerReport, ...]
    voters_outgoing: tuple[PeerReport, ...]
    learners: tuple[PeerReport, ...]
    highest_member_id: int


class ProgressReport(msgspec.Struct, frozen=True):
    """What the leader knows of one member; None is "not heard in this term"."""

    id: int
    name: str
    nonce: str | None
    match: int
    lag: int
    last_contact_ms: int | None
    version: str | None
    feature_level: int | None
    receiving_snapshot: bool
    caught_up: bool


class DiskReport(msgspec.Struct, frozen=True):
    free_bytes: int
    state_bytes: int
    log_bytes: int


class RefusalReport(msgspec.Struct, frozen=True):
    """Member `id` does not talk to this one, since its last try; `reason` is one of a few."""

    id: int
    reason: str
    detail: str


class ClusterReport(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /cluster`."""

    format: int = REPORT_FORMAT
    version: str
    feature_level: int
    state: Literal["waiting", "member", "removed"]
    cluster_id: str
    incarnation: int
    incarnation_salt: str | None
    member_id: int
    name: str
    nonce: str | None
    role: str | None  # a value of `raft.events.Role`
    term: int
    leader: MemberName | None
    applied: int
    commit: int
    last: int
    last_term: int  # of the entry at `last`: who has most is decided by (last_term, last)
    open: bool
    txn_ts: int
    ts_ceiling: int
    snapshot: PositionReport | None
    disk: DiskReport
    configuration: ConfigurationReport | None
    members: tuple[ProgressReport, ...] | None
    refused_by: tuple[RefusalReport, ...] = ()


class InitReport(msgspec.Struct, frozen=True):
    cluster_id: str
    incarnation: int
    incarnation_salt: str
    member_id: int
    nonce: str


# ---------------------------------------------------------------- what clients are told


class ClientMember(msgspec.Struct, frozen=True):
    """A member as clients reach it; `endpoint` is the URL of its client port."""

    id: int
    name: str
    endpoint: str
    role: Literal["voter", "learner"]
    leader: bool


class ClientCluster(msgspec.Struct, frozen=True):
    """The answer of `GET /cluster/1` on the client port: the applied configuration."""

    cluster_id: str
    voters: int
    learners: int
    members: tuple[ClientMember, ...]


# ---------------------------------------------------------------- what a member is told to do


class InitAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster_id: str
    incarnation: int


class OpenAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    voters: int


class MemberAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` for add_learner; `nonce` for promote and swap."""

    id: int
    name: str | None = None
    nonce: str | None = None


class MembershipAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change, valid only while `expected` is the committed configuration."""

    op: Literal["add_learner", "promote", "remove", "swap"]
    member: MemberAsked
    expected: ConfigurationId = msgspec.field(name="if")
    outgoing: int | None = None


class TransferAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: int | None = None


RefusalCode = Literal[
    "invalid_request",
    "not_leader",
    "configuration_changed",
    "change_refused",
    "already_initialized",
    "voters_missing",
    "snapshot_gone",
    "log_gone",
    "waiting",
    "unavailable",
    "outcome_unknown",
]


class Refused(Exception):
    """An administrative request was not done; the codes are those of `docs/admin-api.md`."""

    def __init__(
        self,
        code: RefusalCode,
        message: str,
        *,
        leader: MemberName | None = None,
        configuration: ConfigurationReport | None = None,
        first: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code: RefusalCode = code
        self.message = message
        self.leader = leader
        self.configuration = configuration
        self.first = first  # of `log_gone`: the first entry that is still there
