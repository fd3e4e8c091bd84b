"""`make run` and `make down`, typed on a machine without a cluster."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e import printed
from kind_test_helpers.places import REPOSITORY
from kind_test_helpers.traces import assert_same, traces

pytestmark = [pytest.mark.e2e, pytest.mark.new]

HANG_SECONDS = 1200.0


@dataclass(frozen=True)
class Person:
    """Somebody who types `make`; a folder of the test stands for the checkout."""

    folder: Path

    def makes(self, target: str) -> str:
        """Run a target to its end; return its standard output, print the longest silence."""
        began = heard = time.monotonic()
        silence, lines = 0.0, []
        with subprocess.Popen(
            ["make", "--no-print-directory", target],
            cwd=REPOSITORY,
            env={**os.environ, "FAUNA_RUN": str(self.folder / ".run")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as making:
            limit = threading.Timer(HANG_SECONDS, making.kill)
            limit.start()
            assert making.stdout is not None
            for line in making.stdout:
                silence = max(silence, time.monotonic() - heard)
                heard = time.monotonic()
                lines.append(line)
            limit.cancel()
        assert making.returncode == 0, "".join(lines)
        took = time.monotonic() - began
        print(f"\nmake {target}: {took:.1f} s, never silent for more than {silence:.1f} s")
        return "".join(lines)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    printed.stand_in(tmp_path)
    found = Person(tmp_path)
    yield found
    found.makes("down")


def test_from_nothing_and_back(person: Person) -> None:
    """What is shown is true, what is told to be typed works, and nothing is left of it."""
    before = traces()

    shown = person.makes("run")
    print(*(line for line in shown.splitlines() if "apply to Ready" in line))
    printed.assert_true(shown, person.folder)
    person.makes("down")

    assert_same(before)
