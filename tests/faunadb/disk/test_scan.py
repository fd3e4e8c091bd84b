"""A torn tail is cut, damage is said: the table of what recovery does with a bad frame."""

from collections.abc import Callable
from random import Random

import msgspec
import pytest

from disk_test_helpers.member import Storage, entry
from faunadb.disk.frames import (
    HEADER_BYTES,
    Append,
    FrameFlag,
    FrameKind,
    decode_header,
    encode_data,
    encode_frame,
    encode_header,
    encode_twin,
    seed_of,
)
from faunadb.disk.wal import segment_path
from faunadb.errors import Corrupt
from faunadb.raft.entries import EntryId, HardState, Index, MemberId, Term
from faunadb.raft.events import Token, Write
from faunadb_sim.disk import SimDisk


@pytest.fixture
def storage() -> Storage:
    """A member whose newest segment has frames of one sector each: 0 (and twin), 2, 3, 4."""
    storage = Storage(SimDisk(Random(5)), Random(5))
    storage.open()
    for _ in range(3):
        storage.append(1)
    return storage


def sector(storage: Storage, number: int) -> int:
    """Return where the sector of frame `number` starts."""
    return HEADER_BYTES + 512 * number


def newest(storage: Storage) -> str:
    return segment_path(storage.opened.wal.position().seq)


def reopen(storage: Storage) -> None:
    storage.directory = None
    storage.disk.crash_process()
    storage.open()


def test_the_last_frame_torn(storage: Storage) -> None:
    """A bad last frame, with nothing behind it, is a write that was interrupted."""
    storage.disk.flip_bit(newest(storage), sector(storage, 4) + 20)
    storage.pending = (storage.reported,)
    storage.reported = type(storage.reported)(
        ids=storage.reported.ids[:-1], hard_state=storage.reported.hard_state
    )

    reopen(storage)

    assert 2 == storage.opened.recovered.entries[-1].index


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_frame_before_the_last_damaged(storage: Storage, number: int) -> None:
    """A valid later frame proves that the bad one was synced: `Corrupt`, nothing is cut."""
    storage.disk.flip_bit(newest(storage), sector(storage, number) + 20)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert "frame" == caught.value.reason
    assert f"frame {number} at byte" in caught.value.detail


@pytest.mark.parametrize("at", [0, 4, 5, 8, 12, 16, 40])
def test_any_part_of_a_frame_damaged(storage: Storage, at: int) -> None:
    """Length, kind, flags, checksum, number or payload: it makes no difference."""
    storage.disk.flip_bit(newest(storage), sector(storage, 2) + at)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert "frame" == caught.value.reason


def test_a_frame_of_a_sealed_segment_damaged(storage: Storage) -> None:
    """A sealed segment has no tail that may be torn."""
    path = newest(storage)
    reopen(storage)
    storage.disk.flip_bit(path, sector(storage, 3) + 20)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert "frame" == caught.value.reason


def test_a_torn_frame_is_not_damage_at_the_next_start(storage: Storage) -> None:
    """Recovery ends the segment before the torn frame and goes on in a new one."""
    path = newest(storage)
    storage.disk.flip_bit(path, sector(storage, 4) + 20)
    storage.pending = (type(storage.reported)(ids=storage.reported.ids[:-1]),)

    for _ in range(3):
        reopen(storage)
        storage.append(1)

    assert [1, 2, 3, 4, 5] == [e.index for e in storage.opened.recovered.entries] + [5]


@pytest.mark.parametrize("tear_twin", [False, True])
def test_a_vote_survives_the_loss_of_either_copy(storage: Storage, tear_twin: bool) -> None:
    """A frame that changes the vote has a twin under the same fsync (SAFETY 20)."""
    state = HardState(Term(7), MemberId(3), Index(0))
    storage.write(Write(Token(Term(7), 1), state, None, (entry(4, 7),)))
    storage.disk.flip_bit(newest(storage), sector(storage, 6 if tear_twin else 5) + 20)
    without = type(storage.reported)(ids=storage.reported.ids[:-1], hard_state=state)
    storage.reported, storage.pending = without, (storage.reported,)

    reopen(storage)

    assert state == storage.opened.recovered.hard_state
    assert (4 if tear_twin else 3) == storage.opened.recovered.entries[-1].index


