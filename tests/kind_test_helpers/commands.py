"""How is another program run, and what is awaited?

House rules: a failed command raises with its own words; nothing waits without a limit.
"""

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from kind_test_helpers.failures import CommandFailed, HangLimit

COMMAND_SECONDS_MAX = 120.0  # twenty times the slowest quick command seen
POLL_SECONDS = 0.05

Answer = TypeVar("Answer")


def run(
    *command: str | Path,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds_max: float = COMMAND_SECONDS_MAX,
) -> str:
    """Run a command to its end and return its standard output; raise `CommandFailed` otherwise."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=folder,
            timeout=seconds_max,
        )
    except subprocess.TimeoutExpired as late:
        raise HangLimit(f"`{' '.join(words)}` still ran after {seconds_max} s") from late
    except FileNotFoundError as missing:
        raise CommandFailed(words, 127, f"{missing.filename}: no such program or folder") from None
    if done.returncode != 0:
        raise CommandFailed(words, done.returncode, done.stdout + done.stderr)
    return done.stdout


def succeeds(*command: str | Path, seconds_max: float = COMMAND_SECONDS_MAX) -> bool:
    """Run a command and tell whether it exited 0."""
    try:
        run(*command, seconds_max=seconds_max)
    except (CommandFailed, HangLimit):
        return False
    return True


def await_that(
    what: str,
    ask: Callable[[], Answer | None],
    *,
    seconds_max: float,
    every: float = POLL_SECONDS,
) -> Answer:
    """Ask until the answer is neither None nor False; raise `HangLimit` at the limit."""
    deadline = time.monotonic() + seconds_max
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise HangLimit(f"waited {seconds_max} s in vain: {what}")
        time.sleep(every)
