"""What does a FaunaBackup say of itself? The record, a phase, and two conditions.

Pure: the same facts give the same status, so that it is written only when it changed.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fauna_operator.backups.model import COMPLETED, DELETING, FAILED, Backup, Record
from fauna_operator.model.actions import Blocked
from fauna_operator.model.conditions import Verdict, conditions

Status = dict[str, Any]


def status(
    backup: Backup,
    record: Record,
    blocked: Blocked | None,
    *,
    before: Mapping[str, Any],
    now: float,
) -> Status:
    """Return the whole status; `blocked` is what the backup waits for, or what went wrong."""
    found: Status = msgspec.json.decode(msgspec.json.encode(record))  # lists, as they are read
    verdicts = {"Succeeded": _succeeded(record, blocked), "Verified": _verified(backup, record)}
    return {
        **found,
        "observedGeneration": backup.generation,
        "phase": DELETING if backup.deleted is not None and backup.held else record.phase,
        "conditions": conditions(verdicts, before.get("conditions", ()), backup.generation, now),
    }


def _succeeded(record: Record, blocked: Blocked | None) -> Verdict:
    if record.phase == COMPLETED:
        return "True", COMPLETED, f"{record.parts} parts, {record.size}, at {record.uri}"
    if record.phase == FAILED:
        return "False", FAILED, record.error
    if blocked is not None:
        return "Unknown", blocked.reason, blocked.message
    return "Unknown", record.phase, ""


def _verified(backup: Backup, record: Record) -> Verdict:
    if record.phase == COMPLETED and record.verified_at:
        words = {
            "Checksum": "every part was read back and has its digest",
            "Restore": "it was restored into a scratch directory and has the state hash",
        }
        return "True", record.verified, words[record.verified]
    if backup.spec.verify == "None":
        return "False", "NotAsked", "spec.verify is None"
    if record.phase == FAILED:
        return "False", FAILED, "the backup failed"
    return "False", "NotYet", ""
