"""A Kubernetes of our own on one machine: nodes in namespaces, no Docker."""
