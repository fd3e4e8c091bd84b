"""`faunadb dev`: one member that is alone, for people who write programs against it.

It is the real thing (log, fsync, recovery) without peers, certificates and Kubernetes. Data
stay in a folder; the next start goes on with them.
"""

import asyncio
import hashlib
import signal
import time
from pathlib import Path

import click

from faunadb.api.auth import Authenticator
from faunadb.api.front import Front
from faunadb.cli.opening import Opening
from faunadb.cli.program import MemberDatabase, RunningMember
from faunadb.cli.settings import Address, MemberSettings
from faunadb.disk.crashes import report_crashes
from faunadb.raft.entries import Configuration, MemberId
from faunadb.raft.messages import Message

DRAIN_S = 3.0
POLL_S = 0.002


class NoPeers:
    """Implements `ports.Peers` for a member that is alone."""

    def set_peers(self, configuration: Configuration) -> None:
        """Connect to nobody."""
        assert len(configuration.everyone()) <= 1, "a member of `faunadb dev` is alone"

    def send(self, to: MemberId, message: Message) -> None:
        raise AssertionError(f"a message to member {to}, who cannot exist: {message}")

    def send_node(self, to: MemberId, kind: int, body: bytes) -> bool:  # noqa: ARG002 - the port's
        return False


def dev_settings(data_dir: Path, listen: Address, secret: str) -> MemberSettings:
    """Return the settings of a lone member: its cluster id comes from its folder."""
    folder = str(data_dir.resolve()).encode()
    return MemberSettings(
        data_dir=data_dir,
        cluster_id=hashlib.sha256(b"faunadb dev" + folder).digest()[:16],
        incarnation=1,
        member_id=MemberId(1),
        name=listen.host,
        root_secret=secret,
        client_listen=listen,
    )


async def run_dev(settings: MemberSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    began_s = time.monotonic()
    opening = Opening(settings)
    report_crashes(opening.path)
    running = RunningMember(
        settings, opening, opening.open() or opening.found(), NoPeers(), transfer=None
    )
    database = MemberDatabase(settings.client_listen.port)
    front = Front(database, Authenticator(settings.root_secret))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(running.run())
        await _lead_and_open(running)
        database.running = running
        port = await front.start(settings.client_listen.host, settings.client_listen.port)
        click.echo(
            f"faunadb dev is ready after {time.monotonic() - began_s:.2f} s: "
            f"http://{settings.client_listen.host}:{port}  data in {settings.data_dir}"
        )
        await stopped.wait()
        await front.drain(DRAIN_S)
        work.cancel()
    await front.close()
    running.close()


async def _lead_and_open(running: RunningMember) -> None:
    """Elect the only member, and let clients write."""
    node = running.node
    node.act(node.member.campaign_now)
    while node.member.leadership is None:  # noqa: ASYNC110 - once in a process
        await asyncio.sleep(POLL_S)
    if not running.state.is_open:
        node.act(node.member.open)
    while not (running.state.is_open and node.member.leadership is not None):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
