"""What can be scraped from the operator? What it does, and what the resources say of themselves.

Names, labels and units are in docs/metrics.md; a test compares that page with a scrape. House
rules: the series of a resource end with the resource; labels are names and fixed reasons, never
messages. The trap: the standby knows nothing about clusters, so its scrape has no series of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from fauna_operator.model.dates import epoch

Key = tuple[str, str]  # namespace, name
Object = Mapping[str, Any]

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
STATES = ("True", "False", "Unknown")
WHERE = ("namespace", "name")
COUNTS = {
    "replicas_wanted": ("Members asked for.", "spec", "replicas"),
    "replicas_ready": ("Members whose pod is ready.", "status", "readyReplicas"),
    "voters": ("Voters of the committed configuration.", "status", "voters"),
    "voters_healthy": ("Voters that the leader hears.", "status", "healthyVoters"),
}


@dataclass
class Passes:
    """What the passes over one resource came to; `rule` and `blocked` are of the last one."""

    count: int = 0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    rule: str = ""
    blocked: frozenset[str] = frozenset()


class Metrics:
    """The figures of one operator process."""

    def __init__(self) -> None:
        self.leads = False
        self.stream_times: dict[Key, float] = {}  # (namespace, resource) -> seconds since 1970
        self.relist_time = 0.0  # seconds since 1970
        self._passes: dict[Key, Passes] = {}
        self._resources: dict[str, dict[Key, Object]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._durations = Histogram(
            "fauna_operator_reconcile_duration_seconds",
            "Duration of one pass over a FaunaCluster.",
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def passed(self, key: Key, seconds: float, error: str = "") -> None:
        """Count a pass over a FaunaCluster, and the kind of its error if it failed."""
        self._durations.observe(seconds)
        passes = self._passes.setdefault(key, Passes())
        passes.count += 1
        passes.seconds += seconds
        if error:
            passes.errors[error] += 1

    def decided(self, key: Key, rule: str, blocked: Iterable[str]) -> None:
        """Keep the rule that decided, "" when nothing was to do, and the reasons of what waits."""
        passes = self._passes.setdefault(key, Passes())
        passes.rule, passes.blocked = rule, frozenset(blocked)

    def forget(self, key: Key) -> None:
        """Drop the series of a FaunaCluster that is gone."""
        self._passes.pop(key, None)
        self._resources.get("FaunaCluster", {}).pop(key, None)

    def saw(self, resource: Object) -> None:
        """Keep what one resource says of itself now."""
        self._resources.setdefault(resource["kind"], {})[_key(resource)] = resource

    def listed(self, kind: str, namespace: str, resources: Iterable[Object]) -> None:
        """Replace all resources of a kind in a namespace ("" for all) by these."""
        kept = {
            key: item
            for key, item in self._resources.get(kind, {}).items()
            if namespace and key[0] != namespace
        }
        self._resources[kind] = {**kept, **{_key(item): item for item in resources}}

    def text(self) -> bytes:
        """Return the text for a scrape, in the Prometheus format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what is kept in plain values; prometheus_client calls this at a scrape."""
        yield _gauge("operator_leader", "1 on the replica that holds the Lease.", self.leads)
        yield from self._watches()
        yield from self._work()
        yield from self._clusters()
        yield from self._backups()

    def _watches(self) -> Iterator[Metric]:
        relist = "When all resources were last listed by the second client, since 1970."
        yield _gauge("operator_relist_timestamp_seconds", relist, self.relist_time)
        heard = _family(
            "operator_watch_timestamp_seconds",
            "When the API server last answered this watch, or it brought an event, since 1970.",
            ("namespace", "resource"),
        )
        for key, seconds in self.stream_times.items():
            heard.add_metric(key, seconds)
        yield heard

    def _work(self) -> Iterator[Metric]:
        count = _counter("operator_reconciles", "Passes.", WHERE)
        seconds = _counter("operator_reconcile_seconds", "Seconds spent in passes.", WHERE)
        errors = _counter("operator_reconcile_errors", "Passes that failed.", (*WHERE, "error"))
        rule = _family("operator_plan_rule", "1 for the rule that acted last.", (*WHERE, "rule"))
        blocked = _family(
            "operator_blocked", "1 while something should happen and may not.", (*WHERE, "reason")
        )
        for key, passes in self._passes.items():
            count.add_metric(key, passes.count)
            seconds.add_metric(key, passes.seconds)
            for error, times in passes.errors.items():
                errors.add_metric((*key, error), times)
            if passes.rule:
                rule.add_metric((*key, passes.rule), 1)
            for reason in sorted(passes.blocked):
                blocked.add_metric((*key, reason), 1)
        yield from (count, seconds, errors, rule, blocked)

    def _clusters(self) -> Iterator[Metric]:
        clusters = self._resources.get("FaunaCluster", {})
        for name, (text, part, entry) in COUNTS.items():
            family = _family(f"cluster_{name}", text, WHERE)
            for key, item in clusters.items():
                family.add_metric(key, (item.get(part) or {}).get(entry, 0))
            yield family
        conditions = _family(
            "cluster_condition", "1 for the status that holds.", (*WHERE, "condition", "status")
        )
        for key, item in clusters.items():
            for entry in (item.get("status") or {}).get("conditions", ()):
                for state in STATES:
                    holds = float(entry["status"] == state)
                    conditions.add_metric((*key, entry["type"], state), holds)
        yield conditions

    def _backups(self) -> Iterator[Metric]:
        """Yield the newest dates of a cluster's backups; a cluster without any has no series."""
        for name, text, entry in (
            ("backup_last_completed_timestamp_seconds", "When it ended", "completedAt"),
            ("backup_last_verified_timestamp_seconds", "When it was verified", "verifiedAt"),
        ):
            newest: dict[Key, float] = {}
            for (namespace, _), item in self._resources.get("FaunaBackup", {}).items():
                status, cluster = item.get("status") or {}, item["spec"]["clusterRef"]["name"]
                if status.get("phase") == "Completed" and status.get(entry):
                    key, date = (namespace, cluster), epoch(status[entry])
                    newest[key] = max(date, newest.get(key, 0.0))
            family = _family(name, f"{text}, of the newest backup, since 1970.", WHERE)
            for key, date in newest.items():
                family.add_metric(key, date)
            yield family


def _key(resource: Object) -> Key:
    return resource["metadata"]["namespace"], resource["metadata"]["name"]


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fauna_{name}", text, value=float(value))


def _family(name: str, text: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fauna_{name}", text, labels=tuple(labels))


def _counter(name: str, text: str, labels: Iterable[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"fauna_{name}", text, labels=tuple(labels))
