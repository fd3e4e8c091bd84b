"""What tests of the node stand on: members in memory, and a network that delivers when told."""

from node_test_helpers.cluster import Cluster, HeldWorkers, Host

__all__ = ["Cluster", "HeldWorkers", "Host"]
