"""What `make run` prints is true, and what it tells a person to type works."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kind_test_helpers import run
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.places import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.new]

MINE = "faunacluster,pvc,configmap,secret,service"


@pytest.fixture
def presented(
    kubernetes: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[str]:
    """What is printed; the folder of the test stands for the checkout."""
    monkeypatch.setenv("FAUNA_RUN", str(tmp_path / ".run"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".run").mkdir()
    (tmp_path / ".venv").symlink_to(REPOSITORY / ".venv")
    run.present(kubernetes)
    yield capsys.readouterr().out
    kubernetes.kubectl("delete", "faunacluster", "orders", "-n", "default")
    kubernetes.kubectl("delete", MINE, "-n", "default", "-l", "fauna.dev/cluster=orders")
    kubernetes.kubectl("delete", "service", "orders-outside", "-n", "default")
    kubernetes.kubectl("delete", "namespace", "fauna-operator", "--wait=false")


def test_what_is_printed(presented: str) -> None:
    """Airports are counted, the cluster is shown, and every printed command exits 0."""
    assert "> Airport.all().count()\n3376\n" in presented
    assert "'city': 'New York'" in presented
    assert "s from apply to Ready" in presented
    commands = presented.partition(f"{run.TRY_NEXT}\n")[2].strip().splitlines()
    assert 5 == len(commands)

    answers = [
        subprocess.run(["sh", "-c", each], capture_output=True, text=True, timeout=200, check=False)
        for each in commands
    ]

    assert [0] * 5 == [answer.returncode for answer in answers], answers
    assert "3 209" == answers[1].stdout.strip()
