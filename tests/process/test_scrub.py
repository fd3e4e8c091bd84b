"""A byte of the state that changes on the disk: it is found, never served, and made good again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from process.cluster import NO_ANSWER, SECRET, MemberProcess, find_places, wait_until

pytestmark = pytest.mark.process
CORRUPTION = 78
MARKER = "nobody reads this document"


@pytest.fixture
def member(tmp_path: Path) -> Iterator[MemberProcess]:
    """One member, alone."""
    (place,) = find_places(1)
    listen = f"{place.host}:{place.client_port}"
    words = ["dev", "--data", str(tmp_path / "data"), "--listen", listen, "--secret", SECRET]
    member = MemberProcess(
        place=place,
        data_dir=tmp_path / "data",
        arguments=words,
        operator_tls=tmp_path,
        log=tmp_path / "log",
    )
    member.start()
    try:
        wait_until(lambda: _answers(member), "it answers")
        yield member
    finally:
        member.kill()


def test_a_changed_byte_is_found_and_made_good(member: MemberProcess) -> None:
    """The member ends with 78 by itself, and comes back with what the log says (SAFETY 18)."""
    assert member.query('Collection.create({name: "A"})').status == 200
    assert member.query(f'A.create({{id: 1, text: "{MARKER}"}})').status == 200
    member.kill()
    state = next(member.data_dir.glob("state-*/data.mdb"))
    block = state.read_bytes()
    assert MARKER.encode() in block
    state.write_bytes(block.replace(MARKER.encode(), MARKER.upper().encode()))
    member.start()
    code = member.exit_code()
    said = member.last_line()
    member.start()
    wait_until(lambda: _answers(member), "it comes back")

    assert (CORRUPTION, "state") == (code, said["reason"])
    assert "does not match its checksum" in said["detail"]
    assert MARKER == member.query("A.byId(1)!.text").data


def _answers(member: MemberProcess) -> bool:
    try:
        return member.query("1").status == 200
    except NO_ANSWER:
        return False
