"""What a member writes to its log: one line for each change that a person on call asks about.

JSON lines with `--log-format json` (the image's default), readable text else; standard error.
"""

import asyncio
import json
import sys
import time

from faunadb.node.member import Member

LOOK_EVERY_S = 0.2


class Logger:
    """Writes lines; never blocks on anything but standard error."""

    def __init__(self, log_format: str, name: str) -> None:
        self._json, self._name = log_format == "json", name

    def line(self, event: str, **facts: object) -> None:
        """Write one event with its facts."""
        now = time.time()
        if self._json:
            record = {"time": round(now, 3), "member": self._name, "event": event, **facts}
            sys.stderr.write(json.dumps(record, default=str) + "\n")
            return
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        told = " ".join(f"{key}={value}" for key, value in facts.items())
        sys.stderr.write(f"{clock} {event} {told}\n")


async def log_changes(member: Member, logger: Logger) -> None:
    """Say whenever role, leader or membership change, until cancelled."""
    seen: tuple[object, ...] = ()
    while True:
        core = member.core
        at, configuration = core.committed_configuration
        now = (core.role, core.term, core.leader, at)
        if now != seen:
            seen = now
            logger.line(
                "consensus",
                role=core.role.value,
                term=core.term,
                leader=core.leader,
                commit=core.commit,
                voters=[peer.id for peer in configuration.voters],
                learners=[peer.id for peer in configuration.learners],
            )
        await asyncio.sleep(LOOK_EVERY_S)
