"""`promote` speaks to the leader's admin port by its name, with a leaf of the cluster."""

import json
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fauna_operator import pki
from fauna_plugin.asking import transfer
from fauna_plugin.kubectl import Kubectl, Object, Refused

CLUSTER = {"metadata": {"name": "orders", "namespace": "shop"}, "spec": {}}
CLUSTER_ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"


class Forwarding(Kubectl):
    """A kubectl that knows one Secret and forwards to one port."""

    def __init__(self, secret: Object, port: int) -> None:
        super().__init__("kubectl", "", "")
        self._secret, self._port = secret, port
        self.asked: list[tuple[str, ...]] = []

    def get(self, kind: str, name: str) -> Object:
        self.asked.append((kind, name))
        return self._secret

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        self.asked.append((target, str(port)))
        yield self._port


class Admin(BaseHTTPRequestHandler):
    """The admin port of a leader, which hands over to member 2 and to nobody else."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        refused = {"error": {"code": "change_refused", "message": "member 3 is no voter"}}
        taken = {"leader": {"id": 2, "name": "orders-2.orders-members.shop.svc"}}
        good = (self.path, body) == ("/cluster/transfer", {"to": 2})
        answer = json.dumps(taken if good else refused).encode()
        self.send_response(200 if good else 409)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> pki.KeyPair:
    return pki.make_authority("orders", time.time())


@contextmanager
def leading(authority: pki.KeyPair, name: str, folder: Path) -> Iterator[Forwarding]:
    """A leader under a name, and a kubectl that leads to it with member 2's leaf."""
    now = time.time()
    leaves = {
        each: pki.issue(authority, cluster_id=CLUSTER_ID, names=(each,), now=now)
        for each in (name, "orders-2")
    }
    (folder / "crt").write_bytes(leaves[name].certificate)
    (folder / "key").write_bytes(leaves[name].key)
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate.decode()
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "crt", folder / "key")
    mine = leaves["orders-2"]
    files = {"ca.crt": authority.certificate, "tls.crt": mine.certificate, "tls.key": mine.key}
    secret = {"data": {key: b64encode(value).decode() for key, value in files.items()}}
    with HTTPServer(("127.0.0.1", 0), Admin) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Forwarding(secret, server.server_port)
        server.shutdown()
        thread.join()


def test_the_leader_hands_over(authority: pki.KeyPair, tmp_path: Path) -> None:
    """It is verified by its own name, although the connection goes to this machine."""
    with leading(authority, "orders-1", tmp_path) as kubectl:
        assert "orders-2" == transfer(kubectl, CLUSTER, "orders-1", 2)
    assert [("secret", "orders-member-tls-2"), ("pod/orders-1", "8444")] == kubectl.asked


def test_a_refusal_is_the_members_sentence(authority: pki.KeyPair, tmp_path: Path) -> None:
    """With its code."""
    with (
        leading(authority, "orders-1", tmp_path) as kubectl,
        pytest.raises(Refused, match="change_refused: member 3 is no voter"),
    ):
        transfer(kubectl, CLUSTER, "orders-1", 3)


def test_somebody_else_at_the_port_is_not_asked(authority: pki.KeyPair, tmp_path: Path) -> None:
    """Another member under the leader's port is refused before anything is said."""
    with (
        leading(authority, "orders-7", tmp_path) as kubectl,
        pytest.raises(Refused, match=r"did not answer: .*Hostname mismatch"),
    ):
        transfer(kubectl, CLUSTER, "orders-1", 2)
