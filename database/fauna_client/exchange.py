"""Between steps and httpx: the same for threads and for event loops."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from fauna_client.course import Call, new_request_id
from fauna_client.settings import Settings
from fauna_client.steps import Answered, Happened, Lost, NotSent, Send
from fauna_client.tagged import encode_arguments, encode_query
from fauna_client.template import Template
from fauna_client.values import Page

CLOSED = "fauna_client is closed"
IDLE_S = 60.0  # a connection that nobody used for so long is closed


def new_call(
    query: str | Template,
    arguments: Mapping[str, Any],
    *,
    nonce: bytes,
    secret: str,
    last_txn_ts: int,
    timeout_s: float,
    connect_s: float,
) -> Call:
    """Encode a query. Raises `ValueError` and `TypeError` for what cannot be sent."""
    content = {"query": encode_query(query), "arguments": encode_arguments(arguments)}
    headers = {
        "authorization": f"Bearer {secret}",
        "content-type": "application/json;charset=utf-8",
        "x-format": "tagged",
        "x-driver": "fauna_client",
        "x-fauna-request-id": new_request_id(nonce),
    }
    if last_txn_ts:
        headers["x-last-txn-ts"] = str(last_txn_ts)
    return Call(msgspec.json.encode(content), headers, timeout_s, connect_s)


def limits(settings: Settings) -> httpx.Limits:
    """Return how many connections a client holds."""
    return httpx.Limits(
        max_connections=settings.connections,
        max_keepalive_connections=settings.connections,
        keepalive_expiry=IDLE_S,
    )


def verified(settings: Settings) -> bool:
    """Return whether certificates are loaded, which takes a while and is in vain for http."""
    return any(endpoint.startswith("https:") for endpoint in settings.endpoints)


def request_of(send: Send, secret: str) -> dict[str, Any]:
    """Return the arguments of httpx's `request`."""
    timeout = httpx.Timeout(send.silence_s, connect=send.connect_s, pool=send.pool_s)
    headers = send.headers or {"authorization": f"Bearer {secret}"}
    return {
        "method": send.method,
        "url": send.endpoint + send.path,
        "headers": headers,
        "content": send.body,
        "timeout": timeout,
    }


def happened(answer: httpx.Response | Exception) -> Happened:
    """Tell apart what was certainly not heard from what may have been."""
    match answer:
        case httpx.Response():
            return Answered(answer.status_code, answer.content, _retry_after_s(answer))
        case httpx.PoolTimeout():
            return NotSent("all connections of this client are busy", ours=True)
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.InvalidURL():
            return NotSent(_reason(answer))
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return NotSent(_reason(answer))
    return Lost(_reason(answer))


def next_page(value: Any) -> Page:
    """Return a page, also of the plain object that `Set.paginate` answers."""
    match value:
        case Page():
            return value
        case {"data": list(data), "after": str(after)}:
            return Page(data, after)
        case {"data": list(data)}:
            return Page(data)
    raise TypeError(f"the query returned no set but {type(value).__name__}")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0
