"""What a conversation with the cluster consists of, whoever carries it out.

`course` and `survey` are generators: they yield a step, are sent what came of it, and know no
socket. `Client` carries the steps out with threads, `AsyncClient` on an event loop.
"""

import msgspec


class Send(msgspec.Struct, frozen=True):
    """Send a request and wait: `connect_s` to connect, `silence_s` for each piece of the answer.

    Before that, wait up to `pool_s` for a free connection of the client.
    """

    endpoint: str
    method: str
    path: str
    connect_s: float
    silence_s: float
    pool_s: float
    headers: dict[str, str] = {}
    body: bytes = b""


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for a while."""

    seconds: float


class Answered(msgspec.Struct, frozen=True):
    """A whole answer came."""

    status: int
    body: bytes
    retry_after_s: float = 0.0


class NotSent(msgspec.Struct, frozen=True):
    """Nobody heard the request; `ours` when the client had no free connection for it."""

    reason: str
    ours: bool = False


class Lost(msgspec.Struct, frozen=True):
    """It may have been heard; no answer came."""

    reason: str


Step = Send | Wait
Happened = Answered | NotSent | Lost | None
