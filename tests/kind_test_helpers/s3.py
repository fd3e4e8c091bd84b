"""A real S3 server on loopback, with a folder behind it: versitygw.

    with s3_server(folder) as server:
        server.url("backups/orders")     what --store takes
        server.credentials               a folder for --credentials-dir

An object is the file `{folder}/{bucket}/{key}`, so that a test can damage one.
House rules: the port is free at start, the process dies with its owner, and is ended by its pid.
"""

import http.client
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.failures import HangLimit
from kind_test_helpers.recipes import VERSITYGW
from kind_test_helpers.tools import ensure

TIED = ("setpriv", "--pdeathsig", "KILL", "--")
START_S_MAX = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class S3Server:
    """A running server; `data` holds a folder for each bucket."""

    host: str
    port: int
    data: Path
    credentials: Path

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def url(self, path: str) -> str:
        """Return the `--store` of `bucket/prefix`, making the bucket."""
        (self.data / path.partition("/")[0]).mkdir(exist_ok=True)
        return f"s3://{path}?region=us-east-1&endpoint={self.endpoint}&path_style=true"


@contextmanager
def s3_server(folder: Path, host: str = "127.0.0.1") -> Iterator[S3Server]:
    """Run a server that keeps everything in `folder`; the tool is built when it is missing."""
    program = ensure(VERSITYGW)
    data, credentials = folder / "data", folder / "credentials"
    data.mkdir(parents=True)
    credentials.mkdir()
    access, secret = secrets.token_hex(8), secrets.token_hex(16)
    (credentials / "access-key-id").write_text(access)
    (credentials / "secret-access-key").write_text(secret)
    server = S3Server(host, _free_port(host), data, credentials)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*TIED, program, "--port", f"{host}:{server.port}", "--quiet", "posix", data],
            env={"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_it_answers(server, process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_it_answers(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + START_S_MAX
    while True:
        link = http.client.HTTPConnection(server.host, server.port, timeout=5)
        try:
            link.request("GET", "/")
            link.getresponse().read()
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up_s:
                raise HangLimit(f"versitygw does not answer: {log.read_text()}") from None
            time.sleep(POLL_S)
        else:
            return
        finally:
            link.close()


def _free_port(host: str) -> int:
    with socket.socket() as tried:
        tried.bind((host, 0))
        port: int = tried.getsockname()[1]
        return port
