"""The checker of client histories: what it must reject, and that brute force agrees with it."""

# ruff: noqa: PLR0917 - an operation is a row of a table

import itertools
import os
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb_sim.history import Kind, Operation, Outcome, from_lines, to_lines
from faunadb_sim.linearizable import (
    REJECTED,
    Bank,
    Lists,
    Model,
    Register,
    TooHard,
    check,
    check_key,
    check_order,
)

FUZZ = int(os.environ.get("FAUNA_FUZZ", "400"))
OK, FAILED, UNKNOWN = Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN


def op(
    kind: Kind,
    argument: Any,
    result: Any,
    start: int,
    end: int,
    outcome: Outcome = OK,
    key: str = "k",
    ts: int = 0,
) -> Operation:
    return Operation(key, kind, argument, result, outcome, start, end, ts=ts)


def write(value: Any, start: int, end: int, outcome: Outcome = OK) -> Operation:
    return op("write", value, None, start, end, outcome)


def read(value: Any, start: int, end: int) -> Operation:
    return op("read", None, value, start, end)


def cas(old: Any, new: Any, result: bool, start: int, end: int, outcome: Outcome = OK) -> Operation:
    return op("cas", [old, new], result, start, end, outcome)


def append(value: Any, start: int, end: int, outcome: Outcome = OK) -> Operation:
    return op("append", value, None, start, end, outcome)


def insert(value: Any, result: bool, start: int, end: int, outcome: Outcome = OK) -> Operation:
    return op("insert", value, result, start, end, outcome)


