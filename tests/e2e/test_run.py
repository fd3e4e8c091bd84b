"""What `make run` prints is true, and what it tells a person to type works."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import printed
from kind_test_helpers import product, run
from kind_test_helpers.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.new]


@pytest.fixture
def presented(
    kubernetes: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[str]:
    """What is printed; the folder of the test stands for the checkout."""
    monkeypatch.setenv("FAUNA_RUN", str(printed.stand_in(tmp_path)))
    try:
        run.present(kubernetes)
        yield capsys.readouterr().out
    finally:
        take_away(kubernetes)


def take_away(kubernetes: Cluster) -> None:
    """Take away what was presented, and wait until it is gone."""
    mine = ("-n", "default", "-l", "fauna.dev/cluster=orders")
    kubernetes.kubectl("delete", "faunacluster", "orders", "-n", "default")
    kubernetes.kubectl("wait", "--for=delete", "pod", *mine, "--timeout=100s")
    kubernetes.kubectl("delete", "pvc,configmap,secret,service", *mine)
    kubernetes.kubectl("delete", "service", "orders-outside", "-n", "default")
    kubernetes.kubectl("delete", "namespace", product.OPERATOR)


def test_what_is_printed(presented: str, tmp_path: Path) -> None:
    """Airports are counted, the cluster is shown, and every printed command exits 0."""
    printed.assert_true(presented, tmp_path)
