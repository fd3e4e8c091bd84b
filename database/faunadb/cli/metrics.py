"""The metrics of a member in the Prometheus text format, read when they are asked for."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from faunadb.api.hub import Hub
from faunadb.cli.program import RunningMember
from faunadb.raft.events import Role


class _Collector:
    def __init__(self, running: RunningMember | None, hub: Hub) -> None:
        self._running, self._hub = running, hub

    def collect(self) -> Iterator[Metric]:
        yield _gauge("connections", "Client connections.", self._hub.connections)
        yield _gauge("requests_in_flight", "Requests taken.", self._hub.requests_in_flight)
        if self._running is None:
            return
        member, directory = self._running.node.member, self._running.directory
        core = member.core
        yield _gauge("term", "Term of consensus.", core.term)
        yield _gauge("is_leader", "1 on the leader.", core.role is Role.LEADER)
        yield _gauge("has_leader", "1 while a leader is known.", core.leader != 0)
        yield _gauge("last_index", "Last index of the log.", core.last.index)
        yield _gauge("commit_index", "Commit index.", core.commit)
        yield _gauge("applied_index", "Last applied index.", member.state.applied)
        yield _gauge("uncommitted_bytes", "Bytes proposed, not committed.", core.uncommitted_bytes)
        yield _gauge("queries_pending", "Queries not answered.", member.gateway.pending_count)
        yield _gauge("state_bytes", "Size of the state.", directory.engine.data_bytes())
        yield _gauge("members_diverged", "Members whose state differs.", len(member.diverged))
        yield _gauge("open_for_clients", "1 when clients may write.", member.state.is_open)


def render_metrics(running: RunningMember | None, hub: Hub) -> bytes:
    """Return the text for a scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(running, hub))
    return generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"faunadb_{name}", text, value=float(value))
