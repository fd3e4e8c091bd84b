"""What a leader knows of one peer, and what it may send it."""

from faunadb.raft.entries import MemberId
from faunadb.raft.progress import Flow, Progress

NONCE = b"n" * 16


def progress(last: int = 10, *, match: int | None = None) -> Progress:
    made = Progress(MemberId(2), NONCE, last=last, now=0)
    if match is not None:
        made.accepted(match)
    return made


def test_a_probe_is_one_message_at_a_time() -> None:
    """Until it is answered nothing more is sent."""
    peer = progress()
    assert peer.may_send(8, 100)

    peer.sent(10, 5)

    assert not peer.may_send(8, 100)
    assert peer.next == 11


def test_a_pipeline_is_bounded_by_messages_and_by_bytes() -> None:
    """Whichever limit is reached first; acknowledgements make room again."""
    peer = progress(match=10)
    assert peer.flow is Flow.REPLICATE
    peer.sent(11, 60)
    assert peer.may_send(2, 100)
    peer.sent(12, 60)

    assert not peer.may_send(9, 100)
    assert not peer.may_send(2, 1000)

    peer.accepted(11)
    assert peer.may_send(2, 100)
    assert peer.inflight_bytes == 60


def test_match_never_falls() -> None:
    """An acknowledgement that comes late is no news."""
    peer = progress(match=10)

    assert not peer.accepted(7)
    assert peer.match == 10
    assert peer.next == 11


def test_a_late_refusal_is_ignored() -> None:
    """What was refused before the peer caught up says nothing now."""
    peer = progress(match=10)
    assert not peer.refused(9, 3)
    peer.sent(12, 1)
    assert peer.refused(12, 9)
    assert (Flow.PROBE, 11) == (peer.flow, peer.next)
    assert not peer.refused(12, 9), "the same refusal, again"


def test_a_probe_goes_back_to_what_may_fit() -> None:
    """Not by one, and never below what is known to match."""
    peer = progress()
    peer.sent(10, 1)

    assert peer.refused(10, 4)

    assert peer.next == 5
    assert not peer.paused


def test_a_snapshot_silences_the_stream() -> None:
    """Nothing is sent until it ended; a failure waits for the next heartbeat."""
    peer = progress()
    peer.awaits_snapshot(40)
    assert not peer.may_send(8, 100)
    assert not peer.refused(10, 4)

    peer.snapshot_ended(ok=False)
    assert peer.paused

    peer.awaits_snapshot(40)
    peer.snapshot_ended(ok=True)
    assert (Flow.PROBE, 41) == (peer.flow, peer.next)
    peer.snapshot_ended(ok=True)  # reported twice


def test_an_acknowledgement_ends_a_snapshot() -> None:
    """A peer that says what it has needs no other sign that it arrived."""
    peer = progress()
    peer.awaits_snapshot(40)

    peer.accepted(44)

    assert (Flow.REPLICATE, 45) == (peer.flow, peer.next)


def test_caught_up_means_within_a_round() -> None:
    """Everything, or a last round and a running one that are both short (dissertation 4.2.1)."""
    peer = progress(last=100)
    assert not peer.caught_up(100, 5, 50)
    peer.heard_at = 40
    peer.accepted(100)
    peer.measure_round(180, 40)
    assert peer.caught_up(180, 45, 50)
    assert peer.caught_up(100, 45, 50)

    peer.heard_at = 95
    assert not peer.caught_up(180, 95, 50), "the running round takes too long"
    assert not peer.caught_up(100, 150, 50), "it was not heard for long"
