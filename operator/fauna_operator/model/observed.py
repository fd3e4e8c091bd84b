"""What was seen? Kubernetes objects and the members' own answers, reduced to what rules ask.

`None` means unknown where a field says so: "the leader did not answer" is not "there is no
leader". Durations are seconds on the monotonic clock of this operator process, so that they
start again with it; dates are seconds since 1970.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fauna_operator.model.desired import Spec
from fauna_operator.model.latch import Latch
from fauna_operator.model.restores import Job, Request

Manifest = dict[str, Any]
CONTACT_MS_MAX = 2_000  # what the leader heard longer ago says nothing about now


class Pod(msgspec.Struct, frozen=True):
    """A member's pod."""

    serial: int
    name: str
    uid: str
    resource_version: str
    owner_uid: str = ""
    phase: str = "Running"
    ready: bool = False
    deleting: bool = False
    ip: str = ""
    incarnation: int = 1  # of its command line; 0: it has none
    node: str = ""
    role: str = ""  # the label
    template_hash: str = ""
    unschedulable: str = ""  # the scheduler's sentence, "" when it has a node
    restarts: int = 0
    waiting: str = ""  # the kubelet's reason: CrashLoopBackOff, ImagePullBackOff, …
    exit_code: int | None = None  # of the last container that ended; None when none did
    exit_reason: str = ""  # `reason` of the one line of JSON that exit 78 leaves
    exit_detail: str = ""


class Claim(msgspec.Struct, frozen=True):
    """A member's volume claim."""

    serial: int
    name: str
    uid: str
    resource_version: str
    cluster_uid: str = ""  # of the FaunaCluster that made it
    latch: Latch | None = None
    phase: str = "Bound"
    deleting: bool = False
    nonce: str = ""  # of the directory on it, as first heard
    restore: str = ""  # uid of the FaunaRestore that fills it, until that is done
    replaces: int = 0  # the serial of the lost member, 0 when it replaces nobody
    created: float = 0.0
    quarantined: bool = False
    delete_after: float = 0.0
    nodes: tuple[str, ...] | None = None  # that its volume is bound to; None: to none, or unknown


class ConfigurationId(msgspec.Struct, frozen=True):
    """Names one committed configuration: what compare-and-set compares."""

    incarnation: int
    term: int
    index: int
    salt: str = ""

    def __str__(self) -> str:
        return f"{self.incarnation}/{self.term}/{self.index}"


class Peer(msgspec.Struct, frozen=True):
    """A member as the committed configuration names it; `nonce` is None only for a learner."""

    id: int
    name: str
    nonce: str | None = None


class Configuration(msgspec.Struct, frozen=True):
    """The committed configuration, as the leader showed it after a confirmed read round."""

    id: ConfigurationId
    voters: tuple[Peer, ...]
    pending: bool = False
    voters_outgoing: tuple[Peer, ...] = ()
    learners: tuple[Peer, ...] = ()
    highest_member_id: int = 0

    @property
    def members(self) -> tuple[Peer, ...]:
        """Return everybody in it, once, in order of ids."""
        found = {p.id: p for p in (*self.learners, *self.voters_outgoing, *self.voters)}
        return tuple(found[serial] for serial in sorted(found))


class Progress(msgspec.Struct, frozen=True):
    """What the leader knows of one member."""

    id: int
    nonce: str | None = None
    match: int = 0
    lag: int = 0  # entries
    last_contact_ms: int | None = None  # None: never in this term
    version: str | None = None
    caught_up: bool = False


class Answer(msgspec.Struct, frozen=True):
    """`GET /cluster` of one member; the fields of docs/admin-api.md that rules ask for."""

    state: str  # waiting | member | removed
    cluster_id: str
    incarnation: int
    member_id: int
    name: str = ""
    nonce: str | None = None
    role: str | None = None
    term: int = 0
    applied: int = 0
    commit: int = 0
    last: int = 0
    last_term: int = 0
    leader: Peer | None = None  # whom it follows
    ts_ceiling: int = 0  # µs
    open: bool = False
    version: str = ""
    configuration: Configuration | None = None
    members: tuple[Progress, ...] | None = None


class Seen(msgspec.Struct, frozen=True, rename="camel"):
    """The most that a member was ever seen to have, for the day on which it is gone."""

    index: int
    ts_ceiling: int  # µs
    at: float  # seconds since 1970


class Certificate(msgspec.Struct, frozen=True):
    """A leaf in a Secret."""

    cluster_id: str
    host: str
    not_after: float
    authority: str  # fingerprint of the CA that signed it


