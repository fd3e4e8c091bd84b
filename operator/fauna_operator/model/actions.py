"""What can be done? One frozen value per thing that the operator ever does to the world.

`str(action)` is the line that people read in `plan --explain`, in logs and in the tables of
cases. Every action carries the precondition under which it is right: a resourceVersion, a uid,
or the id of the committed configuration; `act.py` sends it along.
"""

from typing import Literal

import msgspec

from fauna_operator.model.latch import Latch
from fauna_operator.model.observed import ConfigurationId, Manifest
from fauna_operator.model.restores import Request, RestoreStatus


class WriteLatch(msgspec.Struct, frozen=True, tag=True):
    """Store the identity in status; compare-and-set on the resource as it was observed."""

    latch: Latch

    def __str__(self) -> str:
        latch = self.latch
        state = "bootstrapped" if latch.bootstrapped else f"seed {latch.seed}"
        return f"latch {state}, next serial {latch.next_member_serial}"


class Report(msgspec.Struct, frozen=True, tag=True):
    """Write the status of a FaunaRestore; compare-and-set on it as it was observed."""

    request: Request
    status: RestoreStatus

    def __str__(self) -> str:
        return f"report {self.request.name} {self.status.phase}: {self.status.message}"


class Create(msgspec.Struct, frozen=True, tag=True):
    """Create an object that was not there. Somebody else's is left alone."""

    manifest: Manifest

    def __str__(self) -> str:
        return f"create {_name(self.manifest)}"


class Apply(msgspec.Struct, frozen=True, tag=True):
    """Make our fields of an object so (server-side apply)."""

    manifest: Manifest

    def __str__(self) -> str:
        return f"apply {_name(self.manifest)}"


class Annotate(msgspec.Struct, frozen=True, tag=True):
    """Set annotations and labels of the very object that was observed."""

    kind: str
    name: str
    uid: str
    resource_version: str
    annotations: dict[str, str | None] = {}
    labels: dict[str, str | None] = {}
    why: str = ""

    def __str__(self) -> str:
        return f"annotate {self.kind} {self.name} ({self.why})"


class Delete(msgspec.Struct, frozen=True, tag=True):
    """Delete the very object that was observed, and only as it was observed."""

    kind: str
    name: str
    uid: str
    resource_version: str
    why: str
    force: bool = False  # its node is gone: do not wait for a kubelet's word

    def __str__(self) -> str:
        return f"delete {self.kind} {self.name} ({self.why})"


class MakeAuthority(msgspec.Struct, frozen=True, tag=True):
    """Make the cluster's CA and store it under `name`."""

    name: str

    def __str__(self) -> str:
        return f"make authority {self.name}"


class MakeRootSecret(msgspec.Struct, frozen=True, tag=True):
    """Draw the root secret and store it under `name`, for ever."""

    name: str
    key: str

    def __str__(self) -> str:
        return f"make root secret {self.name}"


class IssueCertificate(msgspec.Struct, frozen=True, tag=True):
    """Issue a member's leaf and store it under `name`."""

    name: str
    serial: int
    host: str
    cluster_id: str

    def __str__(self) -> str:
        return f"issue certificate {self.name}"


class Initialize(msgspec.Struct, frozen=True, tag=True):
    """Tell one empty member to form the cluster; preceded by compare-and-set on the resource."""

    serial: int
    cluster_id: str
    incarnation: int

    def __str__(self) -> str:
        return f"init {self.serial}"


class Open(msgspec.Struct, frozen=True, tag=True):
    """Let clients write, once there are `voters`."""

    leader: int
    voters: int

    def __str__(self) -> str:
        return f"open with {self.voters} voters"


class Remember(msgspec.Struct, frozen=True, tag=True):
    """Store what is known of templates, so that a bad one can be undone."""

    manifest: Manifest
    why: str

    def __str__(self) -> str:
        return f"remember {self.why}"


Change = Literal["add_learner", "promote", "remove", "swap"]


class ChangeMembership(msgspec.Struct, frozen=True, tag=True):
    """One change of the configuration that was seen, and of no other."""

    op: Change
    leader: int  # the serial that is asked
    serial: int
    seen: ConfigurationId
    host: str = ""  # add_learner
    nonce: str = ""  # promote, swap
    outgoing: int = 0  # swap

    def __str__(self) -> str:
        out = f" for {self.outgoing}" if self.op == "swap" else ""
        return f"{self.op} {self.serial}{out} if {self.seen}"


class Transfer(msgspec.Struct, frozen=True, tag=True):
    """Ask the leader to hand over to `to`."""

    leader: int
    to: int
    why: str

    def __str__(self) -> str:
        return f"transfer from {self.leader} to {self.to} ({self.why})"


Action = (
    WriteLatch
    | Report
    | Create
    | Apply
    | Annotate
    | Delete
    | Remember
    | MakeAuthority
    | MakeRootSecret
    | IssueCertificate
    | Initialize
    | Open
    | ChangeMembership
    | Transfer
)


class Blocked(msgspec.Struct, frozen=True):
    """Something that should happen and may not; `reason` becomes a condition's."""

    reason: str
    message: str
    final: bool = False  # nothing after this rule may run

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Plan(msgspec.Struct, frozen=True):
    """The decision of one pass: what to do, by which rule, and what could not be done."""

    actions: tuple[Action, ...] = ()
    rule: str = ""  # the rule that decided; "" when all is as it should be
    blocked: tuple[Blocked, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.rule}: {action}" for action in self.actions]
        lines += [f"blocked: {blocked}" for blocked in self.blocked]
        return "\n".join(lines) or "nothing to do"


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"
