"""What can go wrong between the operator and an API server: the half that all models share.

A model keeps objects by kind and name and asks this before it reads and around each write. Faults
are asked for by the test: a crash at a write, a lost answer, a read of the past, a server away.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fauna_operator.errors import Stale, Unreachable
from fauna_operator.kube import Object


class Crash(BaseException):
    """The operator's process ends between two writes."""


class Broken(AssertionError):
    """An invariant does not hold any more."""


@dataclass
class Faults:
    """What goes wrong next. `crash_after` counts writes; -1 is never."""

    crash_after: int = -1
    lose_answer: bool = False
    stale: bool = False
    refuse_reads: int = 0
    refuse_writes: int = 0


@dataclass
class Faulty:
    """Objects, what a stale read shows of them, and what goes wrong next."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    past: dict[tuple[str, str], Object] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    number: int = 0  # the last uid or resourceVersion
    log: list[str] = field(default_factory=list)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self._may_read()
        found = self._readable().get((kind, name))
        return copy.deepcopy(found) if found else None

    async def find(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        self._may_read()
        key, _, value = selector.partition("=")
        return [
            copy.deepcopy(item)
            for (of, _), item in sorted(self._readable().items())
            if of == kind and (not key or item["metadata"].get("labels", {}).get(key) == value)
        ]

    def remember(self) -> None:
        """Keep the present as what a stale read will show."""
        self.past = copy.deepcopy(self.objects)

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _bump(self, item: Object) -> Object:
        item["metadata"]["resourceVersion"] = str(self._next())
        return item

    def _readable(self) -> dict[tuple[str, str], Object]:
        return self.past if self.faults.stale and self.past else self.objects

    def _may_read(self) -> None:
        if self.faults.refuse_reads > 0:
            self.faults.refuse_reads -= 1
            raise Unreachable("the API server is away")

    def _write(self, what: str) -> None:
        if self.faults.refuse_writes > 0:
            self.faults.refuse_writes -= 1
            raise Unreachable("the API server is away")
        self.log.append(what)
        if self.faults.crash_after == 0:
            self.faults.crash_after = -1
            raise Crash
        self.faults.crash_after -= self.faults.crash_after > 0

    def _answer(self) -> None:
        if self.faults.lose_answer:
            self.faults.lose_answer = False
            raise Unreachable("the answer was lost")

    def _expect(self, live: Object, wanted: Mapping[str, Any]) -> None:
        for key in ("uid", "resourceVersion"):
            if key in wanted and wanted[key] != live["metadata"][key]:
                raise Stale(f"{live['metadata']['name']} changed")

    def _hold(self, holds: bool, what: str) -> None:
        if not holds:
            raise Broken(what + "\n" + "\n".join(self.log[-20:]))
