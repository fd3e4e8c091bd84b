"""What does a program write to the API server, and what if it dies at one of its writes?

A gate is a loopback HTTP server that hands every request on to the API server, as administrator,
and tells a listener of every write after the API server's whole answer has come and before the
program hears of it. A listener that kills the program makes it die exactly there: the write was
done, nobody was told. House rule: it changes nothing that passes. The trap: renewals of a Lease are
writes too, but made by a clock; they are handed on and not told.
"""

import contextlib
import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kind_test_helpers.api import Api, Json

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
HANDED_ON = ("Accept", "Content-Type")
WATCH_SECONDS_MAX = 150.0  # above the 120 s that the operator lets a watch last
PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Write:
    """One write that the API server answered; `body` is what was asked for."""

    method: str
    path: str  # without the query
    body: Json
    status: int

    @property
    def created(self) -> str | None:
        """The path of what this write newly made; None when it made nothing."""
        if self.method != "POST" or self.status != http.client.CREATED:
            return None
        return f"{self.path}/{self.body['metadata']['name']}"


@dataclass
class Gate:
    """A door to an API server; `told` is called for each write, from the thread that serves it."""

    api: Api
    told: Callable[[Write], None]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @contextlib.contextmanager
    def open(self, kubeconfig: Path) -> Iterator[None]:
        """Serve while the block runs, and write the kubeconfig that leads here."""
        gate = self

        class Handler(_Handler):
            door = gate

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="gate", daemon=True)
        thread.start()
        try:
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(json.dumps(self._kubeconfig(server.server_port)))
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _kubeconfig(self, port: int) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "gate",
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "gate"}}],
            "clusters": [{"name": "gate", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "gate", "user": {"token": self.token}}],
        }


class _Handler(BaseHTTPRequestHandler):
    """One connection of the program."""

    door: Gate
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets

    def do_GET(self) -> None:
        self._hand_on()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""

    def handle(self) -> None:
        """Serve until the program closes the connection, or dies."""
        with contextlib.suppress(OSError):
            super().handle()

    def _hand_on(self) -> None:
        if self.headers["Authorization"] != f"Bearer {self.door.token}":
            self.send_error(http.client.UNAUTHORIZED)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api = self.door.api
        far = http.client.HTTPSConnection(
            api.host, api.port, context=api.context, timeout=WATCH_SECONDS_MAX
        )
        with contextlib.closing(far), contextlib.suppress(OSError, http.client.HTTPException):
            kept = {name: self.headers[name] for name in HANDED_ON if name in self.headers}
            far.request(self.command, self.path, body or None, kept)
            answer = far.getresponse()
            if "watch=" in self.path:
                self._stream(answer)
            else:
                self._answer(answer.status, answer.headers["Content-Type"], answer.read(), body)
            return
        self.close_connection = True  # as if the API server had cut it

    def _answer(self, status: int, kind: str, content: bytes, body: bytes) -> None:
        path = self.path.partition("?")[0]
        if self.command in WRITES and "/leases" not in path:
            self.door.told(Write(self.command, path, json.loads(body), status))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, answer: http.client.HTTPResponse) -> None:
        """Hand on a watch, piece by piece, until either side ends it."""
        self.close_connection = True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read1(PIECE_BYTES):
            self.wfile.write(piece)
            self.wfile.flush()
