"""The verbs of backups, their options and their help. What they do is in `backup_runs.py`."""

from pathlib import Path
from typing import Any

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)


def _store_options(command: Any) -> Any:
    command = click.option(
        "--credentials-dir",
        type=_EXISTING,
        help="Folder with access-key-id, secret-access-key and, if needed, session-token, ca.crt.",
    )(command)
    command = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        envvar="FAUNADB_LOG_FORMAT",
    )(command)
    return click.option(
        "--store",
        required=True,
        metavar="URL",
        help="s3://bucket/prefix?region=…&endpoint=…&path_style=true or file:///folder.",
    )(command)


def _backup_id(command: Any) -> Any:
    return click.option("--backup-id", required=True, help="Name of the backup in its store.")(
        command
    )


def _cluster_id(command: Any) -> Any:
    return click.option("--cluster-id", required=True, help="32 hex digits.")(command)


def _scratch(command: Any) -> Any:
    return click.option(
        "--scratch-dir",
        type=_FOLDER,
        help="Folder with room for the state, twice for a restore; the system's if left out.",
    )(command)


@click.command()
@click.option("--members", required=True, metavar="HOST:8444[,…]", help="Admin addresses.")
@click.option("--tls-dir", required=True, type=_EXISTING, envvar="FAUNADB_TLS_DIR")
@_cluster_id
@_backup_id
@_store_options
@_scratch
@click.option(
    "--verify",
    type=click.Choice(["none", "checksum", "restore"]),
    default="checksum",
    show_default=True,
    help="Read every part back, or restore it all into scratch.",
)
@click.option("--bandwidth-mib-s", type=click.FloatRange(min=0), default=0, help="0: no limit.")
@click.option(
    "--prefer",
    type=click.Choice(["follower", "leader", "any"]),
    default="follower",
    show_default=True,
)
def backup(**options: Any) -> None:
    """Put the state of a running cluster into an object store."""
    from faunadb.cli.backup_runs import run_backup  # noqa: PLC0415 - keeps --help fast

    run_backup(options)


@click.command()
@_cluster_id
@_backup_id
@_store_options
@_scratch
@click.option("--restore", is_flag=True, help="Restore it into scratch and compare state hashes.")
def verify(**options: Any) -> None:
    """Read a backup back and compare it with its manifest."""
    from faunadb.cli.backup_runs import run_verify  # noqa: PLC0415 - keeps --help fast

    run_verify(options)


@click.command()
@_store_options
@click.option("--from-cluster-id", required=True, help="Cluster that was backed up.")
@_backup_id
@click.option("--data-dir", required=True, type=_FOLDER, help="A folder without a member.")
@click.option("--cluster-id", required=True, help="The same, or one drawn for a new cluster.")
@click.option("--incarnation", required=True, type=click.IntRange(min=1))
@click.option("--member-id", required=True, type=click.IntRange(min=1), help="Never used before.")
@click.option("--name", required=True, help="DNS name of the member, with :port if not 7500.")
@click.option(
    "--floor-ts",
    type=click.IntRange(min=0),
    default=0,
    help="Timestamps start above this, too; microseconds.",
)
@click.option("--target-index", type=click.IntRange(min=1), help="Replay the archive to an entry,")
@click.option("--target-time", metavar="RFC3339", help="or to the last transaction until then.")
@click.option("--dry-run", is_flag=True, help="Say what would be restored and lost; write nothing.")
def restore(**options: Any) -> None:
    """Make a backup the first member of a cluster."""
    from faunadb.cli.backup_runs import run_restore  # noqa: PLC0415 - keeps --help fast

    run_restore(options)


@click.command()
@_cluster_id
@_backup_id
@_store_options
def discard(**options: Any) -> None:
    """Remove a backup from its store, complete or not; may be repeated."""
    from faunadb.cli.backup_runs import run_discard  # noqa: PLC0415 - keeps --help fast

    run_discard(options)


@click.command()
@click.option("--members", required=True, metavar="HOST:8444[,…]", help="Admin addresses.")
@click.option("--tls-dir", required=True, type=_EXISTING, envvar="FAUNADB_TLS_DIR")
@_cluster_id
@_store_options
@click.option(
    "--segment-mib",
    type=click.IntRange(1, 64),
    default=16,
    show_default=True,
    help="A segment is written when it is full,",
)
@click.option(
    "--every-s",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="or when its first entry has waited for so long.",
)
@click.option(
    "--listen", default="0.0.0.0:8080", show_default=True, help="For /readyz and /status."
)
def archive(**options: Any) -> None:
    """Put the log of a running cluster into an object store, until told to stop."""
    from faunadb.cli.archive import run_archive  # noqa: PLC0415 - keeps --help fast

    run_archive(options)


BACKUP_COMMANDS = (backup, verify, restore, discard, archive)
