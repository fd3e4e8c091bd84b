"""`faunadb archive`: the log of a cluster, continuously, into an object store, and how far it is.

    GET /readyz   200 while the archive is at most 60 s behind
    GET /status   archived_index, archived_ts, commit, lag_s, gaps, problem

Plain HTTP: nothing secret is said, and a kubelet has no certificate.
"""

import asyncio
import signal
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from faunadb.backup.archive import Archive, Limits
from faunadb.backup.layout import MIB, check_cluster_id
from faunadb.backup.log_source import LogSource
from faunadb.backup.objects import Objects, StoreFailed, StoreMisnamed, open_store
from faunadb.cli.exits import IO_ERROR, USAGE, fail
from faunadb.cli.logs import Logger
from faunadb.cli.settings import Address


def run_archive(options: dict[str, Any]) -> None:
    """Archive until SIGTERM; ends the program with a reason when it cannot begin."""
    members = [each for each in options["members"].split(",") if each.strip()]
    try:
        options["cluster_id"] = check_cluster_id(options["cluster_id"])
        listen = Address.parse(options["listen"])
        objects = open_store(options["store"], options["credentials_dir"])
    except (StoreMisnamed, ValueError) as problem:
        fail(USAGE, "usage", str(problem))
    except OSError as problem:
        fail(IO_ERROR, "io", str(problem))
    if not members:
        fail(USAGE, "usage", "--members names nobody")
    try:
        asyncio.run(_archive(options, members, listen, objects))
    except* StoreFailed as group:
        fail(IO_ERROR, "store", str(group.exceptions[0]))
    except* OSError as group:
        fail(IO_ERROR, "io", str(group.exceptions[0]))


async def _archive(
    options: dict[str, Any], members: list[str], listen: Address, objects: Objects
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    limits = Limits(options["segment_mib"] * MIB, options["every_s"])
    logger = Logger(options["log_format"], "archive")
    tls_dir: Path = options["tls_dir"]
    async with LogSource(members, tls_dir, options["cluster_id"]) as source:
        archive = Archive(options["cluster_id"], objects, source, limits, logger.line)
        runner = await _listen(archive, listen)
        logger.line("listening", at=runner.addresses[0])
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(archive.run())
                await stopped.wait()
                work.cancel()
        finally:
            await runner.cleanup()


async def _listen(archive: Archive, listen: Address) -> web.AppRunner:
    async def ready(_: web.Request) -> web.Response:
        status = archive.status()
        text = "ready" if archive.is_ready else status.problem or f"{status.lag_s} s behind"
        return web.Response(status=200 if archive.is_ready else 503, text=f"{text}\n")

    async def status(_: web.Request) -> web.Response:
        body = msgspec.json.encode(archive.status())
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/readyz", ready)
    app.router.add_get("/status", status)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, listen.host, listen.port, reuse_address=True).start()
    return runner
