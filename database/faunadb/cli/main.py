"""The commands, their options and their help. What they do is in the modules beside."""

import asyncio
import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import uvloop

from faunadb.cli.admin import call, committed, endpoint_options, show
from faunadb.cli.backup_options import BACKUP_COMMANDS
from faunadb.cli.exits import IDENTITY_OR_CORRUPTION, IO_ERROR, USAGE, fail
from faunadb.cli.settings import Address
from faunadb.errors import Corrupt, Unavailable

if not __debug__:
    sys.exit("faunadb: refuses to run under python -O: assertions are part of the program")


class _Listen(click.ParamType[Address]):
    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


LISTEN = _Listen()


def main() -> None:
    """Run the command line; usage errors end with 64."""
    try:
        code = commands.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(USAGE)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="faunadb-kubernetes")
def commands() -> None:
    """A strictly serializable document database that official Fauna drivers can use."""


@commands.command()
@click.option(
    "--data",
    "data_dir",
    default=".faunadb",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps the data.",
)
@click.option("--listen", type=LISTEN, default="127.0.0.1:8443", show_default=True)
@click.option("--secret", default="secret", show_default=True, help="The root secret.")
def dev(data_dir: Path, listen: Address, secret: str) -> None:
    """Run one member on this machine, for development."""
    from faunadb.cli.dev import dev_settings, run_dev  # noqa: PLC0415 - keeps --help fast

    run_program(lambda: uvloop.run(run_dev(dev_settings(data_dir, listen, secret))))


