"""What waits for a proof of leadership is released once, and only by a later proof."""

from faunadb.node.rounds import Rounds
from faunadb.raft.entries import Index

LAST = Index(7)


def rounds(begun: int = 1) -> tuple[Rounds, list[bool]]:
    """Return rounds with one that waits, in the round `begun`."""
    found, released = Rounds(), list[bool]()
    found.join(released.append)
    if begun:
        found.begin(begun, LAST)
    return found, released


def test_both_the_proof_and_the_state_are_needed() -> None:
    """In either order (SAFETY 4)."""
    found, released = rounds()
    found.confirmed(1, Index(6))
    assert [] == released
    found.applied(LAST)
    assert [True] == released

    found, released = rounds()
    found.applied(LAST)
    assert [] == released
    found.confirmed(1, LAST)
    assert [True] == released


def test_a_round_serves_only_what_came_before_it() -> None:
    """A later read waits for a later round (SAFETY 7)."""
    found, first = rounds()
    second: list[bool] = []
    found.join(second.append)
    found.confirmed(1, LAST)
    assert [[True], []] == [first, second]
    found.begin(2, LAST)
    found.confirmed(2, LAST)

    assert [[True], [True]] == [first, second]


def test_all_that_waits_is_told_once_of_the_end() -> None:
    """What is gathered, begun or confirmed; nothing happens after it."""
    found, gathered = rounds(begun=0)
    begun: list[bool] = []
    found.begin(1, LAST)
    found.join(begun.append)
    found.resign()
    found.confirmed(1, LAST)
    found.failed(1)
    found.applied(LAST)
    found.resign()

    assert [[False], [False]] == [gathered, begun]
    assert not found.has_gathered()


def test_a_round_that_fails_says_so() -> None:
    """Only to those who waited for it."""
    found, released = rounds()
    found.failed(2)
    assert [] == released
    found.failed(1)
    found.failed(1)

    assert [False] == released


def test_what_is_released_may_ask_again() -> None:
    """A client that is answered sends its next query from within."""
    found, released = Rounds(), list[bool]()
    found.join(lambda _: found.join(released.append))
    found.begin(1, LAST)
    found.confirmed(1, LAST)

    assert found.has_gathered()
    assert [] == released
