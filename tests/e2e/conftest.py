"""Every test here gets its Kubernetes from these fixtures, and its logs when it fails."""

from kind_test_helpers.fixture import kubernetes, namespace, pytest_runtest_makereport

__all__ = ["kubernetes", "namespace", "pytest_runtest_makereport"]
