"""The commands, their options and their help. What they do is in the modules beside."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import click
import uvloop

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


@commands.command(hidden=True)
@click.argument("data_dir", type=click.Path(path_type=Path))
@click.argument("cursor_key")
@click.argument("incarnation")
@click.argument("parent", type=int)
def worker(data_dir: Path, cursor_key: str, incarnation: str, parent: int) -> None:
    """Evaluate long queries for the member that started this process."""
    from faunadb.cli.worker import run_worker  # noqa: PLC0415 - keeps --help fast

    run_worker(data_dir, bytes.fromhex(cursor_key), bytes.fromhex(incarnation), parent)


def run_program(program: Callable[[], None]) -> None:
    """Run a member; what it cannot survive becomes an exit code and one line of JSON."""
    try:
        program()
    except* Corrupt as group:
        problem = group.exceptions[0]
        assert isinstance(problem, Corrupt)
        fail(IDENTITY_OR_CORRUPTION, problem.reason, problem.detail)
    except* Unavailable as group:
        fail(IO_ERROR, "in-use", str(group.exceptions[0]))
    except* OSError as group:
        fail(IO_ERROR, "io", str(group.exceptions[0]))
    except* asyncio.CancelledError:
        pass