def test_a_twin_does_not_excuse_damage_before_later_frames(storage: Storage) -> None:
    """A frame behind the twin proves that both were synced."""
    reopen(storage)
    storage.vote()
    storage.append(1)
    storage.disk.flip_bit(newest(storage), sector(storage, 2) + 20)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert "but frame 4 behind it is whole" in caught.value.detail


def test_forged_frames_in_documents_change_nothing(storage: Storage) -> None:
    """A document full of frames, with guessed salts, at every place of a sector."""
    forged = b"".join(
        encode_frame(FrameKind.DATA, FrameFlag.NONE, number, bytes(24), seed)[0]
        for seed in (0, 1)
        for number in range(12)
    )
    for shift in range(0, 512, 64):
        payload = bytes(shift) + forged[:3000]
        first = storage.reported.last_index + 1
        storage.write(Write(storage.token(), None, None, (entry(first, 1, payload),)))
    storage.disk.flip_bit(newest(storage), storage.opened.wal.position().end - 600)
    storage.pending = (type(storage.reported)(ids=storage.reported.ids[:-1]),)

    reopen(storage)

    assert storage.reported.last_index == first - 1


def test_a_missing_segment(storage: Storage) -> None:
    """A hole in the chain of segments is damage."""
    reopen(storage)
    reopen(storage)
    storage.disk.remove(segment_path(2))

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert "chain" == caught.value.reason


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda disk: disk.flip_bit(segment_path(2), 30), "header"),
        (lambda disk: disk.flip_bit(segment_path(2), 0), "header"),
        (lambda disk: disk.rename(segment_path(2), segment_path(3)), "header"),
        (lambda disk: disk.remove(segment_path(2)), "log"),
    ],
)
def test_damage_to_what_names_a_segment(
    storage: Storage, damage: Callable[[SimDisk], None], reason: str
) -> None:
    """Headers are synced before a segment has its name: a bad one is never a torn write."""
    reopen(storage)
    storage.disk.remove(segment_path(1))
    damage(storage.disk)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert reason == caught.value.reason


def test_the_frame_that_was_repeated_may_not_be_missing(storage: Storage) -> None:
    """It stands for a frame that its predecessor leaves out."""
    reopen(storage)
    path = newest(storage)
    for number in (0, 1):
        storage.disk.flip_bit(path, sector(storage, number) + 20)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert "frame" == caught.value.reason


def test_what_recovery_read_is_repeated_once_more() -> None:
    """kill -9 between write and fdatasync, a start, loss of power: what was told stays (SAFETY 14).

    The frame was only in the page cache; the first start acknowledges it from there.
    """
    for seed in range(40):
        storage = Storage(SimDisk(Random(seed)), Random(seed))
        storage.open()
        storage.append(2)
        directory, after = storage.opened, storage.reported
        write = Write(storage.token(), None, None, (entry(3),))
        storage.pending = (after.after(write),)
        directory.wal.write([write])
        reopen(storage)
        assert 3 == storage.reported.last_index

        storage.disk.lose_power()
        storage.open()

        assert 3 == storage.reported.last_index


def test_the_hard_state_outlives_a_cut_between_roll_and_sync() -> None:
    """The segment with the newest synced frame is never given up."""
    for seed in range(20):
        storage = Storage(SimDisk(Random(seed)), Random(seed))
        storage.open()
        storage.vote()
        write = Write(storage.token(), None, None, (entry(1, 1, bytes(9000)),))
        storage.pending = (storage.reported.after(write),)
        storage.opened.wal.write([write])
        storage.opened.wal.cut(Index(10))
        storage.disk.lose_power()

        storage.open()

        assert Term(1) == storage.opened.recovered.hard_state.term


