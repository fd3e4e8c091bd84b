"""What a client asks of a source of events, on its way through the members of a cluster.

Values only: `feeds` answers them, `query` carries them.
"""

import msgspec


class FeedAsked(msgspec.Struct, frozen=True, array_like=True):
    """A page of a source's events behind `start` (time, ordinal); None begins where the token says.

    `page_size` 0 only opens it. `changes` (time, ordinal, document) are what a stream was told of;
    None looks into history.
    """

    token: str
    page_size: int
    start: tuple[int, int] | None = None
    stream: bool = False
    changes: tuple[tuple[int, int, int], ...] | None = None


class Opened(msgspec.Struct, frozen=True):
    """Which keys a stream has to be woken for, and the place where it begins."""

    start: bytes
    end: bytes
    place: tuple[int, int]
