"""A door to a real API server at which things go wrong, for an operator process to go through.

Of every thousand requests some are answered 409, 429 or 500, some with what was true before, some
not at all; a write may be done although its answer says 500. Watches lose events. Which, is drawn
from a seed. House rule: a Lease passes, because losing it only ends the process. The trap: an old
answer is what the same question had before, so a first question is never answered falsely.
"""

import asyncio
import json
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from bare_kubernetes import Bare

HELD_S = 11.0  # longer than the operator waits for an answer
ANSWERS_KEPT = 4
PER_THOUSAND = {  # a look is a dozen reads, and half of all looks shall come through
    "409": 50,
    "429": 10,
    "500": 10,
    "500 but done": 40,
    "old": 20,
    "cut": 10,
    "held": 2,
}
LOST_EVENTS_PERCENT = 25
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
HANDED_ON = ("Accept", "Content-Type")


@dataclass
class FaultyDoor:
    """The door; `happened` counts what went wrong."""

    bare: Bare
    chance: random.Random
    session: aiohttp.ClientSession
    happened: Counter[str] = field(default_factory=Counter)
    wrong: bool = True  # whether anything goes wrong at all
    past: dict[str, list[bytes]] = field(default_factory=dict)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Hand a request on, or do what goes wrong with it."""
        if "watch" in request.query:
            return await self._watch(request)
        fault = self._drawn(request)
        self.happened[fault or "well"] += 1
        match fault:
            case "409" | "429" | "500":
                return _failure(int(fault))
            case "old":
                old = self.chance.choice(self.past[_question(request)])
                return web.Response(body=old, content_type="application/json")
            case "held":
                await asyncio.sleep(HELD_S)
        if fault in ("cut", "held"):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        async with self._hand_on(request) as answer:
            body = await answer.read()
        if fault == "500 but done":
            return _failure(500)
        if request.method == "GET" and answer.status == 200:
            kept = self.past.setdefault(_question(request), [])
            kept.append(body)
            del kept[:-ANSWERS_KEPT]
        kind = answer.headers.get("Content-Type", "application/json")
        return web.Response(status=answer.status, body=body, headers={"Content-Type": kind})

    def _drawn(self, request: web.Request) -> str:
        """Return what goes wrong with a request, "" when nothing does."""
        ours = "/apis/fauna.dev/" in request.path or "/namespaces/" in request.path
        if not self.wrong or not ours or "/leases" in request.path:
            return ""
        fault, drawn = "", self.chance.randrange(1000)
        for name, share in PER_THOUSAND.items():
            if 0 <= drawn < share:
                fault = name
            drawn -= share
        writes = request.method in WRITES
        possible = {
            "409": writes,
            "500 but done": writes,
            "old": not writes and _question(request) in self.past,
        }
        return fault if possible.get(fault, True) else ""

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """Hand on a watch, line by line, but not every event."""
        async with self._hand_on(request) as answer:
            response = web.StreamResponse(status=answer.status)
            await response.prepare(request)
            while line := await answer.content.readline():
                about = json.loads(line).get("type")
                event = about in ("ADDED", "MODIFIED", "DELETED")
                if self.wrong and event and self.chance.randrange(100) < LOST_EVENTS_PERCENT:
                    self.happened["event lost"] += 1
                    continue
                await response.write(line)
        return response

    @asynccontextmanager
    async def _hand_on(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        kept = {name: request.headers[name] for name in HANDED_ON if name in request.headers}
        async with self.session.request(
            request.method,
            f"{self.bare.address}{request.path_qs}",
            data=await request.read() or None,
            headers={**kept, "Authorization": "Bearer program-token"},
        ) as answer:
            yield answer


@asynccontextmanager
async def faulty_door(bare: Bare, seed: int) -> AsyncIterator[tuple[FaultyDoor, str]]:
    """Open a door while the block runs; also give its address."""
    certificate = bare.folder / "certificates" / "apiserver.crt"
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=certificate))
    async with aiohttp.ClientSession(connector=connector, read_bufsize=2**22) as session:
        door = FaultyDoor(bare, random.Random(seed), session)
        application = web.Application()
        application.add_routes([web.route("*", "/{path:.*}", door.serve)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield door, f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def _question(request: web.Request) -> str:
    return f"{request.path_qs} {request.headers.get('Accept')}"


def _failure(status: int) -> web.Response:
    headers = {"Retry-After": "1"} if status == 429 else {}
    told = {"kind": "Status", "message": "so it was drawn", "code": status}
    return web.json_response(told, status=status, headers=headers)
