"""Who is there: ask every known place for the members, and believe those that know a leader.

Trap: a member that is cut off still answers. One that knows of no leader may teach us the members
when we know none, but is not called well.
"""

from collections.abc import Callable, Generator

import msgspec

from fauna_client.answers import read_error
from fauna_client.directory import Cluster, Directory
from fauna_client.errors import Unauthorized
from fauna_client.steps import Answered, Happened, NotSent, Send

PATH = "/cluster/1"
EVERY_S = 15.0  # the members change rarely; failures start a survey at once
AGAIN_S = 0.5  # at the least between two of them
_ASK_S = 2.0  # patience with one place
_decode = msgspec.json.Decoder(Cluster).decode


class Found(msgspec.Struct):
    """What a survey brought: the configuration that was told last, or why there is none."""

    cluster: Cluster | None = None
    problem: str = "no endpoint was asked"
    refused: Unauthorized | None = None


def survey(
    directory: Directory, now: Callable[[], float], connect_s: float, *, first: bool = False
) -> Generator[Send, Happened, Found]:
    """Ask every place once; `first` stops at the first one that knows the members."""
    found, asked = Found(), set[str]()
    trusted = False  # somebody who knows a leader has spoken
    while places := [place for place in directory.to_ask() if place not in asked]:
        endpoint = places[0]
        asked.add(endpoint)
        patience = min(_ASK_S, connect_s / max(1, len(places)))
        began = now()
        happened = yield Send(endpoint, "GET", PATH, patience, patience, patience)
        cluster = _read(endpoint, happened, found)
        if isinstance(happened, NotSent) and happened.ours:
            continue
        if cluster is None or _is_foreign(directory, endpoint, cluster, found):
            directory.failed(endpoint, now(), since=began)
            continue
        if cluster.has_leader or directory.cluster is None:
            directory.worked(endpoint, now(), now() - began)
        if (cluster.has_leader and not trusted) or directory.cluster is None:
            trusted = cluster.has_leader
            directory.adopt(cluster)
        if found.cluster is None or cluster.has_leader:
            found.cluster = cluster
        if first:
            break
    return found


def _read(endpoint: str, happened: Happened, found: Found) -> Cluster | None:
    if not isinstance(happened, Answered):
        found.problem = f"{endpoint}: {happened.reason if happened else 'no answer'}"
        return None
    if happened.status != 200:
        error = read_error(happened.status, happened.body)
        found.problem = f"{endpoint}: {error}"
        if isinstance(error, Unauthorized):
            found.refused = error
        return None
    try:
        return _decode(happened.body)
    except msgspec.DecodeError as error:
        found.problem = f"{endpoint}: not a member: {error}"
        return None


def _is_foreign(directory: Directory, endpoint: str, cluster: Cluster, found: Found) -> bool:
    """A name that the cluster told us may mean another cluster's member from here."""
    known = directory.cluster
    if known is None or known.cluster_id == cluster.cluster_id:
        return False
    if directory.is_named(endpoint):
        found.problem = f"{endpoint}: belongs to another cluster"
        return True
    return False
