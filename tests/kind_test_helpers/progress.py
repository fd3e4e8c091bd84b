"""What is the machine doing right now, said at least every ten seconds?

House rules: one line per statement, on standard error, with the seconds since the program began;
no carriage returns, so that a log file reads like the screen.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_SECONDS_MAX = 8.0  # under the promised ten, because a line takes time to appear
_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"[{time.monotonic() - _BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def stage(text: str) -> Iterator[None]:
    """Say that a stage begins, that it still goes on, and how long it took."""
    began = time.monotonic()
    say(f"{text} …")
    done = threading.Event()

    def remind() -> None:
        while not done.wait(QUIET_SECONDS_MAX):
            say(f"{text} … {time.monotonic() - began:.0f} s so far")

    reminder = threading.Thread(target=remind, name="progress", daemon=True)
    reminder.start()
    try:
        yield
    except BaseException:
        say(f"{text}: failed after {time.monotonic() - began:.1f} s")
        raise
    else:
        say(f"{text}: done in {time.monotonic() - began:.1f} s")
    finally:
        done.set()
        reminder.join()
