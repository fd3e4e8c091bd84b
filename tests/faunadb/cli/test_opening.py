"""A directory is founded, inspected, recovered alone, and says what it is at each step."""

import dataclasses
from pathlib import Path

import pytest

from faunadb.cli.inspection import inspect_directory
from faunadb.cli.opening import Opening
from faunadb.cli.settings import Address, MemberSettings, RecoverSingle
from faunadb.codec import CloseForClients, RaiseCeiling, decode_payload
from faunadb.disk.files import DirectoryInUse
from faunadb.errors import Corrupt
from faunadb.raft.entries import EntryKind, MemberId, decode_configuration
from faunadb.raft.state import Restored

FLOOR_US = 1_900_000_000_000_000


@pytest.fixture
def settings(tmp_path: Path) -> MemberSettings:
    return MemberSettings(
        data_dir=tmp_path / "data",
        cluster_id=b"C" * 16,
        incarnation=1,
        member_id=MemberId(4),
        name="orders-4",
        root_secret="secret",
        client_listen=Address("127.0.0.1", 0),
        pod_uid="pod",
    )


def opened(settings: MemberSettings, *, found: bool = False) -> Restored:
    """Open (or found) the directory, and end without a word."""
    opening = Opening(settings)
    try:
        directory, restored = opening.found() if found else opening.open() or (None, None)
        assert directory is not None
        assert restored is not None
        directory.close()
        return restored
    finally:
        opening.files.close()


def recovering(settings: MemberSettings, floor_us: int = 0) -> MemberSettings:
    return dataclasses.replace(settings, incarnation=2, recovery=RecoverSingle(1, floor_us))


def test_a_recovered_directory_is_closed_for_clients(settings: MemberSettings) -> None:
    """One voter under the name of the command line; writes wait, times start above the floor."""
    opened(settings, found=True)
    restored = opened(recovering(settings, FLOOR_US))
    begun = restored.entries[-3:]

    assert [EntryKind.CONFIGURATION, EntryKind.DATA, EntryKind.DATA] == [e.kind for e in begun]
    voters = decode_configuration(begun[0].payload).voters
    assert [(4, "orders-4")] == [(peer.id, peer.name) for peer in voters]
    assert [CloseForClients(), RaiseCeiling(FLOOR_US)] == [
        decode_payload(entry.payload) for entry in begun[1:]
    ]
    assert restored.hard_state.commit == begun[-1].index
    again = opened(recovering(settings, FLOOR_US + 1))
    assert restored.entries == again.entries == opened(_plain(settings)).entries


def _plain(settings: MemberSettings) -> MemberSettings:
    return dataclasses.replace(settings, incarnation=2)


def test_without_a_floor_nothing_is_raised(settings: MemberSettings) -> None:
    """The log itself tells a new leader above what it must start."""
    opened(settings, found=True)
    payloads = [decode_payload(entry.payload) for entry in opened(recovering(settings)).entries[2:]]

    assert [CloseForClients()] == payloads


def test_an_empty_directory_is_not_recovered(settings: MemberSettings) -> None:
    """There is nothing that could go on."""
    opening = Opening(recovering(settings))
    with pytest.raises(Corrupt, match="nothing to recover"):
        opening.open()
    opening.files.close()


def test_inspection_says_how_far_a_log_goes(settings: MemberSettings) -> None:
    """Last entry, commit, configuration and incarnation, before and after a recovery."""
    assert {"state": "empty", "files": []} == _inspected(settings)
    opened(settings, found=True)
    first = _inspected(settings)
    opened(recovering(settings))
    second = _inspected(settings)

    assert (1, {"term": 1, "index": 1}, 1) == _position(first)
    assert (2, {"term": 2, "index": 3}, 3) == _position(second)
    alone = {"voters": [4], "voters_outgoing": [], "learners": [], "highest_member_id": 4}
    assert alone == first["configuration"] == second["configuration"]
    assert first["incarnation_salt"] != second["incarnation_salt"]
    assert first["nonce"] == second["nonce"]


def _inspected(settings: MemberSettings) -> dict[str, object]:
    settings.data_dir.mkdir(exist_ok=True)
    return inspect_directory(settings.data_dir)


def _position(found: dict[str, object]) -> tuple[object, object, object]:
    log = found["log"]
    assert isinstance(log, dict)
    return log["incarnation"], log["last"], log["commit"]


def test_inspection_changes_nothing(settings: MemberSettings) -> None:
    """Not even a lock is left; where there is one, a running member is not disturbed."""
    opened(settings, found=True)
    (settings.data_dir / "LOCK").unlink()
    before = _contents(settings.data_dir)
    _inspected(settings)
    assert before == _contents(settings.data_dir)
    opening = Opening(settings)
    with pytest.raises(DirectoryInUse):
        _inspected(settings)
    opening.files.close()


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_damaged_log_is_a_finding(settings: MemberSettings) -> None:
    """Another survivor is to be taken; the rest of the directory is shown all the same."""
    opened(settings, found=True)
    opened(settings)
    oldest = min((settings.data_dir / "wal").glob("*.wal"))
    block = bytearray(oldest.read_bytes())
    block[20] ^= 1
    oldest.write_bytes(block)
    found = _inspected(settings)
    log = found["log"]

    assert isinstance(log, dict)
    assert str(log["corrupt"]).startswith("header: ")
    assert "member" == found["state"]
