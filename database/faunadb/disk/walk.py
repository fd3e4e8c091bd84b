"""Walk a copy of the state in a process of its own: `python -m faunadb.disk.walk PATH PARENT`.

Prints how many pairs verified. Exit code 1 with a sentence on standard error when one did not;
a tree that kills the process says so by its exit code.

Trap: it must not outlive the member that waits for it, nor compete with it for the processor.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

from faunadb.disk.engine import walk
from faunadb.errors import Corrupt

_PR_SET_PDEATHSIG = 1
_NICENESS = 19


def main(arguments: list[str]) -> int:
    """Walk and print; return the exit code."""
    path, parent = Path(arguments[0]), int(arguments[1])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICENESS)
    if os.getppid() != parent:
        return 1
    try:
        sys.stdout.write(f"{walk(path)}\n")
    except (Corrupt, OSError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
