"""Who a member is and may not be; how the program ends, for machines that read exit codes."""

import json
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from process.cluster import PROGRAM, TIED, Cluster, MemberProcess, run_program, wait_until

pytestmark = pytest.mark.process
USAGE, IO_ERROR, IDENTITY = 64, 74, 78


def ended(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """Return exit code and the reason in the last line of standard error, which is JSON."""
    said: dict[str, Any] = json.loads(done.stderr.rstrip().rpartition("\n")[2])
    assert {"reason", "detail"} == said.keys()
    return done.returncode, said["reason"]


def with_option(member: MemberProcess, option: str, value: str) -> list[str]:
    words = list(member.arguments)
    words[words.index(option) + 1] = value
    return words


@pytest.mark.parametrize(
    ("option", "value"),
    [("--cluster-id", "0" * 32), ("--incarnation", "2"), ("--member-id", "9")],
)
def test_another_identity_is_refused(three: Cluster, option: str, value: str) -> None:
    """A directory is started only as what it is; else exit 78 and one line of JSON."""
    member = three.followers()[0]
    member.kill()
    done = run_program(*with_option(member, option, value), check=False)
    member.start()
    three.wait_until_all_agree()

    assert (IDENTITY, "identity") == ended(done)


def test_a_wiped_volume_is_refused(three: Cluster) -> None:
    """An empty directory under an old id is told so by the others, stops, and never votes."""
    member = three.followers()[0]
    nonce, kept = member.status()["nonce"], member.data_dir.with_name("kept")
    member.kill()
    member.data_dir.rename(kept)
    member.start()
    code = member.exit_code()
    said = member.last_line()
    recorded = {v["id"]: v["nonce"] for v in three.leader().status()["configuration"]["voters"]}

    assert (IDENTITY, "wrong-nonce") == (code, said["reason"])
    assert nonce == recorded[member.place.id], "the configuration still names the old directory"

    member.data_dir.rename(kept.with_name("wiped"))
    kept.rename(member.data_dir)
    member.start()
    three.wait_until_all_agree()


def test_a_damaged_identity_is_refused(three: Cluster) -> None:
    """One flipped bit in IDENTITY is corruption, not an empty directory."""
    member = three.followers()[0]
    member.kill()
    path = member.data_dir / "IDENTITY"
    correct = path.read_bytes()
    path.write_bytes(correct[:20] + bytes((correct[20] ^ 1,)) + correct[21:])
    done = run_program(*member.arguments, check=False)
    path.write_bytes(correct)
    member.start()
    three.wait_until_all_agree()

    assert IDENTITY == ended(done)[0]


def test_a_directory_has_one_process(three: Cluster) -> None:
    """A second process on a directory, and `inspect` beside a running one, end with 74."""
    member = three.members[0]

    assert (IO_ERROR, "in-use") == ended(run_program(*member.arguments, check=False))
    assert (IO_ERROR, "in-use") == ended(run_program("inspect", str(member.data_dir), check=False))


def test_inspect(three: Cluster) -> None:
    """`faunadb inspect` says of a stopped member what it said of itself while it ran."""
    member = three.followers()[0]
    status = member.status()
    member.signal(signal.SIGTERM)
    assert 0 == member.exit_code()
    said = json.loads(run_program("inspect", str(member.data_dir)).stdout)
    member.start()
    three.wait_until_all_agree()

    same = ("cluster_id", "member_id", "nonce", "incarnation", "incarnation_salt")
    assert {key: status[key] for key in same} == {key: said[key] for key in same}
    assert "member" == said["state"]


def test_usage_ends_with_64(three: Cluster, tmp_path: Path) -> None:
    """What the command line says wrongly is the caller's fault: 64."""
    member = three.members[0]
    empty = tmp_path / "empty"
    empty.touch()
    wrong = [
        ["serve"],
        ["no-such-command"],
        ["dev", "--listen", "nowhere"],
        with_option(member, "--cluster-id", "xyz"),
        with_option(member, "--root-secret-file", str(empty)),
        with_option(member, "--member-id", "0"),
    ]

    assert [USAGE] * len(wrong) == [run_program(*words, check=False).returncode for words in wrong]


def test_a_port_that_is_taken_ends_with_74(tmp_path: Path) -> None:
    """An address in use, and a folder that cannot be made, are the machine's fault: 74."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_program("dev", "--data", str(tmp_path / "d"), "--listen", listen, check=False)
    (tmp_path / "file").touch()
    below = run_program("dev", "--data", str(tmp_path / "file" / "d"), check=False)

    assert [(IO_ERROR, "io")] * 2 == [ended(done), ended(below)]


def test_a_member_that_waits_stops_when_told(tmp_path: Path, three: Cluster) -> None:
    """SIGTERM ends a member that belongs to no cluster yet, with 0 and an empty directory."""
    member = three.members[0]
    words = with_option(member, "--data-dir", str(tmp_path / "data"))
    for option in ("--api-listen", "--admin-listen", "--peer-listen"):
        words[words.index(option) + 1] = "127.0.0.1:0"
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([*TIED, *PROGRAM, *words], stdout=out, stderr=out)
    try:
        wait_until(lambda: "waiting" in log.read_text(), "it waits")
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert json.loads(run_program("inspect", str(tmp_path / "data")).stdout)["state"] == "empty"
