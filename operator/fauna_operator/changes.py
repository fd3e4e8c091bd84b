"""Did anything change since a cluster was last looked at? So that an idle one costs no API call.

Every event of a watch and every list of the second client is noted here as (object, version); a
version that is not the one we know counts one change for the cluster that the object belongs to.
House rule: this only ever saves a look. Whatever is decided stands on a look of its own.
The trap: versions are compared for being the same, never for being newer: an etcd that was restored
counts from an earlier one.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

Key = tuple[str, str]  # namespace, name
Thing = tuple[str, str, str]  # kind, namespace, name

FRESH_S_MAX = 180.0  # the API server was not heard for longer: nothing is known to be unchanged


class Changes:
    """Counts changes by cluster; all names that it keeps are of objects that were there."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Thing, tuple[str, Key]] = {}
        self._counts: Counter[Key] = Counter()
        self._all = 0  # changes that concern every cluster
        self._listed: dict[Key, float] = {}  # (kind, namespace) -> when it was last listed

    def expect(self, lists: Iterable[Key]) -> None:
        """Hold these lists, of (kind, namespace), to `FRESH_S_MAX`."""
        self._listed = dict.fromkeys(lists, float("-inf"))

    def note(self, thing: Thing, version: str, cluster: Key) -> bool:
        """Note an object as it is; "" when it is gone. Tell whether that is a change."""
        before = self._known.get(thing)
        if (before or ("",))[0] == version:
            return False
        if version:
            self._known[thing] = version, cluster
        else:
            del self._known[thing]
        self._count(cluster)
        if before is not None and before[1] != cluster:
            self._count(before[1])
        return True

    def listed(self, kind: str, namespace: str, found: Collection[Thing]) -> set[Key]:
        """Note that these are all of a kind in a namespace ("" for all); return who lost one."""
        self._listed[kind, namespace] = self._clock()
        gone = {
            thing: cluster
            for thing, (_, cluster) in self._known.items()
            if thing[0] == kind and namespace in ("", thing[1]) and thing not in found
        }
        return {cluster for thing, cluster in gone.items() if self.note(thing, "", cluster)}

    def count(self, cluster: Key) -> int | None:
        """Return how often something of a cluster changed; None when that is not known."""
        oldest = min(self._listed.values(), default=float("-inf"))
        if self._clock() - oldest > FRESH_S_MAX:
            return None
        return self._counts[cluster] + self._all

    def _count(self, cluster: Key) -> None:
        if cluster[1]:
            self._counts[cluster] += 1
        else:
            self._all += 1
