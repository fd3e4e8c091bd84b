"""`fauna_client` against real members: `faunadb dev`, and three that lose their leaders."""

import asyncio
import datetime as dt
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from e2e.workload import Workload
from fauna_client import AsyncClient, Client, Document, Module, QueryError, Reference, fql
from process.cluster import cluster

pytestmark = pytest.mark.process
HANG_S = 60.0


class Dev:
    """`faunadb dev` on one port and folder, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        listen = f"127.0.0.1:{self.port}"
        data = str(self._folder / "data")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faunadb", "dev", "--listen", listen, "--data", data],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + HANG_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(HANG_S)

    def end(self) -> None:
        """Stop it as a person would, by its own pid."""
        self.kill(signal.SIGTERM)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ping", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    started = Dev(tmp_path)
    started.start()
    yield started
    started.end()


def test_values_go_there_and_back(dev: Dev) -> None:
    """Every type that can be sent comes back equal."""
    now = dt.datetime(2026, 11, 23, 21, 0, 0, 123456, tzinfo=dt.UTC)
    values = {
        "int": 42,
        "long": 2**40,
        "double": 1e16,
        "text": "Łódź 🎈",
        "none": None,
        "yes": True,
        "list": [1, [2.5, "x"]],
        "object": {"@tag": 1, "b": {}},
        "time": now,
        "date": dt.date(2026, 11, 23),
        "bytes": b"\x00\xff",
        "module": Module("Collection"),
    }

    with Client(dev.url) as client:
        assert values == client.query("values", values=values)
        assert values == client.query(fql("${values}", values=values))


def test_documents_pages_and_references(dev: Dev) -> None:
    """A collection is filled, read page by page, and asked for what is not there."""
    with Client(dev.url) as client:
        client.query('Collection.create({ name: "User" })')
        made = client.query("User.create({ name: name })", name="Ada")
        assert isinstance(made, Document)
        again = client.query("user.update({ age: 36 })", user=made)
        missing = client.query('User.byId("1")')
        for number in range(40):
            client.query("User.create({ number: number })", number=number)
        pages = [len(page) for page in client.pages("User.all().pageSize(15)")]

    assert ("Ada", 36, made.id) == (again["name"], again["age"], again.id)
    assert Reference(coll="User", id="1", exists=False, cause="not found") == missing
    assert [15, 15, 11] == pages


def test_errors_point_into_the_query(dev: Dev) -> None:
    """Code, summary, and the value of abort."""
    with Client(dev.url) as client:
        with pytest.raises(QueryError) as wrong:
            client.query("let a = 1\na.b(2)")
        with pytest.raises(QueryError) as aborted:
            client.query("abort({ left: 0 })")

    assert "at *query*:2" in wrong.value.summary
    assert {"left": 0} == aborted.value.abort


def test_the_twin_does_the_same(dev: Dev) -> None:
    """Many queries at once on one event loop."""

    async def main() -> tuple[list[int], int]:
        async with AsyncClient(dev.url) as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.query("n * 2", n=n)) for n in range(50)]
            count = await client.get_node_count()
        return [task.result() for task in tasks], count

    assert ([n * 2 for n in range(50)], 1) == asyncio.run(main())


def test_a_history_through_kills_is_linearizable(dev: Dev) -> None:
    """kill -9 twice under two kinds of clients: nothing acknowledged is lost or done twice."""
    with Workload([dev.url]) as workload:
        for _ in range(2):
            workload.run_until(writes=200)
            with workload.fault("kill -9") as fault:
                dev.kill()
                dev.start()
            workload.await_recovery(fault)
        workload.run_until(writes=100)
    print(workload.report())

    workload.assert_linearizable(acknowledged_min=400)
    with pytest.raises(AssertionError, match="operations"):
        workload.assert_linearizable(acknowledged_min=len(workload.history) + 1)
    lie = next(n for n, o in enumerate(workload.history) if o.kind == "cas" and o.result)
    workload.history[lie] = msgspec.structs.replace(workload.history[lie], result=False)
    with pytest.raises(AssertionError, match="not linearizable"):
        workload.assert_linearizable(acknowledged_min=400)


def test_three_members_lose_their_leaders() -> None:
    """One endpoint finds three members; killed leaders cost neither an answer nor the order."""
    with cluster(3) as made:
        endpoints = [member.place.endpoint for member in made.members]
        with Client(endpoints[0]) as client, Workload(endpoints) as workload:
            assert 3 == client.get_node_count()
            for number in range(3):
                workload.run_until(writes=300)
                leader = made.leader()
                with workload.fault(f"kill -9 of leader {number}") as fault:
                    leader.kill()
                workload.await_recovery(fault)
                assert 2 == client.query("1 + 1")
                leader.start()
                made.wait_until_all_agree()
            workload.run_until(writes=300)
        print(workload.report())

        workload.assert_linearizable()
