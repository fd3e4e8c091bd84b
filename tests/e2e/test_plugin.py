"""`kubectl fauna` on a real cluster: the commands of its page, from the page's own text."""

import os
import re
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from e2e.members import Members
from kind_test_helpers.commands import await_that
from kind_test_helpers.places import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.new]

PAGE = (REPOSITORY / "docs/kubectl-fauna.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line
]
HANG_SECONDS = 200.0
PLUGIN = """#!/bin/sh
exec {python} -m fauna_plugin "$@"
"""


class Person:
    """Somebody at a terminal, with kubectl and its plugin on the PATH."""

    def __init__(self, members: Members, folder: Path) -> None:
        self.database = members.database
        cluster = self.database.cluster
        plugin = folder / "kubectl-fauna"
        plugin.write_text(PLUGIN.format(python=sys.executable))
        plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
        (folder / "kubectl").symlink_to(cluster.kubectl_program)
        self._environment = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.kubeconfig),
            "PYTHONPATH": str(REPOSITORY / "operator"),
        }

    def leads(self, member: str) -> bool:
        return bool(self.database.status().get("leader") == member)

    def types(self, line: str) -> tuple[int, str]:
        """Run a line of the page, in the namespace of the members; return code and output."""
        mine = line.replace("-n shop", f"-n {self.database.namespace}")
        done = subprocess.run(
            ["sh", "-c", mine],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        print(f"$ {mine}\n{done.stdout}{done.stderr}")
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def person(members: Members, tmp_path: Path) -> Person:
    return Person(members, tmp_path)


@pytest.mark.parametrize("line", [c for c in COMMANDS if "promote" not in c], ids=lambda c: c[-30:])
def test_a_command_of_the_page(person: Person, line: str) -> None:
    """It ends with 0 and says something."""
    code, said = person.types(line)
    assert (0, True) == (code, bool(said.strip()))


def test_the_answers_are_the_clusters(person: Person) -> None:
    """Status names all members, the shell evaluates, a mistyped name is kubectl's sentence."""
    status = person.database.status()
    code, said = person.types("kubectl fauna -n shop status orders")
    assert 0 == code
    assert all(each["name"] in said for each in status["members"])
    assert (0, "2\n") == person.types("kubectl fauna -n shop shell orders -c '1 + 1'")
    code, said = person.types("kubectl fauna -n shop status nobody")
    assert (1, True) == (code, 'faunaclusters.fauna.dev "nobody" not found' in said)


def test_the_leader_moves(person: Person) -> None:
    """Whoever is promoted leads; the resource soon says so."""
    before = person.database.status()["leader"]
    voters = [m["name"] for m in person.database.status()["members"] if m["name"] != before]
    for member in (voters[0], before):
        code, said = person.types(f"kubectl fauna -n shop promote orders {member}")
        assert (0, True) == (code, f"{member} lead" in said)
        leads = partial(person.leads, member)
        await_that(f"{member} to lead", leads, seconds_max=HANG_SECONDS)
