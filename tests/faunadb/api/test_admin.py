"""The admin port, and that `docs/admin-api.md` says what it does."""

import asyncio
import datetime as dt
import json
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from faunadb.api.admin import AdminServer
from faunadb.api.dev_ca import write_dev_ca
from faunadb.api.ports import LogStream, SnapshotStream
from faunadb.net.tls import client_context, server_context
from faunadb.node.report import (
    ClusterReport,
    ConfigurationReport,
    InitAsked,
    InitReport,
    MemberName,
    MembershipAsked,
    OpenAsked,
    Refused,
    TransferAsked,
)

pytestmark = pytest.mark.anyio
CLUSTER = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"
PAGE = (Path(__file__).parents[3] / "docs/admin-api.md").read_text()
EXAMPLES: dict[str, Any] = {
    name: json.loads(body)
    for name, body in re.findall(r"<!-- example: (.*?) -->\n```json\n(.*?)```", PAGE, re.DOTALL)
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("ca")
    now = dt.datetime.now(dt.UTC)
    write_dev_ca(home / "ours", CLUSTER, {"m-1": ["localhost"]}, now=now)
    write_dev_ca(home / "other", "0" * 32, {"m-1": ["localhost"]}, now=now)
    return home


class FakeAdministration:
    """Answers what the page says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.refuse: Refused | None = None
        self.reason = ""

    def _took(self, asked: Any) -> None:
        self.asked.append(asked)
        if self.refuse is not None:
            raise self.refuse

    async def cluster(self) -> ClusterReport:
        self._took("cluster")
        return msgspec.convert(EXAMPLES["cluster leader"], ClusterReport)

    async def init(self, asked: InitAsked) -> InitReport:
        self._took(asked)
        return msgspec.convert(EXAMPLES["answer init"], InitReport)

    async def open(self, asked: OpenAsked) -> None:
        self._took(asked)

    async def membership(self, asked: MembershipAsked) -> ConfigurationReport:
        self._took(asked)
        body = EXAMPLES["answer membership"]["configuration"]
        return msgspec.convert(body, ConfigurationReport)

    async def transfer(self, asked: TransferAsked) -> MemberName:
        self._took(asked)
        return msgspec.convert(EXAMPLES["answer transfer"]["leader"], MemberName)

    async def snapshot(self, offset: int, digest: str | None, *, fresh: bool) -> SnapshotStream:
        self._took((offset, digest, fresh))
        data = bytes(range(200))

        async def chunks() -> AsyncGenerator[bytes, None]:
            for at in range(offset, len(data), 50):
                yield data[at : at + 50]

        return SnapshotStream("ab" * 32, 3, 7, len(data), chunks())

    async def log(self, start: int) -> LogStream:
        self._took(start)

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield b"three "
            yield b"records"

        return LogStream(2, "cd" * 16, start + 2, chunks())

    def metrics(self) -> bytes:
        return b"faunadb_up 1\n"

    def ready(self) -> str:
        return self.reason


class Door:
    """An admin server on loopback and a session of the operator."""

    def __init__(self, folder: Path) -> None:
        self.administration = FakeAdministration()
        self._server = AdminServer(self.administration, CLUSTER)
        self._folder = folder

    async def start(self) -> None:
        context = server_context(self._folder / "ours/m-1", anonymous=True)
        port = await self._server.start("127.0.0.1", 0, context)
        self.url = f"https://127.0.0.1:{port}"

    async def close(self) -> None:
        await self._server.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        context: ssl.SSLContext | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes, Any]:
        context = context or client_context(self._folder / "ours/operator")
        timeout = aiohttp.ClientTimeout(total=10)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            async with session.request(
                method, self.url + path, data=data, server_hostname="localhost", headers=headers
            ) as answer:
                return answer.status, await answer.read(), answer.headers


@pytest.fixture
async def door(folder: Path) -> AsyncIterator[Door]:
    async with opened(folder) as opened_door:
        yield opened_door


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Door]:
    made = Door(folder)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
        await asyncio.sleep(0.05)  # sockets of TLS close a turn later


def anonymous(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "ours/m-1/ca.crt"))


@pytest.mark.parametrize("name", ["cluster leader", "cluster waiting"])
async def test_reports_of_the_page_are_ours(name: str) -> None:
    """Both examples of GET /cluster hold every field and no other."""
    report = msgspec.convert(EXAMPLES[name], ClusterReport)

    assert EXAMPLES[name] == json.loads(msgspec.json.encode(report))


@pytest.mark.parametrize(
    ("path", "request_name", "answer_name"),
    [
        ("/cluster/init", "request init", "answer init"),
        ("/cluster/open", "request open", "answer open"),
        ("/cluster/membership", "request membership add_learner", "answer membership"),
        ("/cluster/membership", "request membership swap", "answer membership"),
        ("/cluster/transfer", "request transfer", "answer transfer"),
    ],
)
async def test_each_request_of_the_page_gets_its_answer(
    door: Door, path: str, request_name: str, answer_name: str
) -> None:
    """What the page shows is understood whole, and answered as it shows."""
    status, body, _ = await door.call("POST", path, EXAMPLES[request_name])

    assert (200, EXAMPLES[answer_name]) == (status, json.loads(body))
    asked = json.loads(msgspec.json.encode(door.administration.asked[0]))
    assert EXAMPLES[request_name] == without_null(asked)


def without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    return value


async def test_the_cluster_is_shown(door: Door) -> None:
    """GET /cluster is the page's example."""
    status, body, _ = await door.call("GET", "/cluster")

    assert (200, EXAMPLES["cluster leader"]) == (status, json.loads(body))


@pytest.mark.parametrize("name", ["error 409", "error 409 configuration_changed"])
async def test_refusals_are_those_of_the_page(door: Door, name: str) -> None:
    """A refusal carries the leader or the committed configuration."""
    example = EXAMPLES[name]
    leader, configuration = example["leader"], example["configuration"]
    door.administration.refuse = Refused(
        example["error"]["code"],
        example["error"]["message"],
        leader=msgspec.convert(leader, MemberName | None),
        configuration=msgspec.convert(configuration, ConfigurationReport | None),
    )
    status, body, _ = await door.call("POST", "/cluster/open", {"voters": 3})

    assert (409, example) == (status, json.loads(body))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/cluster/open", b"{", 400, "invalid_request"),
        ("POST", "/cluster/open", b"\xff", 400, "invalid_request"),
        ("POST", "/cluster/open", {"voters": "3"}, 400, "invalid_request"),
        ("POST", "/cluster/open", {"voters": 3, "x": 1}, 400, "invalid_request"),
        ("POST", "/cluster/open", b"[" * 60_000, 400, "invalid_request"),
        ("POST", "/cluster/open", b"x" * 70_000, 413, "request_size_exceeded"),
        (
            "POST",
            "/cluster/membership",
            {"op": "promote", "member": {"id": 1}, "if": {"incarnation": 1, "term": 1, "index": 1}},
            400,
            "invalid_request",
        ),
        ("GET", "/nothing", None, 404, "not_found"),
        ("DELETE", "/cluster", None, 405, "method_not_allowed"),
    ],
)
async def test_wrong_requests_are_refused(  # noqa: PLR0917 - columns of the table
    door: Door, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """Each gets its code, and nothing reaches the member."""
    got, answer, _ = await door.call(method, path, body)

    assert (status, code) == (got, json.loads(answer)["error"]["code"])
    assert [] == door.administration.asked


async def test_without_a_certificate_only_probes_are_answered(door: Door, folder: Path) -> None:
    """A kubelet may ask whether we live, a Prometheus may scrape; they may not change anything."""
    context = anonymous(folder)
    assert 200 == (await door.call("GET", "/livez", context=context))[0]
    assert 200 == (await door.call("GET", "/readyz", context=context))[0]
    door.administration.reason = "applying"
    status, body, _ = await door.call("GET", "/readyz", context=context)
    assert (503, b"applying\n") == (status, body)
    assert 200 == (await door.call("GET", "/metrics", context=context))[0]
    for path in ("/cluster", "/snapshot", "/nothing"):
        status, body, _ = await door.call("GET", path, context=context)
        assert (403, "certificate_required") == (status, json.loads(body)["error"]["code"])
    assert [] == door.administration.asked


async def test_a_leaf_of_another_authority_is_refused(door: Door, folder: Path) -> None:
    """Its handshake fails."""
    context = client_context(folder / "other/m-1")
    context.load_verify_locations(folder / "ours/m-1/ca.crt")
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        await door.call("GET", "/cluster", context=context)


async def test_metrics_are_text(door: Door) -> None:
    """What the member counts is shown as it is."""
    assert b"faunadb_up 1\n" == (await door.call("GET", "/metrics"))[1]


async def test_a_snapshot_streams_and_resumes(door: Door) -> None:
    """The whole, then the rest from an offset under the same digest."""
    status, body, headers = await door.call("GET", "/snapshot")
    assert (200, bytes(range(200))) == (status, body)
    assert f'"{"ab" * 32}"' == headers["etag"]
    assert ("7", "3") == (headers["x-fauna-snapshot-index"], headers["x-fauna-snapshot-term"])
    more = {"range": "bytes=150-", "if-match": headers["etag"]}
    status, body, headers = await door.call("GET", "/snapshot", headers=more)
    assert (206, bytes(range(150, 200))) == (status, body)
    assert "bytes 150-199/200" == headers["content-range"]
    assert [(0, None, False), (150, "ab" * 32, False)] == door.administration.asked
    status, _, _ = await door.call("GET", "/snapshot", headers={"range": "bytes=5-"})
    assert 400 == status


async def test_a_fresh_snapshot_is_asked_for_in_one_way(door: Door) -> None:
    """`fresh=true` is passed on; with a digest it contradicts itself; other words say nothing."""
    assert 200 == (await door.call("GET", "/snapshot?fresh=true"))[0]
    assert [(0, None, True)] == door.administration.asked
    tag = {"if-match": "ab" * 32}
    assert 400 == (await door.call("GET", "/snapshot?fresh=true", headers=tag))[0]
    assert 400 == (await door.call("GET", "/snapshot?fresh=yes"))[0]
    assert 400 == (await door.call("GET", "/snapshot?stale=true"))[0]


async def test_the_log_streams_from_where_it_is_asked(door: Door) -> None:
    """The headers say of which incarnation it is, and up to where."""
    status, body, headers = await door.call("GET", "/log?from=41")
    assert (200, b"three records") == (status, body)
    assert ("2", "cd" * 16) == (headers["x-fauna-incarnation"], headers["x-fauna-incarnation-salt"])
    assert "43" == headers["x-fauna-log-last"]
    assert [41] == door.administration.asked
    for wrong in ("", "?from=", "?from=0", "?from=-1", "?from=1&to=2", "?from=" + "9" * 19):
        assert 400 == (await door.call("GET", f"/log{wrong}"))[0]


async def test_a_log_that_was_cut_says_where_it_begins(door: Door) -> None:
    """410 names the first entry that is left."""
    door.administration.refuse = Refused("log_gone", "the log begins at 4001 here", first=4001)
    status, body, _ = await door.call("GET", "/log?from=7")

    assert (410, EXAMPLES["error 410 log_gone"]) == (status, json.loads(body))


async def test_the_role_backup_may_only_read(door: Door, folder: Path) -> None:
    """A leaf with a role does what the role allows; the same paths refuse all else."""
    context = client_context(folder / "ours/backup")
    for path in ("/cluster", "/snapshot", "/log?from=1"):
        assert 200 == (await door.call("GET", path, context=context))[0]
    asked = len(door.administration.asked)
    for method, path in (
        ("POST", "/cluster/init"),
        ("POST", "/cluster/membership"),
        ("POST", "/cluster/transfer"),
        ("POST", "/cluster/open"),
        ("POST", "/snapshot"),
        ("GET", "/nothing"),
    ):
        status, body, _ = await door.call(method, path, {}, context=context)
        assert (403, "role_forbidden") == (status, json.loads(body)["error"]["code"])
    assert asked == len(door.administration.asked)
    assert 200 == (await door.call("GET", "/metrics", context=context))[0]
