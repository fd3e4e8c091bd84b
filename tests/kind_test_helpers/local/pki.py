"""Who proves to whom who they are?

One authority for a cluster, valid for a month, made with Debian's openssl so that this runs
before anything is installed. Kubeconfigs are JSON, which is YAML too and needs no library.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.commands import run
from kind_test_helpers.local.layout import CONTROL, Layout

DAYS = "30"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
SERVICE = "kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate to be issued: its file, its subject, the names that it is valid for."""

    name: str
    subject: str
    valid_for: tuple[str, ...]


def identities(layout: Layout) -> tuple[Identity, ...]:
    """Everybody who needs a certificate."""
    first_service = layout.services.network_address + 1
    addresses = ("127.0.0.1", str(layout.address(CONTROL)), str(first_service))
    parts = SERVICE.split(".")
    names = ("localhost", *(".".join(parts[:length]) for length in (1, 2, 3, 5)))
    server = (*(f"IP:{each}" for each in addresses), *(f"DNS:{each}" for each in names))
    return (
        Identity("apiserver", "/CN=kube-apiserver", server),
        Identity("admin", "/O=system:masters/CN=admin", ("DNS:admin",)),
        *(
            Identity(
                node,
                f"/O=system:nodes/CN=system:node:{node}",
                (f"DNS:{node}", f"IP:{layout.address(node)}"),
            )
            for node in layout.node_names
        ),
    )


def issue_all(layout: Layout) -> None:
    """Make the authority, every certificate, and a kubeconfig for whoever needs one."""
    folder = layout.folder / "pki"
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(
        *("req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.crt"),
        *("-days", DAYS, "-subj", "/CN=fauna-local"),
        folder=folder,
    )
    _openssl("genrsa", "-out", "sa.key", "2048", folder=folder)
    _openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub", folder=folder)
    for identity in identities(layout):
        _issue(identity, folder)
    for name in ("admin", *layout.node_names):
        (folder / f"{name}.conf").write_text(kubeconfig(layout, name))


def kubeconfig(layout: Layout, name: str) -> str:
    """A kubeconfig with everything inside, for one certificate."""
    folder = layout.folder / "pki"

    def inside(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    server = {"server": layout.api, "certificate-authority-data": inside("ca.crt")}
    user = {
        "client-certificate-data": inside(f"{name}.crt"),
        "client-key-data": inside(f"{name}.key"),
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fauna-local", "cluster": server}],
            "users": [{"name": name, "user": user}],
            "contexts": [
                {"name": "fauna-local", "context": {"cluster": "fauna-local", "user": name}}
            ],
            "current-context": "fauna-local",
        },
        indent=1,
    )


def _issue(identity: Identity, folder: Path) -> None:
    name = identity.name
    extensions = folder / f"{name}.ext"
    extensions.write_text(
        f"subjectAltName={','.join(identity.valid_for)}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    _openssl(
        *("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
        *("-subj", identity.subject),
        folder=folder,
    )
    _openssl(
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", DAYS, "-extfile", extensions.name, "-out", f"{name}.crt"),
        folder=folder,
    )


def _openssl(*arguments: str, folder: Path) -> None:
    run("openssl", *arguments, folder=folder)
