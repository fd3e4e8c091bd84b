"""What should people be told, once for each change? Kubernetes Events with fixed reasons.

Told are deeds, after they were done, and turns of status; never that something still is so. An
Event is a courtesy: one that cannot be written is forgotten, and `REASON_MAX` of one reason in
`WINDOW_S` are enough, because whoever reads them has seen it by then.
"""

import secrets
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from fauna_operator.errors import OperatorError
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import (
    Action,
    Annotate,
    ChangeMembership,
    Delete,
    Desired,
    Remember,
    Report,
    Transfer,
)
from fauna_operator.render import names

CONTROLLER = "fauna.dev/fauna-operator"
REASON_MAX = 10
WINDOW_S = 60.0
NOTE_LETTERS_MAX = 1000
OUTAGES = ("QuorumLost", "NoLeader", "Unreachable")
CHANGES = {
    "add_learner": "MemberAdded",
    "promote": "MemberPromoted",
    "remove": "MemberRemoved",
    "swap": "MemberReplaced",
}

RESTORES = {"Fencing": "RestoreStarted", "Completed": "RestoreFinished", "Failed": "RestoreFailed"}


class Note(msgspec.Struct, frozen=True):
    """One thing to tell."""

    reason: str
    message: str
    warning: bool = False


def of_deed(desired: Desired, action: Action) -> Note | None:
    """Return what to tell after an action was done; None for what nobody waits for."""
    match action:
        case ChangeMembership():
            out = f" for {desired.member(action.outgoing)}" if action.outgoing else ""
            return Note(CHANGES[action.op], f"{action.op} {desired.member(action.serial)}{out}")
        case Transfer():
            who = f"{desired.member(action.leader)} to {desired.member(action.to)}"
            return Note("LeaderTransferred", f"from {who}: {action.why}")
        case Annotate(why="quarantined"):
            until = action.annotations.get(names.DELETE_AFTER)
            return Note("VolumeQuarantined", f"{action.name} is kept until {_date(until)}")
        case Delete(kind="PersistentVolumeClaim"):
            return Note("VolumeDeleted", f"{action.name}: {action.why}")
        case Remember() if "did not" in action.why:
            return Note("RolloutPaused", action.why.removeprefix("that "), warning=True)
    return None


def of_restore(action: Report) -> Note | None:
    """Return what to tell when a FaunaRestore enters a phase that people wait for, or fear."""
    told = action.status
    reason = RESTORES.get(told.phase)
    if reason is None or told.phase == action.request.status.phase:
        return None
    message = f"{action.request.name}: {told.message}"
    return Note(reason, message, warning=reason != "RestoreFinished")


def of_turn(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Note]:
    """Return what to tell when status turns from one to the other."""
    return [*_outage(before, after), *_operation(before, after), *_members(before, after)]


def _outage(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[Note]:
    was, now = _condition(before, "Available"), _condition(after, "Available")
    lost = now.get("status") == "False" and now.get("reason") in OUTAGES
    if lost and was.get("status") == "True":
        yield Note("QuorumLost", f"{now['reason']}: {now.get('message', '')}", warning=True)
    if now.get("status") == "True" and was.get("reason") in OUTAGES:
        yield Note("QuorumRestored", str(now.get("message", "")))


def _operation(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[Note]:
    was, now = before.get("operation") or {}, after.get("operation") or {}
    rolled, rolls = was.get("type") == "Rollout", now.get("type") == "Rollout"
    if rolls and not rolled and not now.get("blockedBy"):
        yield Note("RolloutStarted", "members get another template, one after the other")
    if rolled and not now and not was.get("blockedBy"):
        yield Note("RolloutFinished", "all members have the template that the spec asks for")
    blocked = str(now.get("blockedBy", "")).partition(":")[0]
    if blocked and blocked != str(was.get("blockedBy", "")).partition(":")[0]:
        yield Note("StepBlocked", f"{now['type']} {now['step']}: {now['blockedBy']}", warning=True)


def _members(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[Note]:
    states = {member["name"]: member.get("state") for member in before.get("members") or ()}
    for member in after.get("members") or ():
        if member.get("state") == "Quarantined" and states.get(member["name"]) != "Quarantined":
            message = f"{member['name']} stopped for good: kubectl logs tells why"
            yield Note("MemberQuarantined", message, warning=True)


class Teller:
    """Writes the Events of one FaunaCluster."""

    def __init__(self, kube: Kubernetes) -> None:
        self._kube = kube
        self._told: dict[str, deque[float]] = {}
        self._leader = ""

    async def deed(self, desired: Desired, action: Action) -> None:
        """Tell that an action was done."""
        note = of_restore(action) if isinstance(action, Report) else of_deed(desired, action)
        if note is not None:
            await self._tell(desired, note)

    async def turn(
        self, desired: Desired, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """Tell how status turned; also who leads, across the time in which nobody did."""
        for note in of_turn(before, after):
            await self._tell(desired, note)
        leader = str(after.get("leader", ""))
        if leader and self._leader and leader != self._leader:
            await self._tell(desired, Note("LeaderChanged", f"{self._leader} to {leader}"))
        self._leader = leader or self._leader

    async def _tell(self, desired: Desired, note: Note) -> None:
        told, now_s = self._told.setdefault(note.reason, deque(maxlen=REASON_MAX)), time.monotonic()
        if len(told) == REASON_MAX and now_s - told[0] < WINDOW_S:
            return
        told.append(now_s)
        with suppress(OperatorError):
            await self._kube.create(_event(desired, note, time.time()))


def _event(desired: Desired, note: Note, now: float) -> Object:
    return event_about(
        {"kind": names.KIND, "name": desired.name, "uid": desired.uid},
        desired.namespace,
        names.labels(desired),
        note,
        now,
    )


def event_about(
    regarding: Mapping[str, str], namespace: str, labels: Mapping[str, str], note: Note, now: float
) -> Object:
    """Return an Event about an object of ours: its `kind`, `name` and `uid`."""
    stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{regarding['name']}.{secrets.token_hex(8)}",
            "namespace": namespace,
            "labels": dict(labels),
        },
        "eventTime": stamp.replace("+00:00", "Z"),
        "reportingController": CONTROLLER,
        "reportingInstance": CONTROLLER,
        "action": "Reconcile",
        "reason": note.reason,
        "type": "Warning" if note.warning else "Normal",
        "note": note.message[:NOTE_LETTERS_MAX],
        "regarding": {"apiVersion": names.API_VERSION, "namespace": namespace, **regarding},
    }


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = status.get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def _date(seconds: str | None) -> str:
    moment = datetime.fromtimestamp(float(seconds or 0), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
