"""How does Kubernetes write a moment? Seconds since 1970 here, RFC 3339 there."""

from datetime import UTC, datetime


def epoch(text: str) -> float:
    """Return a time of Kubernetes in seconds since 1970.

    >>> epoch("1970-01-01T00:01:00Z")
    60.0
    """
    return datetime.fromisoformat(text).timestamp()


def iso(seconds: float) -> str:
    """Undo `epoch`; parts of a second are cut off.

    >>> iso(60.9)
    '1970-01-01T00:01:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
