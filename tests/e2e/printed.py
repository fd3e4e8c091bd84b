"""Is it true what `make run` prints, and does what it tells a person to type work?"""

import subprocess
from pathlib import Path

from kind_test_helpers.places import REPOSITORY
from kind_test_helpers.run import TRY_NEXT

COMMAND_SECONDS_MAX = 200.0
COMMANDS = 5


def stand_in(folder: Path) -> Path:
    """Let a folder stand for the checkout of whom types the commands; return its `.run`."""
    (folder / ".venv").symlink_to(REPOSITORY / ".venv")
    (folder / ".run").mkdir()
    return folder / ".run"


def assert_true(printed: str, folder: Path) -> None:
    """Airports are counted, the cluster is shown, and every printed command exits 0."""
    assert "> Airport.all().count()\n3376\n" in printed
    assert "'city': 'New York'" in printed
    assert "s from apply to Ready" in printed
    assert "faunacluster.fauna.dev/orders" in printed
    assert 3 == sum(line.startswith("pod/orders-") for line in printed.splitlines())
    commands = printed.partition(f"{TRY_NEXT}\n")[2].strip().splitlines()[:COMMANDS]

    answers = [typed(each, folder) for each in commands]

    assert [0] * COMMANDS == [answer.returncode for answer in answers], answers
    assert "3 209" == answers[1].stdout.strip()


def typed(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line as a person would, in the folder."""
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
