"""Every test here gets its Kubernetes from these fixtures, and its logs when it fails."""

from collections.abc import Iterator

import pytest

from e2e.members import Members
from fauna_client import Client
from kind_test_helpers import product
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.fixture import kubernetes, namespace, pytest_runtest_makereport
from kind_test_helpers.product import Database

__all__ = ["installed", "kubernetes", "members", "namespace", "pytest_runtest_makereport", "shared"]

SHARED = "shared"
CLEAN = """["Register", "Account", "Booking", "Transfer"].forEach(name =>
  Collection.byName(name)?.delete())"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that start clusters of their own, while there is no shared one."""
    items.sort(key=lambda item: "kubernetes" in getattr(item, "fixturenames", ()))


@pytest.fixture
def installed(kubernetes: Cluster, namespace: str) -> Database:
    """A namespace with an operator of its own, and the name of a database that is not there."""
    product.install_operator(kubernetes, namespace, replicas=1)
    return Database(kubernetes, namespace)


@pytest.fixture(scope="session")
def shared(kubernetes: Cluster) -> Members:
    """Three members that all tests use which leave them whole."""
    kubernetes.make_namespace(SHARED)
    product.install_operator(kubernetes, SHARED)
    database = Database(kubernetes, SHARED)
    if not product.exists(kubernetes, database.path):
        database.create(product.manifest(kubernetes))
    print(f"\n{database.await_ready():.1f} s from apply to Ready")
    return Members(database)


@pytest.fixture
def members(shared: Members) -> Iterator[Members]:
    """The shared members, whole, without what other tests wrote."""
    shared.await_whole()
    with Client(endpoints=shared.endpoints, secret=shared.secret, query_timeout=60) as client:
        client.query(CLEAN)
    yield shared
    shared.await_whole()
