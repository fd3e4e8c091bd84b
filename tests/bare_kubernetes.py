"""An etcd and a real API server on loopback ports, and nothing else: no nodes, no controllers.

For those who ask how the operator treats the API and need no container. Whoever holds the token
"program" is written to the audit log, call by call; the token "script" is not. House rule: both
programs die with the thread that started them. The trap: without controllers nothing is collected
as garbage, and a namespace never ends.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kind_test_helpers.api import Json, Refused
from kind_test_helpers.commands import await_that, run
from kind_test_helpers.recipes import KUBE_LOCAL
from kind_test_helpers.tools import ensure

KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CALL_S_MAX = 30.0
CRDS = Path(__file__).parent.parent / "crds"
TIED = ("setpriv", "--pdeathsig", "KILL", "--")
START_S_MAX = 240.0
TOKENS = "".join(f'{name}-token,{name},{name},"system:masters"\n' for name in ("program", "script"))
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {level: Metadata, users: [program]}
  - {level: None}
"""


@dataclass(frozen=True, slots=True)
class Bare:
    """A running API server; `folder` holds its files and kubeconfigs."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(self, name: str, server: str = "") -> Path:
        """Write the kubeconfig of "program" or "script", to this server or through another."""
        path = self.folder / f"{name}.kubeconfig"
        entry: dict[str, Any] = {"server": server or self.address}
        if not server:
            entry["certificate-authority"] = str(self.folder / "certificates" / "apiserver.crt")
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "it",
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                    "clusters": [{"name": "it", "cluster": entry}],
                    "users": [{"name": "it", "user": {"token": f"{name}-token"}}],
                }
            )
        )
        return path

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask the API server something as "script"; a PATCH applies. Raises `Refused`."""
        context = ssl.create_default_context(cafile=self.folder / "certificates" / "apiserver.crt")
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=context, timeout=CALL_S_MAX
        )
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        headers = {"Authorization": "Bearer script-token", "Content-Type": kind}
        with closing(connection):
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            answer: Json = json.loads(response.read() or b"{}")
        if response.status >= http.client.BAD_REQUEST:
            raise Refused(response.status, str(answer.get("message")))
        return answer

    @property
    def said(self) -> int:
        """The bytes of the audit log so far."""
        return (self.folder / "audit.log").stat().st_size

    def calls(self, since: int = 0) -> Counter[str]:
        """Count what "program" asked since then, by verb and resource; a watch when it ends."""
        with (self.folder / "audit.log").open("rb") as log:
            log.seek(since)
            lines = log.read().splitlines()
        found: Counter[str] = Counter()
        for line in lines:
            entry = json.loads(line)
            resource = entry.get("objectRef", {}).get("resource", entry["requestURI"])
            found[f"{entry['verb']} {resource}"] += 1
        return found


@contextmanager
def bare_kubernetes(folder: Path) -> Iterator[Bare]:
    """Run etcd and an API server that has our kinds; their data go with the folder."""
    program = ensure(KUBE_LOCAL)
    client, peer, port = free_ports(3)
    bare = Bare(folder, port)
    (folder / "tokens.csv").write_text(TOKENS)
    (folder / "audit.yaml").write_text(AUDIT_POLICY)
    key, public = folder / "sa.key", folder / "sa.pub"
    run("openssl", "genrsa", "-out", str(key), "2048", folder=folder)
    run("openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public), folder=folder)
    etcd = f"http://127.0.0.1:{client}"
    with ExitStack() as stack:
        stack.enter_context(
            process(
                [
                    *(program, "etcd", "--data-dir", folder / "etcd", "--log-level", "warn"),
                    *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
                    *("--listen-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync"),
                ],
                folder / "etcd.log",
            )
        )
        stack.enter_context(
            process(
                [
                    *(program, "apiserver", f"--etcd-servers={etcd}", f"--secure-port={port}"),
                    *("--bind-address=127.0.0.1", f"--cert-dir={folder}/certificates"),
                    *(f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC"),
                    "--service-cluster-ip-range=10.96.0.0/16",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-signing-key-file={key}",
                    f"--service-account-key-file={public}",
                    "--disable-admission-plugins=ServiceAccount",  # nobody makes the accounts
                    "--endpoint-reconciler-type=none",
                    f"--audit-policy-file={folder}/audit.yaml",
                    f"--audit-log-path={folder}/audit.log",
                    "--audit-log-maxsize=2000",  # MiB
                ],
                folder / "apiserver.log",
            )
        )
        await_that("the API server", lambda: _has_kinds(bare), seconds_max=START_S_MAX, every=0.5)
        yield bare


@contextmanager
def process(
    command: Sequence[str | Path], log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs; what it says goes to a file."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            [*TIED, *map(str, command)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def _has_kinds(bare: Bare) -> bool:
    """Apply our CRDs; tell whether objects of them can be listed already."""
    try:
        for path in sorted(CRDS.glob("*.yaml")):
            crd = yaml.safe_load(path.read_text())
            name = crd["metadata"]["name"]
            bare.call("PATCH", f"{KINDS}/{name}?fieldManager=script&force=true", crd)
            bare.call("GET", f"/apis/fauna.dev/v1alpha1/{crd['spec']['names']['plural']}")
    except (OSError, ValueError, http.client.HTTPException, Refused):
        return False  # it says so in words while it starts
    return True


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]
