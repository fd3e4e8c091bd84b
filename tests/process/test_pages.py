"""Every command of `docs/local-cluster.md` and its kin, from the pages' own text.

The pages name fixed addresses, so each runs in a network namespace of its own; it gets a process
namespace too, which ends all that a page started.

A block of `sh` belongs to the terminal that the comment before it names; what comes `first` needs
the network and runs outside. What stays (a server) is
the last command of a terminal's block and begins with `faunadb serve`, `dev` or `archive`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from process.cluster import ROOT, TIED

pytestmark = pytest.mark.process
PAGE_S_MAX = 400.0  # a fresh installation may take a minute
STEP = re.compile(  # what, which terminal, and its commands
    r"<!-- (?P<what>terminal|stop|start) (?P<number>\d) -->"
    r"(?:\n```sh\n(?P<block>.*?)```)?",
    re.DOTALL,
)
FIRST = re.compile(r"<!-- first -->\n```sh\n(.*?)```", re.DOTALL)
SERVER = re.compile(r"^faunadb (serve|dev|archive)\b")
NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execvp("bash", ["bash", *sys.argv[1:]])
"""
FAR = 'for n in $(seq 600); do grep -q "$1" "$2" && return; sleep 0.1; done; echo "no $1"; return 1'


def script_of(page: str, folder: Path) -> str:
    """Return a shell script that does what a reader of the page does."""
    lines = ["set -eu -o pipefail", f"await() {{ {FAR}; }}"]
    servers: dict[str, str] = {}
    for step in STEP.finditer(page):
        number, block = step["number"], step["block"]
        if step["what"] == "stop":
            lines += [f'kill -INT "$pid{number}"', f'wait "$pid{number}"']
        elif step["what"] == "start":
            lines.append(servers[number])
        elif server := SERVER.match(block):
            file = folder / f"terminal-{number}-{len(lines)}.sh"
            file.write_text(f"exec {block}")
            log = file.with_suffix(".log")
            servers[number] = f"bash {file} > {log} 2>&1 & pid{number}=$!"
            lines.append(servers[number])
            if server[1] == "dev":
                lines.append(f"await ready {log}")
        else:
            lines.append(block)
    return "\n".join(lines) + "\n"


def run_page(name: str, folder: Path, *then: str) -> str:
    """Run a page, `then` those that go on where it ends; return what their commands printed."""
    page = "\n".join((ROOT / "docs" / each).read_text() for each in (name, *then))
    script = folder / "page.sh"
    script.write_text(script_of(page, folder))
    outside = [[*TIED, "bash", "-eu", "-c", block] for block in FIRST.findall(page)]
    inside = [*TIED, *NAMESPACES, sys.executable, "-c", LOOPBACK_UP, str(script)]
    said = "".join(run_to_end(command, folder) for command in [*outside, inside])
    assert len(STEP.findall(page)) + len(outside) >= page.count("```sh"), "a block has no place"
    return said


def run_to_end(command: list[str], folder: Path) -> str:
    """Run one command as a reader would, with what the page installed before all else."""
    path = f"{folder}/venv/bin:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PAGE_S_MAX,
        check=False,
        env={**environment, "PATH": path},
    )
    said = done.stdout + done.stderr
    logs = "".join(log.read_text()[-2000:] for log in folder.glob("terminal-*.log"))
    assert 0 == done.returncode, said[-4000:] + logs
    return said


def test_local_cluster(tmp_path: Path) -> None:
    """Three members in three terminals form a cluster, lose one, and take it back."""
    said = run_page("local-cluster.md", tmp_path)

    assert '"open": true' in said
    assert '"Ada"' in said
    assert '"state": "member"' in said
    assert 2 <= said.count("Ada Lovelace")


def test_recovery(tmp_path: Path) -> None:
    """The same cluster loses two folders and goes on from the third."""
    said = run_page("local-cluster.md", tmp_path, "recovery.md")

    assert 2 <= said.count('"open": true')
    assert '"Grace"' in said
    assert "Ada Lovelace" in said.rpartition("Grace")[2]


def test_point_in_time(tmp_path: Path) -> None:
    """The log is archived, and what was deleted is there in a cluster of the time before."""
    said = run_page("point-in-time.md", tmp_path)

    assert '"archived_index":' in said
    assert '"beyond_archive"' in said or '"lost_after_index"' in said
    assert "Ada" in said.rpartition('"state_hash"')[2]


def test_security(tmp_path: Path) -> None:
    """Keys, roles, logins and scopes do what the page says of them."""
    said = run_page("security.md", tmp_path).splitlines()

    answers = [json.loads(line) for line in said if line[:1] == "{"]
    assert ["permission_denied", "permission_denied", "invalid_secret", "unauthorized",
            "permission_denied", "unauthorized"] == [
        answer["error"]["code"] for answer in answers if "error" in answer
    ]  # fmt: skip
    assert [[3, 7], [12]] == [a["data"] for a in answers if isinstance(a.get("data"), list)]
    assert [3, 0, 12, 3, 1] == [a["data"] for a in answers if isinstance(a.get("data"), int)]


def test_schema(tmp_path: Path) -> None:
    """A schema is pushed, changed by a query, and comes back with the change."""
    said = run_page("schema.md", tmp_path)

    assert "* Adding collection `Customer` to main.fsl:1:1" in said
    assert '"data":"hello Ada"' in said
    assert "// Those who buy.\\ncollection Customer {\\n  name: String" in said
    assert "-   history_days 2" in said


def test_development(tmp_path: Path) -> None:
    """`pip install` alone gives a `faunadb dev` that answers."""
    for name in ("database", "operator"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    said = run_page("development.md", tmp_path)

    assert '"data":"hello"' in said
    assert '"state": "member"' in said


def test_streams(tmp_path: Path) -> None:
    """A feed and a stream show the same two events, by curl."""
    said = run_page("streams.md", tmp_path)

    assert 2 == said.count('"type":"add"')
    assert 2 == said.count('"type":"remove"')
    assert '{"type":"status"' in said
