"""A real Kubernetes for tests: tools, images, clusters, faults."""
