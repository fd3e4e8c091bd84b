"""A member on a loopback port that does what a test tells it to: the other end of the client."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
Answer = tuple[int, Json] | None  # None: the connection breaks without an answer
CLUSTER_ID = "ab" * 16


class FakeMember:
    """Answers `/query/1` by `script`, then with `data`; keeps the headers and bodies it got."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.script: list[Answer | Callable[[], Answer]] = []
        self.data: Any = None
        self.asked: list[tuple[dict[str, str], Json]] = []
        self.surveys = 0
        self.known: list[FakeMember] = [self]
        self.cluster_id = CLUSTER_ID
        self.leader: str | None = name
        self.role = "voter"
        self.hang = threading.Event()  # set: nothing is answered any more
        self.released = threading.Event()
        self.sockets: set[socket.socket] = set()
        self.peak = 0
        self._lock = threading.Lock()
        self._server = self._listen(0)
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def down(self) -> None:
        """Refuse connections, and break those that are open."""
        self._server.shutdown()
        self._server.server_close()
        for sock in list(self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        self._server = self._listen(self.port)

    def stop(self) -> None:
        self.released.set()
        self.down()

    def ids(self) -> list[str]:
        return [headers["x-fauna-request-id"] for headers, _ in self.asked]

    def cluster(self) -> Json:
        return {
            "cluster_id": self.cluster_id,
            "voters": sum(member.role == "voter" for member in self.known),
            "learners": sum(member.role == "learner" for member in self.known),
            "members": [
                {
                    "id": number,
                    "name": member.name,
                    "endpoint": member.url,
                    "role": member.role,
                    "leader": member.name == self.leader,
                }
                for number, member in enumerate(self.known, 1)
            ],
        }

    def answer_query(self, headers: dict[str, str], body: Json) -> Answer:
        with self._lock:
            self.asked.append((headers, body))
            planned = self.script.pop(0) if self.script else ok(self.data)
        return planned() if callable(planned) else planned

    def _listen(self, port: int) -> ThreadingHTTPServer:
        member = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for each answer

            def setup(self) -> None:
                super().setup()
                member.sockets.add(self.connection)
                member.peak = max(member.peak, len(member.sockets))

            def finish(self) -> None:
                member.sockets.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                member.surveys += 1
                self._reply((200, member.cluster()) if self._is_allowed() else unauthorized())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = member.answer_query(headers, body) if self._is_allowed() else unauthorized()
                self._reply(reply)

            def _is_allowed(self) -> bool:
                return self.headers["authorization"] == "Bearer secret"

            def _reply(self, reply: Answer) -> None:
                if member.hang.is_set():
                    member.released.wait(30)
                    reply = None
                if reply is None:
                    self.close_connection = True
                    return
                content = json.dumps(reply[1]).encode()
                self.send_response(reply[0])
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                """Broken connections are what these tests are about."""

        server = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server


def ok(data: Any, txn_ts: int = 1_700_000_000_000_000, write_ops: int = 0) -> tuple[int, Json]:
    stats = {"write_ops": write_ops}
    return 200, {"data": data, "summary": "", "txn_ts": txn_ts, "stats": stats}


def error(status: int, code: str, message: str = "no", **more: Any) -> tuple[int, Json]:
    return status, {"error": {"code": code, "message": message, **more}, "summary": "drawn"}


def unauthorized() -> tuple[int, Json]:
    return error(401, "unauthorized", "Access token required")


@contextlib.contextmanager
def members(count: int) -> Iterator[list[FakeMember]]:
    """Members that know each other; the first one leads."""
    started = [FakeMember(f"orders-{number}") for number in range(1, count + 1)]
    for member in started:
        member.known, member.leader = started, "orders-1"
    try:
        yield started
    finally:
        for member in started:
            member.stop()