@commands.command()
@click.option("--data-dir", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--cluster-id", required=True, help="32 hex digits, drawn once for a cluster.")
@click.option("--incarnation", required=True, type=click.IntRange(min=1))
@click.option("--member-id", required=True, type=click.IntRange(min=1), help="Never used again.")
@click.option("--name", required=True, help="DNS name of this member, with :port if not 7500.")
@click.option("--seeds", default="", help="Names to look for members at; comma-separated.")
@click.option(
    "--tls-dir",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with ca.crt, tls.crt and tls.key of this member.",
)
@click.option(
    "--root-secret-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose content is the root secret.",
)
@click.option("--api-listen", type=LISTEN, default="0.0.0.0:8443", show_default=True)
@click.option("--admin-listen", type=LISTEN, default="0.0.0.0:8444", show_default=True)
@click.option("--peer-listen", type=LISTEN, default="0.0.0.0:7500", show_default=True)
@click.option(
    "--recover-single",
    is_flag=True,
    help="After the loss of a majority: be the only voter of a later incarnation.",
)
@click.option("--from-incarnation", type=click.IntRange(min=1), help="The one that is lost.")
@click.option("--to-incarnation", type=click.IntRange(min=1), help="The one that begins.")
@click.option(
    "--floor-ts",
    type=click.IntRange(min=0),
    help="Its timestamps start above this, too; microseconds.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="FAUNADB_LOG_FORMAT",
)
def serve(**options: Any) -> None:
    """Run a member of a cluster; an empty directory waits to be told or to be added."""
    from faunadb.cli.serve import serve_member, settings_of  # noqa: PLC0415 - keeps --help fast

    settings = settings_of(options)
    run_program(lambda: uvloop.run(serve_member(settings)))


@commands.command()
@endpoint_options
@click.option("--cluster-id", required=True)
@click.option("--incarnation", required=True, type=int)
def init(cluster_id: str, incarnation: int, **where: Any) -> None:
    """Form the cluster at this empty member; say it to one member only."""
    show(call(**where, path="/cluster/init", body=_body(cluster_id, incarnation)))


def _body(cluster_id: str, incarnation: int) -> dict[str, Any]:
    return {"cluster_id": cluster_id, "incarnation": incarnation}


@commands.command("open")
@endpoint_options
@click.option("--voters", required=True, type=int, help="How many voters there must be.")
def open_(voters: int, **where: Any) -> None:
    """Let clients write, once all voters are there."""
    show(call(**where, path="/cluster/open", body={"voters": voters}))


@commands.command()
@endpoint_options
def status(**where: Any) -> None:
    """Show what a member knows of itself and, at the leader, of the cluster."""
    show(call(**where, path="/cluster"))


@commands.command()
@endpoint_options
@click.option("--to", type=int, default=None, help="Member id; the most caught-up one if left out.")
def transfer(to: int | None, **where: Any) -> None:
    """Hand leadership over."""
    show(call(**where, path="/cluster/transfer", body={"to": to}))


@commands.group()
def member() -> None:
    """Change who is a member."""


@member.command("add")
@endpoint_options
@click.argument("member_id", type=int)
@click.argument("name")
def member_add(member_id: int, name: str, **where: Any) -> None:
    """Add a member as a learner."""
    _change(where, {"op": "add_learner", "member": {"id": member_id, "name": name}})


@member.command("promote")
@endpoint_options
@click.argument("member_id", type=int)
def member_promote(member_id: int, **where: Any) -> None:
    """Make a learner that has caught up a voter."""
    _change(
        where, {"op": "promote", "member": {"id": member_id, "nonce": _nonce(where, member_id)}}
    )


@member.command("remove")
@endpoint_options
@click.argument("member_id", type=int)
def member_remove(member_id: int, **where: Any) -> None:
    """Remove a member; its id is never used again."""
    _change(where, {"op": "remove", "member": {"id": member_id}})


@member.command("swap")
@endpoint_options
@click.argument("learner_id", type=int)
@click.argument("outgoing_id", type=int)
def member_swap(learner_id: int, outgoing_id: int, **where: Any) -> None:
    """Put a learner in a voter's place, in one change."""
    nonce = _nonce(where, learner_id)
    incoming = {"id": learner_id, "nonce": nonce}
    _change(where, {"op": "swap", "member": incoming, "outgoing": outgoing_id})


def _change(where: dict[str, Any], body: dict[str, Any]) -> None:
    """Ask for a change, on the condition that the configuration is the one that is seen now."""
    configuration = committed(**where)["configuration"]
    body["if"] = {key: configuration["id"][key] for key in ("incarnation", "term", "index")}
    show(call(**where, path="/cluster/membership", body=body))


def _nonce(where: dict[str, Any], member_id: int) -> str:
    heard = {found["id"]: found["nonce"] for found in committed(**where)["members"]}
    if not heard.get(member_id):
        fail(1, "change_refused", f"the leader has not heard member {member_id} yet")
    return str(heard[member_id])


@commands.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--cluster-id", required=True, help="32 hex digits.")
@click.option(
    "--member",
    "members",
    multiple=True,
    required=True,
    metavar="NAME=HOST[,HOST]",
    help="One for each member: folder name, and the hosts in its certificate.",
)
def dev_ca(folder: Path, cluster_id: str, members: tuple[str, ...]) -> None:
    """Make a certificate authority and leaves for members as processes."""
    from faunadb.api.dev_ca import write_dev_ca  # noqa: PLC0415 - keeps --help fast

    named = {}
    for text in members:
        name, equals, hosts = text.partition("=")
        if not equals or not hosts:
            raise click.BadParameter(f"{text!r} is not NAME=HOST[,HOST]")
        named[name] = hosts.split(",")
    try:
        write_dev_ca(folder, cluster_id, named, now=dt.datetime.fromtimestamp(time.time(), dt.UTC))
    except FileExistsError:
        fail(1, "exists", f"{folder} has an authority already")
    click.echo(f"wrote {folder}: {', '.join([*named, 'operator', 'backup'])}")


@commands.command()
@click.argument("data_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
def inspect(data_dir: Path) -> None:
    """Say what a stopped member's directory holds, without changing it."""
    from faunadb.cli.inspection import inspect_directory  # noqa: PLC0415 - keeps --help fast

    run_program(lambda: show(inspect_directory(data_dir)))


@commands.command(hidden=True)
@click.argument("data_dir", type=click.Path(path_type=Path))
@click.argument("cursor_key")
@click.argument("incarnation")
@click.argument("parent", type=int)
def worker(data_dir: Path, cursor_key: str, incarnation: str, parent: int) -> None:
    """Evaluate long queries for the member that started this process."""
    from faunadb.cli.worker import run_worker  # noqa: PLC0415 - keeps --help fast

    run_worker(data_dir, bytes.fromhex(cursor_key), bytes.fromhex(incarnation), parent)


for _command in BACKUP_COMMANDS:
    commands.add_command(_command)


def run_program(program: Callable[[], None]) -> None:
    """Run a member; what it cannot survive becomes an exit code and one line of JSON."""
    problem: BaseException | None = None
    try:
        program()
    except* (Corrupt, Unavailable, OSError) as group:
        problem = _first_of(group)  # to fail here would bury the exit in a group
    except* asyncio.CancelledError:
        pass
    if isinstance(problem, Corrupt):
        fail(IDENTITY_OR_CORRUPTION, problem.reason, problem.detail)
    if problem is not None:
        reason = "in-use" if isinstance(problem, Unavailable) else "io"
        fail(IO_ERROR, reason, str(problem))


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception that is no group; corruption goes before all else."""
    leaves = [
        _first_of(found) if isinstance(found, BaseExceptionGroup) else found
        for found in group.exceptions
    ]
    return next((leaf for leaf in leaves if isinstance(leaf, Corrupt)), leaves[0])