GOOD: dict[str, list[Operation]] = {
    "nothing": [],
    "one after the other": [write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)],
    "a read beside a write may see either": [
        write(1, 0, 1),
        write(2, 2, 9),
        read(1, 3, 4),
        read(2, 5, 6),
    ],
    "an unknown write is seen late": [write(1, 0, 1), write(2, 2, 3, UNKNOWN), read(2, 90, 91)],
    "an unknown write is never seen": [write(1, 0, 1), write(2, 2, 3, UNKNOWN), read(1, 90, 91)],
    "an unknown write makes a cas fail": [
        write(1, 0, 1),
        write(2, 2, 3, UNKNOWN),
        cas(1, 5, False, 4, 5),
    ],
    "an unknown cas in a chain": [
        write(1, 0, 1),
        cas(1, 2, False, 2, 3, UNKNOWN),
        cas(2, 3, True, 4, 5),
        read(3, 6, 7),
    ],
    "equal times are concurrent": [write(1, 0, 5), read(None, 5, 6)],
    "an element of unknown outcome": [
        append(1, 0, 1, UNKNOWN),
        append(2, 2, 3),
        read([1, 2], 4, 5),
    ],
    "a second write of what is there already may come later": [
        write(1, 0, 0),
        write(1, 0, 1),
        write(0, 1, 1),
        read(1, 2, 2),
    ],
    "one of two inserts": [insert(1, True, 0, 9), insert(2, False, 1, 8), read(1, 10, 11)],
}
BAD: dict[str, list[Operation]] = {
    "stale read": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "lost update": [
        write(0, 0, 1),
        cas(0, 1, True, 2, 9),
        cas(0, 2, True, 3, 8),
        read(2, 10, 11),
    ],
    "a write that was lost": [write(1, 0, 1), read(None, 2, 3)],
    "a value from nowhere": [write(1, 0, 1), read(7, 0, 1)],
    "a write that surely failed is seen": [write(1, 0, 1, FAILED), read(1, 2, 3)],
    "time runs backwards for two readers": [
        write(1, 0, 1),
        write(2, 2, 99),
        read(2, 3, 4),
        read(1, 5, 6),
    ],
    "an unknown write is seen, then not": [
        write(1, 0, 1),
        write(2, 2, 3, UNKNOWN),
        read(2, 4, 5),
        read(1, 6, 7),
    ],
    "an unknown write is applied twice": [
        write(2, 0, 1, UNKNOWN),
        read(2, 2, 3),
        write(3, 4, 5),
        read(2, 6, 7),
    ],
    "an unknown write is seen before it was asked for": [read(2, 0, 1), write(2, 2, 3, UNKNOWN)],
    "an element that is there twice": [append(1, 0, 1), read([1, 1], 2, 3)],
    "an unknown element that is there twice": [append(1, 0, 1, UNKNOWN), read([1, 1], 2, 3)],
    "an element that was lost": [append(1, 0, 1), append(2, 2, 3), read([2], 4, 5)],
    "lists that disagree": [
        append(1, 0, 9),
        append(2, 0, 9),
        read([1, 2], 3, 4),
        read([2], 3, 4),
    ],
    "elements out of order": [append(1, 0, 1), append(2, 2, 3), read([2, 1], 4, 5)],
    "two inserts of one key": [insert(1, True, 0, 9), insert(2, True, 1, 8)],
    "an insert that failed for no reason": [insert(1, False, 0, 1)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_one_copy_could_have_answered_is_accepted(name: str) -> None:
    """Each history has an order that explains it."""
    assert check(GOOD[name]) is None


@pytest.mark.parametrize("name", BAD)
def test_what_no_copy_could_have_answered_is_rejected(name: str) -> None:
    """Each history shows one accident of a database."""
    assert check(BAD[name]) is not None


def test_a_violation_names_what_cannot_be_explained() -> None:
    """The operation, what the data could be, and what happened around it."""
    found = check(BAD["stale read"])

    assert found is not None
    assert BAD["stale read"][2] == found.operation
    assert "the data could be 2" in found.reason
    assert "> [4..5]  k: read -> 1" in str(found)


def test_keys_are_judged_alone() -> None:
    """An order of each key is an order of all; the bad key is named."""
    good = [op("write", 1, None, 0, 1, key="a"), op("read", None, 1, 2, 3, key="a")]
    bad = [op("write", 1, None, 0, 1, key="b"), op("read", None, None, 2, 3, key="b")]

    assert check(good) is None
    found = check(good + bad)
    assert found is not None
    assert "b" == found.key


# ------------------------------------------------------------ brute force

small = st.integers(0, 2)
outcomes = st.sampled_from([OK, OK, OK, UNKNOWN, FAILED])
lists = st.lists(small, max_size=3)


def operations_of(*kinds: Kind) -> st.SearchStrategy[list[Operation]]:
    arguments: dict[Kind, st.SearchStrategy[Any]] = {
        "read": st.none(),
        "write": small,
        "insert": small,
        "append": small,
        "cas": st.tuples(small | st.none(), small).map(list),
    }
    results: dict[Kind, st.SearchStrategy[Any]] = {
        "read": lists if "append" in kinds else small | st.none(),
        "write": st.none(),
        "append": st.none(),
        "insert": st.booleans(),
        "cas": st.booleans(),
    }

    def one(kind: Kind) -> st.SearchStrategy[Operation]:
        times = st.tuples(st.integers(0, 12), st.integers(0, 5))
        return st.builds(
            lambda argument, result, at, outcome: op(
                kind, argument, result, at[0], at[0] + at[1], outcome
            ),
            arguments[kind],
            results[kind],
            times,
            outcomes,
        )

    return st.lists(st.sampled_from(kinds).flatmap(one), max_size=6)


def explained(operations: Sequence[Operation], model: Model) -> bool:
    """Try every order of every set that unknown operations may have been in."""
    sure = [o for o in operations if o.outcome is OK]
    maybe = [o for o in operations if o.outcome is UNKNOWN and o.kind != "read"]
    return any(
        follows(order, model)
        for count in range(len(maybe) + 1)
        for some in itertools.combinations(maybe, count)
        for order in itertools.permutations([*sure, *some])
    )


def follows(order: Sequence[Operation], model: Model) -> bool:
    for at, operation in enumerate(order):
        for later in order[at + 1 :]:
            if later.outcome is OK and later.end < operation.start:
                return False
    state: Any = model.initial
    for operation in order:
        state = model.apply(state, operation)
        if state is REJECTED:
            return False
    return True


class PlainList:
    """A list as it is, without what `Lists` knows of the reads."""

    initial: tuple[Any, ...] = ()

    def apply(self, state: tuple[Any, ...], operation: Operation) -> Any:
        if operation.kind == "append":
            return (*state, operation.argument)
        return state if list(state) == operation.result else REJECTED


@settings(max_examples=FUZZ, deadline=None)
@given(operations_of("read", "write", "cas", "insert"))
def test_brute_force_agrees_on_registers(operations: list[Operation]) -> None:
    """The search accepts exactly what some order explains."""
    assert explained(operations, Register()) == (check_key(operations) is None)


@settings(max_examples=FUZZ, deadline=None)
@given(operations_of("read", "append"))
def test_brute_force_agrees_on_lists(operations: list[Operation]) -> None:
    """The state of `Lists` is as good as the list itself."""
    appended = [*operations, append(9, 100, 101, UNKNOWN)]
    assert explained(appended, PlainList()) == (check_key(appended) is None)


# ------------------------------------------------------------ many operations


def simulated(seed: int, count: int, clients: int, keys: int, lost: float) -> list[Operation]:
    """Answer clients from one copy, each at a moment between question and answer."""
    chance, data = random.Random(seed), dict[str, Any]()
    free_at = [0] * clients
    history = []
    for number in range(count):
        client = min(range(clients), key=free_at.__getitem__)
        start = free_at[client]
        end = start + chance.randrange(1, 50)
        free_at[client] = end + 1
        kind: Kind = chance.choice(["read", "write", "cas"])
        key = f"k{chance.randrange(keys)}"
        argument: Any = number if kind == "write" else None
        if kind == "cas":
            argument = [data.get(key), number] if chance.random() < 0.8 else [-1, number]
        history.append((chance.randint(start, end), number, key, kind, argument, start, end))
    done = []
    for moment, _, key, kind, argument, start, end in sorted(history):
        is_lost = chance.random() < lost
        result: Any = None
        if kind == "read":
            result = data.get(key)
        elif kind == "write":
            if not is_lost or chance.random() < 0.5:
                data[key] = argument
        elif not is_lost or chance.random() < 0.5:
            result = data.get(key) == argument[0]
            data[key] = argument[1] if result else data.get(key)
        outcome = UNKNOWN if is_lost else OK
        done.append(Operation(key, kind, argument, result, outcome, start, end, ts=moment))
    return done


def test_a_hundred_thousand_operations_are_judged() -> None:
    """32 clients on 50 keys, one operation in two hundred of unknown outcome."""
    history = simulated(1, 100_000, clients=32, keys=50, lost=0.005)

    assert check(history) is None


def test_one_hot_key_is_judged() -> None:
    """8,000 operations of sixteen clients on one register."""
    assert check(simulated(2, 8000, clients=16, keys=1, lost=0.001)) is None


@pytest.mark.parametrize("seed", range(8))
def test_one_wrong_answer_among_many_is_found(seed: int) -> None:
    """A read that shows a value of long ago."""
    history = simulated(seed, 3000, clients=8, keys=3, lost=0.005)
    reads = [n for n, o in enumerate(history) if o.kind == "read" and o.outcome is OK]
    last = reads[-1]
    old = next(o.argument for o in history if o.kind == "write" and o.key == history[last].key)
    wrong = history[last]
    history[last] = op("read", None, old, wrong.start, wrong.end, key=wrong.key)

    assert check(history) is not None


def test_what_cannot_be_told_is_not_called_good() -> None:
    """Too many explanations end the search with an error."""
    values = range(20)
    history = [cas(n, n + 1, True, 0, 9, UNKNOWN) for n in values]
    history += [write(n, 0, 100 + n) for n in values]
    history += [read(-1, 101, 102)]

    with pytest.raises(TooHard):
        check(history, places_max=10_000)


# ------------------------------------------------------------ the order that the system claims


def transfer(giver: int, taker: int, amount: int, result: bool, at: int, ts: int) -> Operation:
    return op("transfer", [giver, taker, amount], result, at, at + 1, ts=ts)


def balances(seen: list[int], at: int, ts: int) -> Operation:
    return op("read", None, seen, at, at + 1, ts=ts)


def test_an_order_that_explains_itself_is_accepted() -> None:
    """Each result is that of its place in the order of transaction times."""
    history = [
        transfer(0, 1, 5, result=True, at=0, ts=1),
        balances([5, 15], at=2, ts=2),
        transfer(0, 1, 6, result=False, at=4, ts=3),
    ]

    assert check_order(history, Bank([10, 10])) is None


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([balances([5, 10], 0, 1)], "its result"),
        ([balances([10, 10], 0, 2), balances([10, 10], 2, 1)], "ended before"),
        ([balances([10, 10], 0, 1), balances([10, 10], 2, 1)], "share the time"),
        ([transfer(0, 1, 11, result=True, at=0, ts=1)], "its result"),
    ],
)
def test_an_order_that_does_not_is_rejected(history: list[Operation], reason: str) -> None:
    """Money from nowhere, time against the clock, one time for two, and what was not there."""
    found = check_order(history, Bank([10, 10]))

    assert found is not None
    assert reason in found.reason


@pytest.mark.parametrize("seed", range(4))
def test_a_register_can_be_judged_by_its_order_too(seed: int) -> None:
    """What the moments of effect say, the search finds without them."""
    moved = [op("write", n, None, n * 2, n * 2 + 1, ts=n + 1) for n in range(seed + 2)]

    assert check_order(moved, Register()) is None
    assert check(moved) is None


def test_a_history_is_kept_as_lines() -> None:
    """What was written can be judged again."""
    history = [o for every in GOOD.values() for o in every]

    assert history == from_lines(to_lines(history))


def test_models_know_their_kinds() -> None:
    """An operation of another model is a mistake of the caller."""
    for model in (Register(), Lists([]), Bank([1])):
        wrong: Kind = "write" if not isinstance(model, Register) else "transfer"
        with pytest.raises(ValueError, match="knows no"):
            model.apply(model.initial, op(wrong, [0, 0, 0], None, 0, 1))
