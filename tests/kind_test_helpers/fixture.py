"""How does a test get a Kubernetes?

Name the fixture `kubernetes` for a cluster of six nodes, shared by the whole session, and
`namespace` for a fresh namespace in it under the restricted standard. When a test that used it
fails, objects, events and logs are written to `.run/failures/TEST/`. `FAUNA_KEEP_CLUSTER=1` leaves
the cluster for the next session, which then finds it; `make down` takes it away.
"""

import os
import re
import secrets
from collections.abc import Generator, Iterator

import pytest

from kind_test_helpers import providers
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.failures import Unavailable
from kind_test_helpers.places import run_folder
from kind_test_helpers.progress import say

NODES = 6  # five members and a spare under required anti-affinity
KEEP = "FAUNA_KEEP_CLUSTER"


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Cluster]:
    """A real cluster of six nodes; fails, never skips, where none can be had."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    folder = run_folder() / f"test-{worker}"
    kept = bool(os.environ.get(KEEP))
    if not kept:
        providers.down(folder)
    try:
        cluster = providers.up(folder, NODES)
    except Unavailable as reason:
        pytest.fail(str(reason), pytrace=False)
    try:
        yield cluster
    finally:
        if not kept:
            providers.down(folder)


@pytest.fixture
def namespace(kubernetes: Cluster) -> Iterator[str]:
    """The name of a namespace of this test's own."""
    name = f"test-{secrets.token_hex(3)}"
    kubernetes.make_namespace(name)
    yield name
    kubernetes.kubectl("delete", "namespace", name, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down the state of the cluster while the failed test's objects are still there."""
    report = yield
    funcargs = getattr(item, "funcargs", {})
    if report.failed and report.when == "call" and "kubernetes" in funcargs:
        folder = run_folder() / "failures" / re.sub(r"[^\w.-]+", "-", item.name)
        funcargs["kubernetes"].collect(folder)
        say(f"objects, events and logs of the failure: {folder}")
    return report