class Node(msgspec.Struct, frozen=True):
    """A node of the Kubernetes cluster."""

    name: str
    ready: bool
    hostname: str = ""  # its label: what local volumes are bound to
    zone: str = ""  # by spec.scheduling.zoneKey
    out_of_service: bool = False  # a person says that it is off for good


class Templates(msgspec.Struct, frozen=True):
    """What the ConfigMap `{cluster}-template` remembers of rollouts."""

    good: str = ""  # hash of the last template with which all members were Ready
    spec: Spec | None = None  # that rendered it
    failed: str = ""  # hash of the template with which a member did not become Ready


class Lists(msgspec.Struct, frozen=True):
    """What one look at the Kubernetes API found, by name where it is a mapping."""

    pods: tuple[Pod, ...] = ()
    claims: tuple[Claim, ...] = ()
    objects: Mapping[str, Manifest] = {}  # "Kind/name": Services, ConfigMaps, budgets
    certificates: Mapping[int, Certificate] = {}  # by serial
    authority: str | None = None  # fingerprint of the CA; None: there is none
    root_secret: bool = False
    nodes: tuple[Node, ...] | None = None  # None: we may not list nodes
    templates: Templates = Templates()


class Observed(msgspec.Struct, frozen=True):
    """Everything that one pass knows."""

    resource_version: str
    lists: Lists
    status: Mapping[str, Any] = {}
    status_latch: Latch | None = None
    map_latch: Latch | None = None  # of the ConfigMap, if it is this resource's
    map_serial: int = 1  # next free serial by a ConfigMap of whatever owner
    map_version: str = ""  # resourceVersion of the ConfigMap, "" when there is none
    answers: Mapping[int, Answer] = {}  # by serial; who is missing did not answer
    silences: Mapping[int, str] = {}  # why not, by serial
    silent_s: Mapping[int, float] = {}  # for how long this process has not heard a member
    idle_s: Mapping[int, float] = {}  # for how long a learner's match has not moved
    unheard_s: Mapping[int, float] = {}  # for how long no leader has heard a member
    node_gone_s: Mapping[int, float] = {}  # for how long the node of a volume is not there
    ready_s: Mapping[str, float] = {}  # for how long a pod has been Ready, by uid
    unready_s: Mapping[str, float] = {}  # for how long it has not been
    leader_silent_s: float | None = None  # since a leader was seen; None: never by this process
    answered_s: float | None = None  # when the leader answered, on the monotonic clock
    leaderless_s: float = 0.0  # for how long this process has looked without seeing a leader
    seen: Mapping[int, Seen] = {}  # by serial, also of members that are gone
    requests: tuple[Request, ...] = ()  # FaunaRestores that were handed over to this cluster
    jobs: tuple[Job, ...] = ()  # that fill volumes of this cluster
    fresh_id: str = ""  # 32 hex digits drawn for this pass, used by nobody yet

    @property
    def leader(self) -> Answer | None:
        """Return the answer that shows a committed configuration; `None` is "not known"."""
        leaders = [
            answer
            for answer in self.answers.values()
            if answer.role == "leader" and answer.configuration is not None
        ]
        return max(leaders, key=lambda answer: answer.term, default=None)

    @property
    def configuration(self) -> Configuration | None:
        """Return the committed configuration; `None` is "not known"."""
        return self.leader.configuration if self.leader else None

    def pod(self, serial: int) -> Pod | None:
        """Return a member's pod."""
        return next((pod for pod in self.lists.pods if pod.serial == serial), None)

    def claim(self, serial: int) -> Claim | None:
        """Return a member's volume claim."""
        return next((claim for claim in self.lists.claims if claim.serial == serial), None)

    def progress(self, serial: int) -> Progress | None:
        """Return what the leader knows of a member; `None` is "not known"."""
        members = (self.leader.members or ()) if self.leader else ()
        return next((member for member in members if member.id == serial), None)

    def believed(self) -> "Observed":
        """Return the same without answers of incarnations that have ended.

        A former member that comes back says what was true once; it may even lead others like it.
        """
        stored = (self.status_latch, self.map_latch, *(claim.latch for claim in self.lists.claims))
        now = max((latch.incarnation for latch in stored if latch and latch.origin), default=0)
        ended = {
            serial: f"it is of incarnation {answer.incarnation}, which has ended"
            for serial, answer in self.answers.items()
            if answer.incarnation < now
        }
        if not ended:
            return self
        answers = {serial: a for serial, a in self.answers.items() if serial not in ended}
        silences = dict(sorted({**self.silences, **ended}.items()))
        return msgspec.structs.replace(self, answers=answers, silences=silences)
