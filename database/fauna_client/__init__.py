"""A small client of a faunadb cluster: finds its members, fails over, applies a write once."""

from fauna_client.async_client import AsyncClient
from fauna_client.client import Client
from fauna_client.errors import (
    Contended,
    DeadlineExceeded,
    FaunaError,
    OutcomeUnknown,
    QueryError,
    ServerError,
    Unauthorized,
    Unavailable,
)
from fauna_client.template import Template, fql
from fauna_client.values import (
    Document,
    EventSource,
    Module,
    Moment,
    Page,
    Reference,
    Result,
    SetCursor,
)

__all__ = [
    "AsyncClient",
    "Client",
    "Contended",
    "DeadlineExceeded",
    "Document",
    "EventSource",
    "FaunaError",
    "Module",
    "Moment",
    "OutcomeUnknown",
    "Page",
    "QueryError",
    "Reference",
    "Result",
    "ServerError",
    "SetCursor",
    "Template",
    "Unauthorized",
    "Unavailable",
    "fql",
]
