"""How does an operator die at every write that it makes?

It runs beside the cluster, behind a gate (`kind_test_helpers.gate`), and is ended with kill -9
when the API server has done a write and the operator has not heard of it. Each life is a process
of its own, forked from one that has imported the program and done nothing else. The trap: what it
makes again after its death is let pass, or it would announce the same for ever.
"""

import json
import multiprocessing
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from kind_test_helpers.api import Json
from kind_test_helpers.gate import Write
from kind_test_helpers.places import run_folder

PROGRAM = "fauna_operator.__main__"


def forking() -> ForkServerContext:
    """Return where lives come from: a process that has the program in memory."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PROGRAM, "pytest"])
    return context


def live(log: Path, kubeconfig: Path, namespace: str) -> None:
    """Be an operator, in a process of its own."""
    from fauna_operator.__main__ import main  # noqa: PLC0415 - only a life needs it

    with log.open("ab") as output:
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.environ["POD_NAME"] = "killed-often"  # the Lease is its own again at once
    arguments = [f"--namespace={namespace}", f"--lease-namespace={namespace}"]
    main(["run", f"--kubeconfig={kubeconfig}", "--health-port=0", *arguments])


@dataclass
class Killer:
    """Kills at each write that was never made before; `ends` are the exit codes of all lives."""

    writes: list[Write] = field(default_factory=list)
    ends: list[int | None] = field(default_factory=list)
    deaths: int = 0
    _context: ForkServerContext = field(default_factory=forking)
    _known: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: ForkServerProcess | None = None

    def told(self, write: Write) -> None:
        """Kill, unless the same was written before; its answer is never heard."""
        with self._lock:
            self.writes.append(write)
            mark = f"{write.method} {write.path} {json.dumps(meant(write.body), sort_keys=True)}"
            if mark in self._known or self._process is None:
                return
            self._known.add(mark)
            self.deaths += 1
            self._process.kill()
            self._process.join()

    @contextmanager
    def operator(self, kubeconfig: Path, namespace: str) -> Iterator[None]:
        """Run the operator beside the cluster; it does not outlive the block."""
        log = run_folder() / "logs" / f"killed-operator-{namespace}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._process = self._context.Process(target=live, args=(log, kubeconfig, namespace))
            self._process.start()
        process = self._process
        try:
            yield
        finally:
            with self._lock:
                process.kill()
                process.join()
                self.ends.append(process.exitcode)

    def killed(self) -> bool:
        """Whether the present life has ended."""
        with self._lock:  # two readers of an exit code are one too many
            return self._process is not None and self._process.exitcode is not None

    def cluster_ids(self) -> set[str]:
        """Return every cluster id that was ever written into the resource."""
        told = [write.body.get("status") or {} for write in self.writes]
        return {status["clusterID"] for status in told if "clusterID" in status}

    def made(self) -> list[str]:
        """Return the path of everything that was newly made, in order."""
        return [write.created for write in self.writes if write.created]

    def report(self) -> str:
        """Return how often it died, and what it wrote."""
        at = Counter("/".join((w.method, *w.path.split("/")[-2:])) for w in self.writes)
        return f"{self.deaths} deaths in {len(self.ends)} lives, {len(self.writes)} writes: {at}"


def meant(body: Json) -> Json:
    """What a write says, without what a repetition of it says otherwise."""
    if "status" in body:
        return {**body["status"], "initAttempts": "initAttempts" in body["status"]}
    metadata = {**body.get("metadata", {}), "resourceVersion": None}
    return {**body, "metadata": metadata}
