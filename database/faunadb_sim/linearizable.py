"""Could one copy of the data, asked by one client after the other, have given these answers?

Wing and Gong's search with Lowe's memory of places ("Testing for linearizability", 2017), one
key after the other (Herlihy and Wing: linearizability is local). What may be next is every
operation that began before anything that is left had ended. Three rules keep it short:

    an operation that only looks is taken where it fits first: no other moment is better for it
    what lets the operation that ends soonest fit is tried before everything else
    operations of unknown outcome are tried last; where less of them was used, and the rest was
    equal, there is nothing to gain by having used more

`check_order` is for systems that also say *when* in their own time: it replays that order, in
linear time, whatever the model.

Trap: equal times count as concurrent; a clock that is too coarse hides violations.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from faunadb_sim.history import Kind, Operation, Outcome

PLACES_MAX = 3_000_000  # of one key; beyond it we say that we cannot tell
REJECTED = object()
_NEAR = 8  # operations shown around a violation
_UNCHANGING: frozenset[Kind] = frozenset({"read"})


class TooHard(Exception):
    """Too many explanations to follow: neither linearizable nor not."""


class Violation(msgspec.Struct, frozen=True):
    """No order explains `operation` after all that ended before it."""

    key: str
    reason: str
    operation: Operation
    near: tuple[Operation, ...]

    def __str__(self) -> str:
        shown = "\n".join(f"  {'>' if o is self.operation else ' '} {o}" for o in self.near)
        return f"{self.key}: {self.reason}\n{shown}"


class Model(Protocol):
    """The data as one client alone would see it."""

    @property
    def initial(self) -> Hashable: ...

    def apply(self, state: Any, operation: Operation) -> Any:
        """Return the state after `operation`, `REJECTED` when its result cannot be had here.

        The result of an operation of unknown outcome is not looked at.
        """
        ...


def check(operations: Iterable[Operation], places_max: int = PLACES_MAX) -> Violation | None:
    """Return the first violation in a history of registers, unique inserts and lists.

    Each key is judged alone, by the model that its operations are of. Raises `TooHard`.
    """
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    for key in sorted(by_key):
        violation = check_key(by_key[key], places_max)
        if violation is not None:
            return violation
    return None


def check_key(operations: Sequence[Operation], places_max: int = PLACES_MAX) -> Violation | None:
    """Return the first violation in the history of one key. Raises `TooHard`."""
    relevant = [o for o in operations if _matters(o)]
    relevant.sort(key=lambda o: (o.start, o.end))
    if not any(operation.kind == "append" for operation in relevant):
        return _Search(Register(), relevant, places_max).run()
    model = Lists(relevant)
    if model.contradiction is not None:
        return _violation(model.contradiction, relevant, "two reads saw different lists")
    return _Search(model, relevant, places_max).run()


def check_order(operations: Iterable[Operation], model: Model) -> Violation | None:
    """Return the first violation of the order that the transaction times claim.

    All operations are of one key and carry `ts`, but for those of unknown outcome, of which only
    those that are known to have happened do; the others are left out.
    """
    ordered = sorted((o for o in operations if _matters(o) and o.ts), key=lambda o: o.ts)
    state: Any = model.initial
    latest_start = ordered[0].start if ordered else 0
    previous: Operation | None = None
    for operation in ordered:
        if previous is not None and previous.ts == operation.ts:
            return _violation(operation, ordered, f"two operations share the time {operation.ts}")
        if operation.outcome is Outcome.OK and operation.end < latest_start:
            return _violation(operation, ordered, "it ended before an earlier one had begun")
        latest_start = max(latest_start, operation.start)
        state, previous = model.apply(state, operation), operation
        if state is REJECTED:
            return _violation(operation, ordered, "its result is not that of its place in time")
    return None


class Register:
    """A value that is written, compared and set, or inserted once; None when there is none."""

    initial = None

    def apply(self, state: Any, operation: Operation) -> Any:
        known = operation.outcome is Outcome.OK
        argument, result = operation.argument, operation.result
        match operation.kind:
            case "read":
                return state if state == result else REJECTED
            case "write":
                return argument
            case "cas":
                does = state == argument[0]
                return REJECTED if known and does != result else argument[1] if does else state
            case "insert":
                does = state is None
                return REJECTED if known and does != result else argument if does else state
        raise ValueError(f"a register knows no {operation.kind}")


class Lists:
    """A list that grows at its end.

    Every read shows a prefix of the longest one, so the state is how much of that is there; what
    is appended beyond it, or elsewhere than there, can be seen by no read.
    """

    initial = 0
    _UNSEEN = -1

    def __init__(self, operations: Iterable[Operation]) -> None:
        reads = [o for o in operations if o.kind == "read"]
        self._longest: list[Any] = max((o.result or [] for o in reads), key=len, default=[])
        self.contradiction = next((o for o in reads if not self._is_prefix(o.result or [])), None)

    def apply(self, state: Any, operation: Operation) -> Any:
        match operation.kind:
            case "read":
                return state if state == len(operation.result or []) else REJECTED
            case "append":
                fits = 0 <= state < len(self._longest)
                if fits and self._longest[state] == operation.argument:
                    return state + 1
                return self._UNSEEN
        raise ValueError(f"a list knows no {operation.kind}")

    def _is_prefix(self, seen: list[Any]) -> bool:
        return seen == self._longest[: len(seen)]


class Bank:
    """Accounts between which money moves; a read sees all balances at once."""

    def __init__(self, balances: Iterable[int]) -> None:
        self.initial = tuple(balances)

    def apply(self, state: Any, operation: Operation) -> Any:
        match operation.kind:
            case "read":
                return state if list(state) == operation.result else REJECTED
            case "transfer":
                giver, taker, amount = operation.argument
                does = state[giver] >= amount
                if operation.outcome is Outcome.OK and does != operation.result:
                    return REJECTED
                if not does:
                    return state
                balances = list(state)
                balances[giver] -= amount
                balances[taker] += amount
                return tuple(balances)
        raise ValueError(f"a bank knows no {operation.kind}")


class _Place(msgspec.Struct, frozen=True):
    """What of a history has taken effect: a node of the search.

    Known operations below `base` have, and those of the bits of `beyond` (bit n: base + n).
    """

    base: int
    beyond: int
    used: int  # bits: operations of unknown outcome
    state: Any


class _Search:
    """Depth first through the orders of one key, without recursion."""

    def __init__(self, model: Model, operations: list[Operation], places_max: int) -> None:
        self._model, self._places_max = model, places_max
        self._operations = operations
        self._known = [o for o in operations if o.outcome is Outcome.OK]
        self._unknown = [o for o in operations if o.outcome is Outcome.UNKNOWN]
        self._seen: dict[tuple[int, int, Any], list[int]] = {}
        self._count = 0
        self._stuck: tuple[int, Operation, Any] | None = None  # the furthest that we came

    def run(self) -> Violation | None:
        first = _Place(0, 0, 0, self._model.initial)
        self._is_new(first)
        path = [iter(self._next(first))]
        if not self._known:
            return None
        while path:
            place = next(path[-1], None)
            if place is None:
                path.pop()
            elif place.base == len(self._known):
                return None
            elif self._is_new(place):
                path.append(iter(self._next(place)))
        assert self._stuck is not None, "nothing ends a search but an operation"
        _, operation, state = self._stuck
        reason = f"no order explains it; before it the data could be {state!r}"
        return _violation(operation, self._operations, reason[:500])

    def _is_new(self, place: _Place) -> bool:
        """Return whether nobody was here, or where less was used."""
        self._count += 1
        if self._count > self._places_max:
            raise TooHard(f"{self._operations[0].key}: more than {self._places_max} places")
        every = self._seen.setdefault((place.base, place.beyond, place.state), [])
        if any(used & place.used == used for used in every):
            return False
        every.append(place.used)
        return True

    def _next(self, place: _Place) -> Iterator[_Place]:
        """Yield where one more operation can lead, the likeliest first."""
        ready, soonest = self._ready(place)
        changing: list[tuple[bool, int, int, Any]] = []
        state = place.state
        for number in ready:
            operation = self._known[number]
            after = self._model.apply(state, operation)
            if after is REJECTED:
                continue
            if _only_looks(operation):  # it fits here: no other moment is better for it
                yield self._with(place, number, state)
                return
            is_soonest = operation is soonest
            helps = is_soonest or self._model.apply(after, soonest) is not REJECTED
            changing.append((not helps, 0 if is_soonest else operation.end, number, after))
        self._note(place, soonest)
        for _, _, number, after in sorted(changing, key=lambda found: found[:3]):
            yield self._with(place, number, after)
        for bit, operation in enumerate(self._unknown):
            if operation.start > soonest.end:
                return
            if not place.used >> bit & 1:
                after = self._model.apply(state, operation)
                if after != state:
                    yield _Place(place.base, place.beyond, place.used | 1 << bit, after)

    def _ready(self, place: _Place) -> tuple[list[int], Operation]:
        """Return what may be next: all that began before anything that is left had ended."""
        ready: list[int] = []
        soonest = self._known[place.base]
        beyond = place.beyond
        for number in range(place.base, len(self._known)):
            operation = self._known[number]
            if operation.start > soonest.end:
                break
            if not beyond & 1:
                ready.append(number)
                if operation.end < soonest.end:
                    soonest = operation
            beyond >>= 1
        return ready, soonest

    def _with(self, place: _Place, number: int, state: Any) -> _Place:
        base, beyond = place.base, place.beyond | 1 << number - place.base
        ones = (~beyond & beyond + 1).bit_length() - 1
        return _Place(base + ones, beyond >> ones, place.used, state)

    def _note(self, place: _Place, soonest: Operation) -> None:
        done = place.base + place.beyond.bit_count()
        if self._stuck is None or done > self._stuck[0]:
            self._stuck = done, soonest, place.state


def _only_looks(operation: Operation) -> bool:
    """Whether it changes nothing wherever it fits; a write of what is there already does not."""
    return operation.kind == "read" or operation.result is False


def _matters(operation: Operation) -> bool:
    if operation.outcome is Outcome.FAILED:
        return False
    return operation.outcome is Outcome.OK or operation.kind not in _UNCHANGING


def _violation(operation: Operation, operations: Sequence[Operation], reason: str) -> Violation:
    at = next(n for n, other in enumerate(operations) if other is operation)
    near = operations[max(0, at - _NEAR) : at + _NEAR]
    return Violation(operation.key, reason, operation, tuple(near))
