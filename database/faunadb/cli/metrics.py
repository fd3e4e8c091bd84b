"""What does a scrape of a member show? Read when it is asked for; nothing is counted twice.

Names and units are in docs/metrics.md; a test compares that page with a scrape of a real member.
The trap: a member that waits to be added has no state, so it shows its connections and disk only.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from faunadb.api.hub import DURATIONS_S, Hub
from faunadb.cli.program import RunningMember
from faunadb.node.report import DiskReport
from faunadb.raft.events import Role


class _Collector:
    def __init__(self, running: RunningMember | None, hub: Hub, disk: DiskReport) -> None:
        self._running, self._hub, self._disk = running, hub, disk

    def collect(self) -> Iterator[Metric]:
        hub, disk = self._hub, self._disk
        yield _gauge("connections", "Client connections.", hub.connections)
        yield _gauge("streams", "Open streams of events.", hub.streams.count)
        yield _gauge("requests_in_flight", "Requests taken.", hub.requests_in_flight)
        yield CounterMetricFamily("faunadb_requests", "Requests.", value=float(hub.requests_total))
        yield _durations(hub)
        yield _gauge("disk_free_bytes", "Free bytes of the file system.", disk.free_bytes)
        yield _gauge("state_bytes", "Size of the state.", disk.state_bytes)
        yield _gauge("log_bytes", "Size of the log's files.", disk.log_bytes)
        if self._running is not None:
            yield from _member(self._running)


def _member(running: RunningMember) -> Iterator[Metric]:
    member = running.node.member
    core = member.core
    yield _gauge("term", "Term of consensus.", core.term)
    yield _gauge("is_leader", "1 on the leader.", core.role is Role.LEADER)
    yield _gauge("has_leader", "1 while a leader is known.", core.leader != 0)
    yield _gauge("last_index", "Last index of the log.", core.last.index)
    yield _gauge("commit_index", "Commit index.", core.commit)
    yield _gauge("applied_index", "Last applied index.", member.state.applied)
    yield _gauge("uncommitted_bytes", "Bytes proposed, not committed.", core.uncommitted_bytes)
    yield _gauge("queries_pending", "Queries not answered.", member.gateway.pending_count)
    yield _gauge("members_diverged", "Members whose state differs.", len(member.diverged))
    yield _gauge("clocks_off", "Voters whose clock is off.", len(member.clocks_off))
    yield _gauge("open_for_clients", "1 when clients may write.", member.state.is_open)


def _durations(hub: Hub) -> Metric:
    counts = accumulate(hub.durations)
    bounds = (*map(str, DURATIONS_S), "+Inf")
    return HistogramMetricFamily(
        "faunadb_request_duration_seconds",
        "From the whole request to the beginning of its answer.",
        buckets=list(zip(bounds, map(float, counts), strict=True)),
        sum_value=hub.durations_sum_s,
    )


def render_metrics(running: RunningMember | None, hub: Hub, disk: DiskReport) -> bytes:
    """Return the text for a scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(running, hub, disk))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"faunadb_{name}", text, value=float(value))
