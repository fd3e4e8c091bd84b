"""Which member gives its state, and how does it come here whole?

    survey     GET /cluster of all members at once
    choose     a follower that is far, before the leader
    fetch      GET /snapshot?fresh=true into a file; a broken connection goes on where it broke

The member takes a snapshot at a read point: everything that was acknowledged before the question
is in it. What came is believed only when its state hash was computed anew (`take.py`).

House rules: nobody is asked twice for what is here already (`If-Match`, `Range`). `choose` is pure.
Trap: a download that goes on is of the very same snapshot, of the same member, or begins again.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp

from faunadb.backup.progress import Pace, Progress
from faunadb.disk.ports import DATA_NAME
from faunadb.net.tls import client_context

Prefer = Literal["follower", "leader", "any"]
ADMIN_PORT = 8444
SURVEY_S = 10.0
ANSWER_S = 600.0  # taking a fresh snapshot of a large state is silent for a while
ATTEMPTS_MAX = 5  # without a byte of progress, for one member
RESTARTS_MAX = 5  # because a snapshot was replaced while it was read
RETRY_S = 1.0
CHUNK_BYTES = 1024 * 1024
_GONE, _LATER = 412, 503


class NoMember(OSError):
    """No member gave its state; the message says what each of them said."""


class MemberRefused(Exception):
    """A member refused for a reason that repeating does not change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Candidate:
    """A member that answered `GET /cluster`."""

    address: str
    report: dict[str, Any]


@dataclass(frozen=True)
class Fetched:
    """A snapshot that is here: `{folder}/data.mdb`, unverified."""

    candidate: Candidate
    term: int
    index: int
    size_bytes: int


def address_of(text: str) -> str:
    """Return `host:port`, with the admin port where `text` names none."""
    host, colon, port = text.strip().rpartition(":")
    if colon and port.isdecimal() and host:
        return f"{host}:{port}"
    return f"{text.strip()}:{ADMIN_PORT}"


def choose(found: Iterable[Candidate], cluster_id: str, prefer: Prefer) -> list[Candidate]:
    """Return who may be asked for the state, best first.

    Only the latest incarnation counts, and of two members the one that has applied more.
    """
    members = [
        each
        for each in found
        if each.report["state"] == "member" and each.report["cluster_id"] == cluster_id
    ]
    latest = max((each.report["incarnation"] for each in members), default=0)
    members = [each for each in members if each.report["incarnation"] == latest]

    def rank(each: Candidate) -> tuple[bool, int]:
        leads = each.report["role"] == "leader"
        unwanted = {"follower": leads, "leader": not leads, "any": False}[prefer]
        return unwanted, -each.report["applied"]

    return sorted(members, key=rank)


@dataclass(frozen=True)
class Source:
    """The members of a cluster as a client of their admin ports."""

    members: tuple[str, ...]
    tls_dir: Path
    cluster_id: str
    prefer: Prefer
    mib_s: float

    async def fetch(self, folder: Path, progress: Progress) -> Fetched:
        """Fetch a fresh snapshot into `folder`. Raises `NoMember`, `MemberRefused`, OSError."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SURVEY_S, sock_read=ANSWER_S)
        connector = aiohttp.TCPConnector(ssl=client_context(self.tls_dir))
        said: list[str] = []
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            found = await self._survey(session, said)
            candidates = choose(found, self.cluster_id, self.prefer)
            said += [
                f"{each.address}: {each.report['state']} of cluster {each.report['cluster_id']}"
                for each in found
                if each not in candidates
            ]
            for candidate in candidates:
                download = _Download(session, candidate, folder, Pace(self.mib_s), progress)
                try:
                    return await download.run()
                except NoMember as problem:
                    said.append(f"{candidate.address}: {problem}")
        raise NoMember("; ".join(said))

    async def _survey(self, session: aiohttp.ClientSession, said: list[str]) -> list[Candidate]:
        async def ask(address: str) -> Candidate | None:
            try:
                async with (
                    asyncio.timeout(SURVEY_S),
                    session.get(f"https://{address}/cluster") as answer,
                ):
                    body = json.loads(await answer.text())
                    if answer.status == 200:
                        return Candidate(address, body)
                    said.append(f"{address}: {body['error']['message']}")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
                said.append(f"{address}: {problem or 'no answer in time'}")
            return None

        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(address_of(each))) for each in self.members]
        return [found for task in asked if (found := task.result()) is not None]


class _Download:
    """One snapshot of one member, over as many connections as it takes."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        candidate: Candidate,
        folder: Path,
        pace: Pace,
        progress: Progress,
    ) -> None:
        self._session, self._candidate, self._progress = session, candidate, progress
        self._target = folder / DATA_NAME
        self._pace = pace
        self._tag, self._size, self._restarts = "", 0, 0

    async def run(self) -> Fetched:
        """Raises `NoMember` when the member gives up, or we do; `MemberRefused`."""
        self._target.unlink(missing_ok=True)
        attempts, problem = 0, ""
        while attempts < ATTEMPTS_MAX:
            here = self._here()
            try:
                if fetched := await self._attempt():
                    return fetched
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as broken:
                problem = f"{type(broken).__name__}: {broken}"
            except _Later as later:
                problem = str(later)
            attempts = 0 if self._here() > here else attempts + 1
            self._progress.stage("again", why=problem, member=self._candidate.address)
            await asyncio.sleep(RETRY_S)
        raise NoMember(problem)

    async def _attempt(self) -> Fetched | None:
        """Ask for what is missing; None when the snapshot is gone and the next one begins at 0."""
        here = self._here()
        url = f"https://{self._candidate.address}/snapshot"
        headers = {"range": f"bytes={here}-", "if-match": self._tag} if here else {}
        parameters = {} if here else {"fresh": "true"}
        if not here:
            self._progress.stage("snapshot", member=self._candidate.address)
        async with self._session.get(url, params=parameters, headers=headers) as answer:
            if answer.status == _GONE:
                self._begin_again()
                return None
            if answer.status != (206 if here else 200):
                await _refuse(answer)
            size = here + (answer.content_length or 0)
            if not here:
                self._tag, self._size = answer.headers["etag"], size
                self._progress.stage("download", size, member=self._candidate.address)
                self._progress.advance(here)
            if (self._tag, self._size) != (answer.headers["etag"], size):
                self._begin_again()
                return None
            await self._write(answer, here)
            return Fetched(
                self._candidate,
                int(answer.headers["x-fauna-snapshot-term"]),
                int(answer.headers["x-fauna-snapshot-index"]),
                size,
            )

    async def _write(self, answer: aiohttp.ClientResponse, here: int) -> None:
        with self._target.open("ab") as file:
            assert file.tell() == here
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                file.write(chunk)
                self._progress.advance(len(chunk))
                if pause_s := self._pace.pause_s(len(chunk)):
                    await asyncio.sleep(pause_s)

    def _begin_again(self) -> None:
        """The snapshot that we read was replaced by another."""
        self._target.unlink()
        self._restarts += 1
        if self._restarts > RESTARTS_MAX:
            raise NoMember("its snapshots are replaced faster than they are read")

    def _here(self) -> int:
        """Return how many bytes are here."""
        return self._target.stat().st_size if self._target.exists() else 0


class _Later(Exception):
    """The member cannot do it now."""


async def _refuse(answer: aiohttp.ClientResponse) -> None:
    try:
        error = json.loads(await answer.text())["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = str(answer.status), "no reason was given"
    if answer.status == _LATER:
        raise _Later(message)
    raise MemberRefused(code, message)
