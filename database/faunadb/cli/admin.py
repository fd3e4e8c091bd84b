"""Tell a running member what to do, or ask what it knows: the admin API from the shell.

Every verb is one call of `docs/admin-api.md` over mutual TLS. The answer is printed as JSON, so
that a script and a person read the same. What only the leader can do may be said to any member
that knows it: the verb goes on to the leader's host, at the port that was given.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click

from faunadb.cli.exits import IO_ERROR, fail
from faunadb.net.tls import client_context

TIMEOUT_S = 15.0
HOPS_MAX = 3  # from member to leader; more means that they do not agree


def endpoint_options(command: Any) -> Any:
    """Add the options that every verb has."""
    command = click.option(
        "--endpoint",
        default="https://127.0.0.1:8444",
        show_default=True,
        envvar="FAUNADB_ADMIN_ENDPOINT",
        show_envvar=True,
        help="Admin address of a member.",
    )(command)
    command = click.option(
        "--tls-dir",
        required=True,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        envvar="FAUNADB_TLS_DIR",
        show_envvar=True,
        help="Folder with ca.crt, tls.crt and tls.key of this caller.",
    )(command)
    return click.option(
        "--server-name",
        default=None,
        help="Name in the member's certificate, when the endpoint is an address.",
    )(command)


def call(
    endpoint: str,
    tls_dir: Path,
    server_name: str | None,
    path: str,
    body: dict[str, Any] | None = None,
) -> Any:
    """Make one call and return its JSON; ends the program with a sentence when it fails."""
    status, answer = _follow(endpoint, tls_dir, server_name, path, body)
    if status != 200:
        error_body = answer.get("error", {}) if isinstance(answer, dict) else {}
        fail(
            1,
            str(error_body.get("code", status)),
            str(error_body.get("message", answer)),
        )
    return answer


def committed(endpoint: str, tls_dir: Path, server_name: str | None) -> dict[str, Any]:
    """Return what the leader shows of the cluster; ends the program when none is known."""
    for _ in range(HOPS_MAX):
        report: dict[str, Any] = call(endpoint, tls_dir, server_name, "/cluster")
        leader = report["leader"]
        if report["configuration"] is not None or not leader:
            break
        if leader["id"] != report["member_id"]:
            endpoint, server_name = _beside(endpoint, leader["name"]), None
    if report["configuration"] is None:
        hint = f"member {leader['id']} at {leader['name']}" if leader else "none is known"
        fail(1, "not_leader", f"no member shows a committed configuration; leader: {hint}")
    return report


def _follow(
    endpoint: str, tls_dir: Path, server_name: str | None, path: str, body: dict[str, Any] | None
) -> tuple[int, Any]:
    for _ in range(HOPS_MAX):
        try:
            status, answer = asyncio.run(_call(endpoint + path, tls_dir, server_name, body))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            fail(IO_ERROR, "unreachable", f"{endpoint} does not answer: {error}")
        leader = answer.get("leader") if status == 409 and isinstance(answer, dict) else None
        if not leader or answer["error"]["code"] != "not_leader":
            break
        endpoint, server_name = _beside(endpoint, leader["name"]), None
    return status, answer


def _beside(endpoint: str, name: str) -> str:
    """Return where the member called `name` listens, if at the same port as `endpoint`."""
    host = name.rpartition(":")[0] or name
    return f"https://{host}:{urlsplit(endpoint).port or 443}"


def show(answer: Any) -> None:
    """Print an answer for people and scripts."""
    json.dump(answer, sys.stdout, indent=2)
    sys.stdout.write("\n")


async def _call(
    url: str, tls_dir: Path, server_name: str | None, body: dict[str, Any] | None
) -> tuple[int, Any]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(ssl=client_context(tls_dir))
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        method = "GET" if body is None else "POST"
        async with session.request(method, url, json=body, server_hostname=server_name) as response:
            return response.status, json.loads(await response.text())
