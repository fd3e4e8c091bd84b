"""How is this operator run? Read once at the edge; all problems are reported together."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment say."""

    namespaces: tuple[str, ...] = ()  # empty: the whole cluster
    kubeconfig: str | None = None  # None: the service account of the pod
    lease_namespace: str = "default"
    lease_name: str = "fauna-operator"
    identity: str = "fauna-operator"
    health_port: int = 8080
    log_format: str = "text"  # | json

    def problems(self) -> list[str]:
        """Return what cannot work, in sentences; [] when all is well."""
        found = []
        if self.log_format not in ("text", "json"):
            found.append(f"--log-format is text or json, not {self.log_format!r}")
        if not 0 <= self.health_port <= 65535:
            found.append(f"--health-port is 0 to 65535, not {self.health_port}")
        if self.kubeconfig is not None and not os.path.exists(self.kubeconfig):  # noqa: PTH110
            found.append(f"--kubeconfig names {self.kubeconfig}, which does not exist")
        if self.kubeconfig is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
            found.append("not in a pod: name a kubeconfig with --kubeconfig")
        return found


def identity(environment: Mapping[str, str]) -> str:
    """Return the name of this process in the Lease: the pod's, or host and process."""
    return environment.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
