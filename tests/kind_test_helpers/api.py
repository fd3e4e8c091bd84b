"""How does a helper speak to the API server without a library?

JSON over HTTPS with a client certificate, from a kubeconfig in JSON that carries everything inside.
House rule: an answer of 400 or more raises `Refused` with the server's own message.
"""

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ANSWER_SECONDS_MAX = 30.0
Json = dict[str, Any]


class Refused(Exception):
    """The API server answered with an error; holds its status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Api:
    """An API server and the right to speak to it."""

    host: str
    port: int
    context: ssl.SSLContext

    @classmethod
    def of(cls, kubeconfig: Mapping[str, Any]) -> "Api":
        """Take address and certificates from the only entry of a kubeconfig."""
        cluster = kubeconfig["clusters"][0]["cluster"]
        user = kubeconfig["users"][0]["user"]
        address = urlsplit(cluster["server"])
        assert address.hostname
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.TemporaryDirectory() as folder:  # the library reads them from files only
            for name in ("client-certificate-data", "client-key-data"):
                Path(folder, name).write_bytes(base64.b64decode(user[name]))
            context.load_cert_chain(
                Path(folder, "client-certificate-data"), Path(folder, "client-key-data")
            )
        return cls(address.hostname, address.port or 443, context)

    @classmethod
    def from_file(cls, path: Path) -> "Api":
        return cls.of(json.loads(path.read_text()))

    def text(self, path: str) -> str:
        """GET a path that answers with text."""
        return self._send("GET", path).decode()

    def get(self, path: str) -> Json:
        return self._json("GET", path)

    def items(self, path: str) -> list[Json]:
        """The members of a list."""
        found: list[Json] = self.get(path)["items"]
        return found

    def await_change(self, path: str, version: str, seconds_max: int) -> None:
        """Return when a list is no longer at a resource version, or after some seconds."""
        self._send(
            "GET",
            f"{path}?watch=1&resourceVersion={version}&timeoutSeconds={seconds_max}",
            first_line=True,
        )

    def create(self, path: str, body: Json) -> Json:
        return self._json("POST", path, body)

    def merge(self, path: str, body: Json) -> Json:
        """Change the fields that the body names."""
        return self._json("PATCH", path, body, "application/merge-patch+json")

    def apply(self, path: str, body: Json, manager: str) -> Json:
        """Apply a whole object on the server's side, winning over other managers."""
        question = f"{path}?fieldManager={manager}&force=true"
        return self._json("PATCH", question, body, "application/apply-patch+yaml")

    def delete(self, path: str, body: Json | None = None) -> Json:
        return self._json("DELETE", path, body)

    def _json(
        self, method: str, path: str, body: Json | None = None, kind: str = "application/json"
    ) -> Json:
        answer: Json = json.loads(self._send(method, path, body, kind))
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        kind: str = "application/json",
        *,
        first_line: bool = False,
    ) -> bytes:
        connection = http.client.HTTPSConnection(
            self.host, self.port, context=self.context, timeout=ANSWER_SECONDS_MAX
        )
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": kind} if payload else {})
            response = connection.getresponse()
            answer = response.readline() if first_line else response.read()
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise Refused(response.status, _message(answer))
        return answer


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")[:500]
