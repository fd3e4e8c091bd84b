"""Where the cluster is and how long to wait for it: arguments first, then the environment."""

import os
from collections.abc import Iterable

import httpx
import msgspec

ENDPOINT_DEFAULT = "http://localhost:8443"
SECRET_DEFAULT = "secret"  # noqa: S105 - that of `faunadb dev`
CONNECT_TIMEOUT_S = 5.0
QUERY_TIMEOUT_S = 10.0
CONNECTIONS = 16  # at once and in all, of one client


class Settings(msgspec.Struct, frozen=True):
    """What a client was asked to be; see `Client`."""

    endpoints: tuple[str, ...]
    secret: str
    connections: int


def read_settings(
    endpoint: str | Iterable[str] | None,
    endpoints: Iterable[str] | None,
    secret: str | None,
    connections: int,
) -> Settings:
    """Join arguments and environment. Raises `ValueError` for what cannot be meant."""
    if endpoint is not None and endpoints is not None:
        raise ValueError("give either endpoint or endpoints")
    given = endpoint if endpoint is not None else endpoints
    if given is None:
        given = os.environ.get("FAUNA_ENDPOINT") or ENDPOINT_DEFAULT
    texts = given.split(",") if isinstance(given, str) else list(given)
    if not texts:
        raise ValueError("there is no endpoint")
    if connections < 1:
        raise ValueError("a client needs at least one connection")
    return Settings(
        tuple(dict.fromkeys(map(read_endpoint, texts))),
        secret or os.environ.get("FAUNA_SECRET") or SECRET_DEFAULT,
        connections,
    )


def read_endpoint(text: str) -> str:
    """Return scheme, host and port of a URL. Raises `ValueError`."""
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"no endpoint: {text!r}: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"no endpoint: {text!r}: it looks like http://host:8443")
    return str(url.copy_with(path="/", query=None, fragment=None)).rstrip("/")


def positive_s(name: str, value: float) -> float:
    """Return `value` when it is a time to wait in seconds. Raises `ValueError`."""
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{name} is a number of seconds above 0, not {value}")
    return seconds
