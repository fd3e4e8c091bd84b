"""`AsyncClient` over real sockets: the twin of `Client`."""

import asyncio
import socket

import pytest

from fake_member_test_helpers import error, members, ok
from fauna_client import AsyncClient, OutcomeUnknown, QueryError, Unauthorized, Unavailable

HANG_S = 20.0


def test_queries_run_side_by_side() -> None:
    """Each gets its own answer."""

    async def main(url: str) -> list[int]:
        async with AsyncClient(url, connections=4) as client:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(client.query("1")) for _ in range(40)]
            return [task.result() for task in tasks]

    with members(1) as (one,):
        one.data = {"@int": "1"}
        assert [1] * 40 == asyncio.run(main(one.url))
        assert one.peak <= 4


def test_it_fails_over_under_one_request_id() -> None:
    """The member that it used dies; another one answers."""

    async def main(urls: list[str]) -> bool:
        async with AsyncClient(endpoints=urls, query_timeout=HANG_S) as client:
            await client.query("1")
            breaks = iter([None])  # the first sending, whichever member is near by then
            for member in three:
                member.script = [lambda: next(breaks, ok(None))]
            result = await client.run("2")
            used = next(member for member in three if member.script == [])
            await asyncio.to_thread(used.down)
            await client.query("3")
            return result.certain and client.is_connected

    with members(3) as three:
        for member in three:
            member.script = []
        assert not asyncio.run(main([member.url for member in three]))
        second = [
            headers["x-fauna-request-id"]
            for member in three
            for headers, body in member.asked
            if body["query"] == "2"
        ]
        assert (2, 1) == (len(second), len(set(second)))


def test_it_counts_nodes_and_closes_once() -> None:
    """After `close` it does nothing, as its twin."""

    async def main(url: str) -> tuple[object, ...]:
        client = AsyncClient(url)
        before = client.is_connected
        await client.open()
        await client.open()
        count = await client.get_node_count()
        await client.close()
        await client.close()
        with pytest.raises(SystemError, match=r"^fauna_client is closed$"):
            await client.query("1")
        return before, count, client.is_connected, await client.get_node_count()

    with members(3) as three:
        assert (False, 3, False, 0) == asyncio.run(main(three[0].url))


def test_errors_are_those_of_its_twin() -> None:
    """An error in the body of `async with` comes out as it is."""

    async def main(url: str) -> None:
        async with AsyncClient(url, query_timeout=0.3) as client:
            await client.query("1")

    with members(1) as (one,):
        one.script = [error(400, "invalid_query")]
        with pytest.raises(QueryError):
            asyncio.run(main(one.url))
        one.script = [None] * 1000
        with pytest.raises(OutcomeUnknown):
            asyncio.run(main(one.url))


def test_nobody_and_a_wrong_secret_are_connection_errors() -> None:
    """Within `connect_timeout`."""

    async def main(url: str, secret: str) -> None:
        async with AsyncClient(url, secret=secret, connect_timeout=0.3):
            pass

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="not connected"):
        asyncio.run(main(f"http://127.0.0.1:{port}", "secret"))
    with members(1) as (one,), pytest.raises(Unauthorized):
        asyncio.run(main(one.url, "wrong"))


def test_pages_are_read_to_the_end() -> None:
    """Page after page, asked for when they are needed."""

    async def main(url: str) -> list[list[int]]:
        async with AsyncClient(url) as client:
            return [list(page) async for page in client.pages("A.all()")]

    with members(1) as (one,):
        one.script = [
            ok({"@set": {"data": [{"@int": "1"}], "after": "c1"}}),
            ok({"data": [{"@int": "2"}]}),
        ]
        assert [[1], [2]] == asyncio.run(main(one.url))


def test_contention_is_waited_out() -> None:
    """The pause between attempts leaves the loop to others."""

    async def main(url: str) -> int:
        async with AsyncClient(url, query_timeout=HANG_S) as client:
            return (await client.run("1")).attempts

    with members(1) as (one,):
        one.script = [error(409, "contended_transaction")] * 2
        assert 3 == asyncio.run(main(one.url))
