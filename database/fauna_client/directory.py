"""Whom to ask, in which order.

Two kinds of places: those that the caller gave, which always stay, and the members that the
cluster names, which count once they answered from here (a name inside Kubernetes may mean nothing
outside). Near ones come first; places that are equally near are put in an order of chance, so
that many clients spread; one that failed goes to the end until it is seen well again.

Shared by all threads of a client: every method takes the lock and is short.
"""

import random
import threading
from collections.abc import Iterable

import msgspec

NEAR_FACTOR, NEAR_S = 2.0, 0.001  # as near as the nearest: within twice its time and a millisecond


class Member(msgspec.Struct, frozen=True):
    """A member as `GET /cluster/1` names it."""

    id: int
    name: str
    endpoint: str
    role: str
    leader: bool


class Cluster(msgspec.Struct, frozen=True):
    """The answer of `GET /cluster/1`."""

    cluster_id: str
    voters: int
    learners: int
    members: tuple[Member, ...]

    @property
    def node_count(self) -> int:
        return self.voters + self.learners

    @property
    def has_leader(self) -> bool:
        return any(member.leader for member in self.members)


class _Place(msgspec.Struct):
    given: bool
    chance: float
    seconds: float | None = None  # of the last question that was answered
    answered_at: float | None = None
    failed_at: float | None = None  # None while it is well


class Directory:
    """Everything that a client knows about where the cluster is."""

    def __init__(self, given: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._places = {endpoint: self._new(given=True) for endpoint in given}
        self._encrypted = any(endpoint.startswith("https:") for endpoint in self._places)
        self.cluster: Cluster | None = None

    @property
    def reachable(self) -> bool:
        """Whether somebody answered, and has not failed since."""
        with self._lock:
            return any(p.answered_at and p.failed_at is None for p in self._places.values())

    def order(self) -> list[str]:
        """Return the places to send a query to, best first; never empty."""
        with self._lock:
            return self._sorted(
                endpoint
                for endpoint, place in self._places.items()
                if place.given or place.answered_at is not None
            )

    def to_ask(self) -> list[str]:
        """Return all places, those too that never answered: given and well ones first."""
        with self._lock:
            return self._sorted(self._places)

    def is_named(self, endpoint: str) -> bool:
        """Return whether we know `endpoint` from the cluster alone."""
        with self._lock:
            place = self._places.get(endpoint)
            return place is not None and not place.given

    def adopt(self, cluster: Cluster) -> None:
        """Believe what a member said about who the members are."""
        with self._lock:
            named = {member.endpoint.rstrip("/") for member in cluster.members}
            if not self._encrypted:  # no certificates are loaded to check https with
                named = {endpoint for endpoint in named if endpoint.startswith("http:")}
            for endpoint in named - self._places.keys():
                self._places[endpoint] = self._new(given=False)
            for endpoint in self._places.keys() - named:
                if not self._places[endpoint].given:
                    del self._places[endpoint]
            self.cluster = cluster

    def worked(self, endpoint: str, now: float, seconds: float | None = None) -> None:
        """Note an answer; `seconds` is how long a small question took."""
        with self._lock:
            place = self._places.get(endpoint)
            if place is not None:
                place.answered_at, place.failed_at = now, None
                place.seconds = seconds if seconds is not None else place.seconds

    def failed(self, endpoint: str, now: float, since: float | None = None) -> None:
        """Put a place at the end, unless it has answered something else after `since`."""
        with self._lock:
            place = self._places.get(endpoint)
            if place is None:
                return
            if since is not None and (place.answered_at or 0) > since:
                return
            place.failed_at = now

    def _sorted(self, endpoints: Iterable[str]) -> list[str]:
        known = [p.seconds for p in self._places.values() if p.seconds and p.failed_at is None]
        near = min(known, default=0.0) * NEAR_FACTOR + NEAR_S

        def rank(endpoint: str) -> tuple[float, bool, float, bool, float]:
            place = self._places[endpoint]
            seconds = place.seconds if place.seconds is not None else near + 1
            failed = place.failed_at if place.failed_at is not None else 0.0
            return failed, place.answered_at is None, max(seconds, near), place.given, place.chance

        return sorted(endpoints, key=rank)

    @staticmethod
    def _new(*, given: bool) -> _Place:
        return _Place(given=given, chance=random.uniform(0, 1))  # noqa: S311 - only an order
