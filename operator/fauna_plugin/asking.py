"""How is a member asked? A query on its client port, a change on its admin port.

Both through a port of this machine that kubectl forwards. House rule: secrets and keys come from
Secrets that the person may read; a key lies in a file for the moment in which it is loaded.
"""

import json
import ssl
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx

from fauna_plugin.kubectl import Kubectl, Object, Refused

CLIENT_PORT, ADMIN_PORT = 8443, 8444
DEADLINE_S = 60.0


def root_secret(kubectl: Kubectl, cluster: Object) -> str:
    """Return the secret with which the first client got in."""
    chosen = cluster["spec"].get("auth", {}).get("rootSecret", {})
    name = chosen.get("name") or f"{cluster['metadata']['name']}-root"
    data = kubectl.get("secret", name).get("data") or {}
    key = chosen.get("key", "secret")
    if key not in data:
        raise Refused(f"Secret {name} has no key {key}")
    return b64decode(data[key]).decode().strip()


class Door:
    """The client port of a cluster, at a port of this machine."""

    def __init__(self, port: int, secret: str) -> None:
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {secret}", "x-format": "simple"},
            timeout=DEADLINE_S,
            trust_env=False,
        )

    def ask(self, query: str) -> tuple[str, bool]:
        """Return the answer as text, and whether it is a value. Raises `Refused`."""
        try:
            answer = self._http.post("/query/1", json={"query": query}).json()
        except (httpx.HTTPError, ValueError) as error:
            raise Refused(f"no answer: {error}") from error
        if "error" in answer:
            return answer.get("summary") or _told(answer["error"]), False
        return json.dumps(answer.get("data"), indent=2, ensure_ascii=False), True

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def transfer(kubectl: Kubectl, cluster: Object, leader: str, to: int) -> str:
    """Ask the leader to hand over to a member; return the name of who leads then."""
    context = _context(kubectl.get("secret", f"{cluster['metadata']['name']}-member-tls-{to}"))
    with (
        kubectl.forward(f"pod/{leader}", ADMIN_PORT) as port,
        httpx.Client(verify=context, timeout=DEADLINE_S, trust_env=False) as http,
    ):
        try:
            answer = http.post(
                f"https://127.0.0.1:{port}/cluster/transfer",
                json={"to": to},
                extensions={"sni_hostname": leader},
            )
            told: Any = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Refused(f"{leader} did not answer: {error}") from error
    if answer.status_code != httpx.codes.OK:
        raise Refused(_told(told["error"]))
    return str(told["leader"]["name"]).partition(".")[0]


def _context(secret: Object) -> ssl.SSLContext:
    data = {key: b64decode(value) for key, value in (secret.get("data") or {}).items()}
    context = ssl.create_default_context(cadata=data["ca.crt"].decode())
    with tempfile.TemporaryDirectory() as folder:  # the library reads them from files only
        for name in ("tls.crt", "tls.key"):
            (Path(folder) / name).write_bytes(data[name])
        context.load_cert_chain(Path(folder) / "tls.crt", Path(folder) / "tls.key")
    return context


def _told(error: Any) -> str:
    return f"{error.get('code', 'error')}: {error.get('message', '')}"
