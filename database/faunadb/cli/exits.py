"""How the program ends: exit codes that mean something, and one line of JSON for machines."""

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

USAGE = 64
IO_ERROR = 74
IDENTITY_OR_CORRUPTION = 78
TERMINATION_MESSAGE = Path("/dev/termination-log")  # a kubelet makes it; elsewhere absent


def fail(code: int, reason: str, detail: str) -> NoReturn:
    """End the program: `reason` is one word for machines, `detail` a sentence for people."""
    _say(reason, detail)
    sys.exit(code)


def finish(result: dict[str, Any]) -> None:
    """Print a result as one line of JSON, for who runs the program and for who watches its pod."""
    line = json.dumps(result)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if TERMINATION_MESSAGE.exists():
        TERMINATION_MESSAGE.write_text(line)


def halt(code: int, reason: str, detail: str) -> NoReturn:
    """End the program at once, from wherever it is: what a callback raises, the loop swallows."""
    _say(reason, detail)
    sys.stderr.flush()
    os._exit(code)


def _say(reason: str, detail: str) -> None:
    line = json.dumps({"reason": reason, "detail": detail})
    sys.stderr.write(line + "\n")
    if TERMINATION_MESSAGE.exists():
        TERMINATION_MESSAGE.write_text(line)
