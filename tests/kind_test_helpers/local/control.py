"""What runs on the control plane's machine?

etcd, API server, controller manager, scheduler and CoreDNS, on their usual ports, because the
network is their own. etcd does not sync here: the data of a test's API server need not survive
the host. The API server writes down what service accounts ask of it, so that a test can say which
rights the operator used.
"""

import json
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from kind_test_helpers.api import Api, Refused
from kind_test_helpers.commands import await_that
from kind_test_helpers.local.layout import API_PORT
from kind_test_helpers.local.machine import Machine

ETCD = "http://127.0.0.1:2379"
START_SECONDS_MAX = 180.0
COREFILE = """\
cluster.local:53 {
  bind ADDRESS
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig KUBECONFIG
    ttl 1
  }
}
.:53 {
  bind ADDRESS
  template ANY ANY {
    rcode NXDOMAIN
  }
}
"""
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - {level: None}
"""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The daemons of the control plane, by the names that a test stops and starts them by."""

    machine: Machine
    kube_local: Path
    coredns: Path

    @property
    def daemons(self) -> dict[str, list[str | Path]]:
        """The command line of each, in the order in which they start."""
        pki = self.machine.layout.folder / "pki"
        layout = self.machine.layout
        admin = f"--kubeconfig={pki}/admin.conf"
        return {
            "etcd": [
                *(self.kube_local, "etcd", "--data-dir", self.machine.folder / "etcd"),
                *("--listen-client-urls", ETCD, "--advertise-client-urls", ETCD),
                *("--listen-peer-urls", "http://127.0.0.1:2380"),
                *("--unsafe-no-fsync", "--log-level", "warn"),
            ],
            "apiserver": [
                *(self.kube_local, "apiserver", f"--etcd-servers={ETCD}"),
                f"--advertise-address={layout.address(self.machine.name)}",
                f"--secure-port={API_PORT}",
                f"--service-cluster-ip-range={layout.services}",
                f"--tls-cert-file={pki}/apiserver.crt",
                f"--tls-private-key-file={pki}/apiserver.key",
                f"--client-ca-file={pki}/ca.crt",
                f"--kubelet-client-certificate={pki}/admin.crt",
                f"--kubelet-client-key={pki}/admin.key",
                f"--kubelet-certificate-authority={pki}/ca.crt",
                "--kubelet-preferred-address-types=InternalIP",  # names of nodes are not in DNS
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={pki}/sa.key",
                f"--service-account-key-file={pki}/sa.pub",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                "--endpoint-reconciler-type=lease",
                f"--audit-policy-file={self.machine.folder}/audit-policy.yaml",
                f"--audit-log-path={self.machine.folder}/audit.log",
                "--audit-log-maxsize=200",  # MiB
                "--audit-log-maxbackup=1",
            ],
            "controller-manager": [
                *(self.kube_local, "controller-manager", admin),
                f"--service-account-private-key-file={pki}/sa.key",
                f"--root-ca-file={pki}/ca.crt",
                f"--cluster-signing-cert-file={pki}/ca.crt",
                f"--cluster-signing-key-file={pki}/ca.key",
                "--use-service-account-credentials",
                "--leader-elect=false",
                "--node-monitor-grace-period=20s",
            ],
            "scheduler": [self.kube_local, "scheduler", admin, "--leader-elect=false"],
            "coredns": [self.coredns, "-conf", self.machine.folder / "Corefile"],
        }

    def start(self, *names: str) -> None:
        """Start daemons by name, or all of them, each when the one before it answers."""
        address = str(self.machine.layout.address(self.machine.name))
        admin = self.machine.layout.folder / "pki/admin.conf"
        corefile = COREFILE.replace("ADDRESS", address).replace("KUBECONFIG", str(admin))
        (self.machine.folder / "Corefile").write_text(corefile)
        (self.machine.folder / "audit-policy.yaml").write_text(AUDIT_POLICY)
        for name in names or self.daemons:
            if not self.machine.is_running(name):
                self.machine.start(name, *self.daemons[name])
            if name == "apiserver":
                await_that("the API server", self.answers, seconds_max=START_SECONDS_MAX)

    def answers(self) -> bool:
        """Whether the API server says that it is ready."""
        pki = self.machine.layout.folder / "pki"
        try:
            return Api.of(json.loads((pki / "admin.conf").read_text())).text("/readyz") == "ok"
        except (OSError, HTTPException, Refused):
            return False
