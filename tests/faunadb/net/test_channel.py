"""When frames leave: once a turn, and what is not urgent with the next that is."""

import asyncio
from collections.abc import Coroutine

from faunadb.net.channel import PATIENCE_S, Channel
from faunadb.net.frames import Frame, Kind, encode_frame

NOTE, MESSAGE = encode_frame(Kind.MESSAGE, b"note"), encode_frame(Kind.MESSAGE, b"entries")


class Loop(asyncio.SelectorEventLoop):
    """Its clock moves when a test says so."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))


class Owner:
    def opened(self, channel: Channel) -> None:
        """Nothing is said."""

    def came(self, channel: Channel, frame: Frame) -> None:
        """Nothing comes."""

    def lost(self, channel: Channel) -> None:
        """It was of no use."""


def run(story: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(story)


def open_channel() -> tuple[Channel, Wire]:
    channel, wire = Channel(Owner()), Wire()
    channel.connection_made(wire)
    return channel, wire


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_is_not_urgent_leaves_with_the_next_frame_that_is() -> None:
    """In order, in one write, however many turns later."""

    async def story() -> None:
        channel, wire = open_channel()
        assert channel.send(Kind.MESSAGE, b"note", urgent=False)
        await turns()
        assert [] == wire.writes
        assert channel.send(Kind.MESSAGE, b"entries")
        await turns()

        assert [NOTE + MESSAGE] == wire.writes

    run(story())


def test_what_is_not_urgent_leaves_by_itself_after_a_while() -> None:
    """And what was sent before with another frame is not waited for again."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        channel, wire = open_channel()
        channel.send(Kind.MESSAGE, b"note", urgent=False)
        loop.now_s += 2 * PATIENCE_S
        await turns()
        assert [NOTE] == wire.writes

        channel.send(Kind.MESSAGE, b"note", urgent=False)
        channel.send(Kind.MESSAGE, b"entries")
        await turns()
        loop.now_s += 2 * PATIENCE_S
        await turns()
        assert [NOTE, NOTE + MESSAGE] == wire.writes

    run(story())


def test_what_waits_is_sent_when_the_connection_takes_more() -> None:
    """A full connection holds back what is urgent and what is not."""

    async def story() -> None:
        channel, wire = open_channel()
        channel.pause_writing()
        channel.send(Kind.MESSAGE, b"note", urgent=False)
        channel.send(Kind.MESSAGE, b"entries")
        await turns()
        assert [] == wire.writes
        channel.resume_writing()

        assert [NOTE + MESSAGE] == wire.writes

    run(story())
