"""Members of a cluster as real processes on loopback addresses, for tests, pages and figures.

    with cluster(3) as members:      three voters, open for clients
        members.leader().kill()      kill -9, by pid
        members.wait_for_leader()

House rules: every process is started through `setpriv --pdeathsig KILL` and ended by its pid when
the context ends, however it ends; conditions are waited for with hang limits that are far above
what is expected; what members print is kept in `.run/logs/process/`.

Trap: all members use the same three ports, each on an address of its own, because a member tells
clients its own client port for every member.
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from faunadb.net.tls import client_context

ROOT = Path(__file__).parent.parent.parent
LOGS = ROOT / ".run" / "logs" / "process"
PROGRAM = (sys.executable, "-P", "-m", "faunadb")
TIED = ("setpriv", "--pdeathsig", "KILL", "--")  # dies with the thread that started it
HANG_S = 60.0  # twenty times what anything here should take
CALL_S = 20.0
POLL_S = 0.02
SECRET = "secret"
T = TypeVar("T")
NO_ANSWER = (OSError, http.client.HTTPException)


class NeverHappened(Exception):
    """A condition did not come true within its hang limit."""


def wait_until(condition: Callable[[], T | None], what: str, limit_s: float = HANG_S) -> T:
    """Return the first true value of `condition`; raises `NeverHappened`."""
    give_up_s = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > give_up_s:
            raise NeverHappened(f"not within {limit_s:.0f} s: {what}")
        time.sleep(POLL_S)


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    body: Any

    @property
    def data(self) -> Any:
        """The result of a query that must have worked."""
        assert self.status == 200, f"{self.status}: {self.body}"
        return self.body["data"]


@dataclass(frozen=True)
class Place:
    """Where a member listens, and what the whole cluster shares."""

    id: int
    host: str
    client_port: int
    admin_port: int
    peer_port: int

    @property
    def name(self) -> str:
        return f"{self.host}:{self.peer_port}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.client_port}"

    @property
    def admin_endpoint(self) -> str:
        return f"https://{self.host}:{self.admin_port}"


@dataclass
class MemberProcess:
    """One `faunadb serve`, running or not."""

    place: Place
    data_dir: Path
    arguments: Sequence[str]
    operator_tls: Path
    log: Path
    program: Sequence[str] = PROGRAM
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it must not be running."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*TIED, *self.program, *self.arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with kill -9 and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def exit_code(self, limit_s: float = HANG_S) -> int:
        """Wait until it has ended by itself."""
        assert self.process is not None
        return self.process.wait(limit_s)

    def last_line(self) -> dict[str, Any]:
        """Return the last line of its log, which must be JSON."""
        line = self.log.read_text().rstrip().rpartition("\n")[2]
        found: dict[str, Any] = json.loads(line)
        return found

    def rss_bytes(self) -> int:
        """Return the resident memory of the member's own process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    # ------------------------------------------------------------ what it says

    def query(
        self, text: str, timeout_s: float = CALL_S, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask in plain JSON on a connection of its own. Raises the errors of `NO_ANSWER`."""
        body = json.dumps({"query": text}).encode()
        return self.post(body, timeout_s, headers)

    def post(
        self, body: bytes, timeout_s: float = CALL_S, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send any bytes as a query."""
        place = self.place
        link = http.client.HTTPConnection(place.host, place.client_port, timeout=timeout_s)
        sent = {"authorization": f"Bearer {SECRET}", **(headers or {})}
        try:
            link.request("POST", "/query/1", body, sent)
            response = link.getresponse()
            return Answer(response.status, json.loads(response.read()))
        finally:
            link.close()

    def admin(self, path: str, body: Any = None) -> Answer:
        """Call the admin API as the operator does. Raises the errors of `NO_ANSWER`."""
        link = http.client.HTTPSConnection(
            self.place.host,
            self.place.admin_port,
            timeout=CALL_S,
            context=client_context(self.operator_tls),
        )
        try:
            method = "GET" if body is None else "POST"
            link.request(method, path, None if body is None else json.dumps(body))
            response = link.getresponse()
            return Answer(response.status, _body_of(response))
        finally:
            link.close()

    def status(self) -> dict[str, Any]:
        """Return `GET /cluster`, {} while it does not answer."""
        try:
            answer = self.admin("/cluster")
        except NO_ANSWER:
            return {}
        return answer.body if answer.status == 200 else {}

    def leads(self) -> bool:
        return self.status().get("role") == "leader"


class Cluster:
    """Members that belong together; made by `cluster`."""

    def __init__(self, members: list[MemberProcess], folder: Path, cluster_id: str) -> None:
        self.members, self.folder, self.cluster_id = members, folder, cluster_id

    def __getitem__(self, number: int) -> MemberProcess:
        """Return the member with this id; ids begin at 1."""
        return self.members[number - 1]

    @property
    def alive(self) -> list[MemberProcess]:
        return [m for m in self.members if m.process is not None and m.process.poll() is None]

    def leader(self) -> MemberProcess:
        """Return the member that leads and knows that a majority follows it; waits for it."""
        return wait_until(self._leader, "a leader")

    def _leader(self) -> MemberProcess | None:
        for member in self.alive:
            status = member.status()
            if status.get("role") == "leader" and status.get("configuration") is not None:
                return member
        return None

    def followers(self) -> list[MemberProcess]:
        leader = self.leader()
        return [member for member in self.alive if member is not leader]

    def form(self) -> None:
        """Make all members voters and let clients write."""
        first = self.members[0]
        wait_until(first.status, "the first member answers")
        body = {"cluster_id": self.cluster_id, "incarnation": 1}
        assert first.admin("/cluster/init", body).status == 200
        wait_until(first.leads, "the first member leads")
        self.grow(self.members[1:])
        self.open(len(self.members))

    def grow(self, members: Sequence[MemberProcess]) -> None:
        """Make these members, which run and wait, voters of the cluster."""
        for member in members:
            added = {"id": member.place.id, "name": member.place.name}
            self._change("add_learner", partial(_as_it_is, added))
        for member in members:
            self._change("promote", partial(_caught_up, member_id=member.place.id))

    def open(self, voters: int) -> None:
        """Let clients write, once there are so many voters."""
        wait_until(
            lambda: self.leader().admin("/cluster/open", {"voters": voters}).status == 200,
            "clients may write",
        )

    def _change(self, op: str, of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Ask whoever leads, until it is done; under load leadership may move meanwhile."""

        def tried() -> bool:
            leader = self.leader()
            status = leader.status()
            member = of(status)
            if not member or not status.get("configuration"):
                return False
            body = {"op": op, "member": member, "if": status["configuration"]["id"]}
            try:
                return leader.admin("/cluster/membership", body).status == 200 or self._has(
                    op, member
                )
            except NO_ANSWER:
                return False

        wait_until(tried, f"{op} is committed")

    def _has(self, op: str, member: dict[str, Any]) -> bool:
        """Return whether a change whose answer was lost is committed."""
        configuration = self.leader().status().get("configuration") or {}
        kind = "learners" if op == "add_learner" else "voters"
        return member["id"] in {found["id"] for found in configuration.get(kind, ())}

    def wait_until_all_agree(self) -> None:
        """Wait until every member that runs has applied what the leader has committed."""
        commit = self.leader().status()["commit"]
        for member in self.alive:
            wait_until(
                partial(_has_applied, member, commit),
                f"member {member.place.id} has applied {commit}",
            )

    def end(self) -> None:
        for member in self.members:
            if member.process is not None and member.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    member.signal(signal.SIGCONT)
            member.kill()


def _body_of(response: http.client.HTTPResponse) -> Any:
    """Return JSON as what it says, text as text, and anything else as bytes."""
    block, kind = response.read(), response.headers.get("content-type", "")
    if "json" in kind:
        return json.loads(block)
    return block.decode() if "text" in kind else block


def _has_applied(member: MemberProcess, index: int) -> bool:
    applied: int = member.status().get("applied", 0)
    return applied >= index


def _as_it_is(member: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return member


def _caught_up(status: dict[str, Any], *, member_id: int) -> dict[str, Any]:
    for member in status.get("members") or ():
        if member["id"] == member_id and member["caught_up"] and member["nonce"]:
            return {"id": member_id, "nonce": member["nonce"]}
    return {}


@contextlib.contextmanager
def cluster(
    count: int,
    *,
    formed: bool = True,
    programs: Mapping[int, Sequence[str]] | None = None,
    environments: Mapping[int, Mapping[str, str]] | None = None,
    places: Sequence[Place] | None = None,
    folder: Path | None = None,
) -> Iterator[Cluster]:
    """Run `count` members; `programs` and `environments` are by member id.

    `places` are found on loopback when they are not given; `folder` is removed at the end.
    """
    folder = folder or Path(tempfile.mkdtemp(prefix="fauna-process-"))
    made = Cluster([], folder, uuid.uuid4().hex)
    places = places or find_places(count)
    tls, secret = folder / "tls", folder / "root-secret"
    secret.write_text(SECRET)
    make_certificates(tls, made.cluster_id, places)
    logs = LOGS / folder.name
    logs.mkdir(parents=True)
    for place in places:
        member = MemberProcess(
            place=place,
            data_dir=folder / f"data-{place.id}",
            arguments=serve_arguments(folder, made.cluster_id, place),
            operator_tls=tls / "operator",
            log=logs / f"member-{place.id}.log",
            program=(programs or {}).get(place.id, PROGRAM),
            environment=(environments or {}).get(place.id, {}),
        )
        made.members.append(member)
    try:
        for member in made.members:
            member.start()
        if formed:
            made.form()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


def serve_arguments(folder: Path, cluster_id: str, place: Place) -> list[str]:
    """Return the words after `faunadb`."""
    options = {
        "--data-dir": folder / f"data-{place.id}",
        "--cluster-id": cluster_id,
        "--incarnation": 1,
        "--member-id": place.id,
        "--name": place.name,
        "--tls-dir": folder / "tls" / f"m{place.id}",
        "--root-secret-file": folder / "root-secret",
        "--api-listen": f"{place.host}:{place.client_port}",
        "--admin-listen": f"{place.host}:{place.admin_port}",
        "--peer-listen": place.name,
    }
    return ["serve", *(str(word) for pair in options.items() for word in pair)]


def make_certificates(folder: Path, cluster_id: str, places: Sequence[Place]) -> None:
    members = [word for p in places for word in ("--member", f"m{p.id}={p.host}")]
    run_program("dev-ca", str(folder), "--cluster-id", cluster_id, *members)


def run_program(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `faunadb` to its end."""
    done = subprocess.run(
        [*TIED, *PROGRAM, *words], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done


def find_places(count: int) -> list[Place]:
    """Return loopback addresses on which the same three ports are free."""
    while True:
        net = f"127.{random.randint(64, 250)}.{random.randint(1, 250)}"
        base = random.randint(20_000, 32_000)  # below what the system gives to outgoing connections
        hosts = [f"{net}.{number + 1}" for number in range(count)]
        if all(is_free(host, base + offset) for host in hosts for offset in range(3)):
            return [
                Place(number + 1, host, base, base + 1, base + 2)
                for number, host in enumerate(hosts)
            ]


def is_free(host: str, port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return False
    return True