def test_truncation_is_a_record() -> None:
    """A conflict voids entries of earlier segments; the write position never moves back."""
    storage = Storage(SimDisk(Random(1)), Random(1))
    storage.open()
    for _ in range(20):
        storage.append(2)
    before = storage.opened.wal.position()
    storage.write(Write(storage.token(), None, Index(5), (entry(5, 2), entry(6, 2))))
    after = storage.opened.wal.position()
    assert (before.seq, before.end) < (after.seq, after.end)

    reopen(storage)

    ids = [e.id for e in storage.opened.recovered.entries]
    assert [EntryId(Term(1), Index(i)) for i in range(1, 5)] == ids[:4]
    assert [EntryId(Term(2), Index(i)) for i in (5, 6)] == ids[4:]


def whole_frame(storage: Storage, number: int, payload: bytes, kind: FrameKind) -> None:
    """Write a frame with a right checksum where the next one belongs."""
    path = newest(storage)
    file = storage.disk.open(path)
    seed = seed_of(decode_header(file.pread(HEADER_BYTES, 0)).salt)
    block, _ = encode_frame(kind, FrameFlag.NONE, number, payload, seed)
    file.pwrite(block, storage.opened.wal.position().end)


STATE = HardState(Term(1), MemberId(0), Index(0))


@pytest.mark.parametrize(
    ("number", "payload", "kind", "reason"),
    [
        (5, b"nonsense", FrameKind.DATA, "frame"),
        (5, encode_twin(STATE), FrameKind.TWIN, "frame"),
        (4, encode_data(STATE, ()), FrameKind.DATA, "frame"),
        (6, encode_data(STATE, ()), FrameKind.DATA, "frame"),
        (5, encode_data(STATE, (Append((entry(9),)),)), FrameKind.DATA, "gap"),
    ],
)
def test_a_whole_frame_that_does_not_belong(
    storage: Storage, number: int, payload: bytes, kind: FrameKind, reason: str
) -> None:
    """Nonsense with a right checksum, a wrong number, a lonely twin, a gap: never cut, but said."""
    whole_frame(storage, number, payload, kind)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert reason == caught.value.reason


def test_a_twin_that_contradicts_its_frame(storage: Storage) -> None:
    """Both were written from one value."""
    position = storage.opened.wal.position()
    file = storage.disk.open(newest(storage))
    seed = seed_of(decode_header(file.pread(HEADER_BYTES, 0)).salt)
    data, _ = encode_frame(FrameKind.DATA, FrameFlag.TWIN_FOLLOWS, 5, encode_data(STATE, ()), seed)
    other = HardState(Term(2), MemberId(0), Index(0))
    twin, _ = encode_frame(FrameKind.TWIN, FrameFlag.NONE, 6, encode_twin(other), seed)
    file.truncate(position.end + 1024)
    file.pwrite(data + twin, position.end)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert "frame" == caught.value.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"first_index": 2}, "gap"),
        ({"previous_crc": 1}, "chain"),
        ({"previous_end": 1024}, "chain"),
        ({"incarnation": 0}, "chain"),
        ({"incarnation": 2}, "identity"),
        ({"cluster_id": b"x" * 16}, "identity"),
        ({"seq": 9}, "header"),
    ],
)
def test_a_header_that_contradicts_the_chain(
    storage: Storage, change: dict[str, object], reason: str
) -> None:
    """What a header says of its predecessor and its owner is held against both."""
    reopen(storage)
    file = storage.disk.open(newest(storage))
    header = decode_header(file.pread(HEADER_BYTES, 0))
    file.pwrite(encode_header(msgspec.structs.replace(header, **change)), 0)

    with pytest.raises(Corrupt) as caught:
        reopen(storage)

    assert reason == caught.value.reason
