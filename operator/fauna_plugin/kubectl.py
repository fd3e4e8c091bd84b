"""How does the plugin reach a Kubernetes? Through kubectl itself, so every way to log in works.

House rule: kubectl's own words are what a person reads when it refuses. The trap: a plugin gets
no flags of kubectl that stand before its name; namespace and context are options of ours.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Object = dict[str, Any]

DEADLINE_S = 60
FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


class Refused(Exception):
    """kubectl failed; the message is its own."""


class Missing(Refused):
    """The object is not there."""


class Kubectl:
    """kubectl with a namespace and a context."""

    def __init__(self, program: str, namespace: str, context: str) -> None:
        self._common = [program, *(["--context", context] if context else [])]
        self._where = ["--namespace", namespace] if namespace else []

    def text(self, *arguments: str, given: str | None = None) -> str:
        """Run to the end and return what it printed. Raises `Refused` or `Missing`."""
        words = [*self._common, *self._where, *arguments]
        try:
            done = subprocess.run(  # noqa: S603 no shell, and kubectl by the caller's choice
                words, input=given, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
        except FileNotFoundError:
            raise Refused(f"there is no {self._common[0]} on the PATH") from None
        except subprocess.TimeoutExpired:
            raise Refused(f"kubectl did not end within {DEADLINE_S} s") from None
        if done.returncode:
            said = done.stderr.strip() or f"kubectl ended with {done.returncode}"
            raise (Missing if "(NotFound)" in said else Refused)(said)
        return done.stdout

    def get(self, kind: str, name: str) -> Object:
        """Return an object. Raises `Missing`."""
        found: Object = json.loads(self.text("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, selector: str = "") -> list[Object]:
        """Return the objects of a namespace; [] where the kind is not known."""
        chosen = ("-l", selector) if selector else ()
        try:
            found: list[Object] = json.loads(self.text("get", kind, *chosen, "-o", "json"))["items"]
        except Refused as refused:
            if "doesn't have a resource type" in str(refused):
                return []
            raise
        return found

    def create(self, manifest: Object) -> Object:
        """Create an object and return it as stored."""
        given = json.dumps(manifest)
        made: Object = json.loads(self.text("create", "-f", "-", "-o", "json", given=given))
        return made

    def follow(self, *arguments: str) -> int:
        """Let a person see a command's output as it comes; return its exit code."""
        try:
            words = [*self._common, *self._where, *arguments]
            return subprocess.run(words, check=False).returncode  # noqa: S603
        except KeyboardInterrupt:
            return 130

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """Give a local port that leads to a port of a pod or Service, while the block runs."""
        words: Sequence[str] = (
            *(*self._common, *self._where, "port-forward", target, f":{port}"),
            *("--address", "127.0.0.1"),
        )
        process = subprocess.Popen(  # noqa: S603
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            found = FORWARDED.search(process.stdout.readline())
            if found is None:
                process.kill()
                raise Refused(process.stderr.read().strip() or "kubectl port-forward ended")
            yield int(found[1])
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
