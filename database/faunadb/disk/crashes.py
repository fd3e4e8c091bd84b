"""Did the process before this one die of what it read?

LMDB maps its file: a broken page is not an error there but a signal (SIGBUS behind a torn end,
SIGABRT from an assertion, SIGSEGV), which kills the process, and would kill it again after every
start. The standard library's fault handler writes into the file CRASHED when that happens; a
start that finds something in it does not believe the state, whatever its marks say, and builds it
anew. Nothing of the log's durability hangs on this.

Trap: kill -9 and a loss of power leave CRASHED empty, and they must: nothing is rebuilt for them.
"""

import faulthandler
from pathlib import Path

from faunadb.disk.seals import write_new
from faunadb.node.ports import Files

CRASHED = "CRASHED"


def report_crashes(root: Path) -> None:
    """Let this process say in the data directory that it dies of a signal like SIGBUS.

    For the rest of its life; the file is opened for that and never closed.
    """
    faulthandler.enable((root / CRASHED).open("ab"))


def has_crashed(files: Files) -> bool:
    """Say whether a process before this one died of such a signal."""
    if CRASHED not in files.list(""):
        return False
    file = files.open(CRASHED)
    try:
        return file.size() > 0
    finally:
        file.close()


def forget_crash(files: Files) -> None:
    """Begin anew, once the state that it read is not believed any more."""
    write_new(files, CRASHED, b"")
