"""Clients that write and read all the time while a test breaks things, and the judge of it.

    with Workload(endpoints) as workload:
        with workload.fault("kill -9 of the leader"):
            kill()
        workload.run_until(writes=2000)
    workload.assert_linearizable()
    print(workload.report())

Half of the threads use `fauna_client`, half the official driver. Registers are read, written,
compared and set; seats are booked once (a unique constraint); money moves between accounts, which
is judged by the order of the transaction times. Works on any endpoints: processes, NodePorts.

Trap: a run that wrote little, or in which nothing was under way at the fault, proves nothing; it
fails.
"""

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from e2e.sessions import ClientSession, DriverSession, NotApplied, Refused, Session, Unknown
from faunadb_sim.history import Kind, Operation, Outcome, to_lines
from faunadb_sim.linearizable import Bank, check, check_order

ACKNOWLEDGED_MIN = 1000
HANG_S = 300.0
BALANCE = 100
_AFTER_FAILURE_S = 0.02
_WINDOW_S = 60.0  # how long after a fault a pause is put down to it
_READ = "Register.byId(${id})!.value"
_WRITE = "Register.byId(${id})!.update({ value: ${value} }).value"
_CAS = """
let register = Register.byId(${id})!
if (register.value == ${old}) { register.update({ value: ${value} })
  true } else { false }
"""
_BOOK = "Booking.create({ seat: ${seat}, value: ${value} }).value"
_BOOKED = "Booking.bySeat(${seat}).first()?.value"
_TRANSFER = """
let giver = Account.byId(${giver})!
let taker = Account.byId(${taker})!
if (giver.balance >= ${amount}) {
  giver.update({ balance: giver.balance - ${amount} })
  taker.update({ balance: taker.balance + ${amount} })
  Transfer.create({ number: ${number} })
  true
} else { false }
"""
_BALANCES = "${ids}.map(id => Account.byId(id)!.balance)"
_FATE = "Transfer.byNumber(${number}).first()?.ts"
_WRITES: frozenset[Kind] = frozenset({"write", "cas", "insert", "transfer"})


class Fault(msgspec.Struct):
    """Something that was done to the cluster, in nanoseconds of the history's clock."""

    name: str
    began: int
    ended: int = 0


class Workload:
    """Threads that ask, from `start` to `stop`, and what they were told.

    `clients` threads, every second one with the official driver. `registers` and `accounts` are
    few, so that clients meet.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        secret: str = "secret",
        *,
        clients: int = 6,
        registers: int = 8,
        accounts: int = 4,
        seed: int = 0,
    ) -> None:
        self._endpoints, self._secret = endpoints, secret
        self._clients, self._seed = clients, seed
        self._registers = [str(1000 + number) for number in range(registers)]
        self._accounts = [str(1000 + number) for number in range(accounts)]
        self.history: list[Operation] = []  # appends are atomic
        self.faults: list[Fault] = []
        self._numbers = itertools.count(1)  # no value is written twice
        self._stopped = threading.Event()
        self._problems: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Make the collections, and begin to write and read."""
        with contextlib.closing(self._session(0)) as session:
            self._set_up(session)
        for number in range(self._clients):
            thread = threading.Thread(
                target=self._work, args=(number,), name=f"client-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let every client finish, then read everything once more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(HANG_S)
            assert not thread.is_alive(), f"{thread.name} hangs"
        self._threads.clear()
        with contextlib.closing(self._session(0)) as session:
            self._read_everything(session)
        assert not self._problems, self._problems

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[Fault]:
        """Note when a fault was made; something must be under way then."""
        fault = Fault(name, time.monotonic_ns())
        self.faults.append(fault)
        yield fault
        fault.ended = time.monotonic_ns()

    def run_until(self, *, writes: int, hang_s: float = HANG_S) -> None:
        """Wait until so many more writes than now were acknowledged."""
        goal = self.acknowledged() + writes
        self._await(lambda: self.acknowledged() >= goal, f"{writes} more writes", hang_s)

    def await_recovery(self, fault: Fault, hang_s: float = HANG_S) -> float:
        """Wait for a write that began after the fault; return `silence_s`."""

        def recovered() -> bool:
            return any(_is_write(o) and o.start > fault.ended for o in reversed(self.history))

        self._await(recovered, f"a write after {fault.name}", hang_s)
        return self.silence_s(fault)

    def acknowledged(self) -> int:
        """Return how many writes were acknowledged."""
        return sum(map(_is_write, self.history))

    def silence_s(self, fault: Fault) -> float:
        """Return the longest time without an acknowledged write that the fault brought."""
        ends = sorted(o.end for o in self.history if _is_write(o))
        until = min(
            [fault.began + int(_WINDOW_S * 1e9)]
            + [other.began for other in self.faults if other.began > fault.began]
        )
        return max(
            ((b - a) / 1e9 for a, b in itertools.pairwise(ends) if b > fault.began and a < until),
            default=float("inf"),
        )

    def in_flight(self, fault: Fault) -> int:
        """Return how many writes were under way when the fault began."""
        return sum(o.kind in _WRITES and o.start < fault.began < o.end for o in self.history)

    def assert_linearizable(self, acknowledged_min: int = ACKNOWLEDGED_MIN) -> None:
        """Judge the history; call `stop` before."""
        assert acknowledged_min <= self.acknowledged(), self.report()
        for fault in self.faults:
            assert self.in_flight(fault) > 0, f"nothing was written at the fault: {fault.name}"
        bank = [o for o in self.history if o.key == "bank"]
        found = check(o for o in self.history if o.key != "bank")
        found = found or check_order(bank, Bank([BALANCE] * len(self._accounts)))
        assert found is None, f"not linearizable: {found}"

    def report(self) -> str:
        """Return figures: operations by outcome, and the pause after each fault."""
        counts = {o.value: sum(p.outcome is o for p in self.history) for o in Outcome}
        lines = [f"{len(self.history)} operations {counts}, {self.acknowledged()} writes"]
        lines += [
            f"{fault.name}: {self.silence_s(fault):.2f} s without a write, "
            f"{self.in_flight(fault)} under way"
            for fault in self.faults
        ]
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the history as JSON lines."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(to_lines(self.history)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # ---------------------------------------------------------------- what is asked

    def _set_up(self, session: Session) -> None:
        self._insist(
            session,
            """
            ["Register", "Account"].forEach(name => {
              if (Collection.byName(name) == null) { Collection.create({ name: name }) }
            })
            if (Collection.byName("Booking") == null) {
              Collection.create({ name: "Booking", constraints: [{ unique: ["seat"] }],
                indexes: { bySeat: { terms: [{ field: "seat" }] } } })
            }
            if (Collection.byName("Transfer") == null) {
              Collection.create({ name: "Transfer",
                indexes: { byNumber: { terms: [{ field: "number" }] } } })
            }
            """,
        )
        for collection, ids, field in (
            ("Register", self._registers, "value: null"),
            ("Account", self._accounts, f"balance: {BALANCE}"),
        ):
            self._insist(
                session,
                f"${{ids}}.forEach(id => if ({collection}.byId(id) == null) "
                f"{{ {collection}.create({{ id: id, {field} }}) }})",
                ids=ids,
            )

    def _work(self, number: int) -> None:
        chance = random.Random(self._seed * 1000 + number)
        try:
            with contextlib.closing(self._session(number)) as session:
                asker = _Asker(session, f"client-{number}", self.history)
                while not self._stopped.is_set():
                    if not self._ask(asker, chance):
                        self._stopped.wait(_AFTER_FAILURE_S)
        except BaseException as problem:  # noqa: BLE001 - told in `stop`
            self._problems.append(problem)

    def _ask(self, asker: "_Asker", chance: random.Random) -> bool:
        value = next(self._numbers)
        register, what = chance.choice(self._registers), chance.random()
        key = f"register-{register}"
        if what < 0.25:
            return asker.ask(key, "read", None, _READ, id=register)
        if what < 0.45:
            return asker.ask(key, "write", value, _WRITE, id=register, value=value)
        if what < 0.65:
            old = asker.seen.get(key)
            return asker.ask(key, "cas", [old, value], _CAS, id=register, old=old, value=value)
        if what < 0.80:
            seat = value - value % 3  # up to three clients want the same one
            seat_key = f"seat-{seat}"
            return asker.ask(seat_key, "insert", value, _BOOK, seat=seat, value=value)
        if what < 0.9:
            return asker.ask("bank", "read", None, _BALANCES, ids=self._accounts)
        return self._transfer(asker, chance, value)

    def _transfer(self, asker: "_Asker", chance: random.Random, number: int) -> bool:
        giver, taker = chance.sample(range(len(self._accounts)), 2)
        amount = chance.randrange(1, BALANCE)
        return asker.ask(
            "bank",
            "transfer",
            [giver, taker, amount],
            _TRANSFER,
            number=number,
            giver=self._accounts[giver],
            taker=self._accounts[taker],
            amount=amount,
        )

    def _read_everything(self, session: Session) -> None:
        """Read all registers and seats, and what became of transfers without an answer."""
        asker = _Asker(session, "last", self.history)
        for register in self._registers:
            key = f"register-{register}"
            self._insisting(partial(asker.ask, key, "read", None, _READ, id=register))
        for key in sorted({o.key for o in self.history if o.kind == "insert"}):
            seat = int(key.removeprefix("seat-"))
            self._insisting(partial(asker.ask, key, "read", None, _BOOKED, seat=seat))
        for at, operation in enumerate(self.history):
            if operation.kind == "transfer" and operation.outcome is Outcome.UNKNOWN:
                made = self._insist(session, _FATE, number=operation.ts)
                ts = 0 if made is None else round(made.timestamp() * 1e6)
                self.history[at] = msgspec.structs.replace(operation, ts=ts)
        self._insisting(partial(asker.ask, "bank", "read", None, _BALANCES, ids=self._accounts))

    def _insist(self, session: Session, text: str, **values: Any) -> Any:
        """Run a query that may be repeated until it is answered; return its value."""
        answers: list[Any] = []

        def once() -> bool:
            with contextlib.suppress(NotApplied, Unknown):
                answers.append(session.run(text, **values)[0])
            return bool(answers)

        self._insisting(once)
        return answers[0]

    def _insisting(self, act: Callable[[], bool]) -> None:
        self._await(act, "an answer", HANG_S)

    def _await(self, condition: Callable[[], bool], what: str, hang_s: float) -> None:
        deadline = time.monotonic() + hang_s
        while not condition():
            assert not self._problems, self._problems
            assert time.monotonic() < deadline, f"waited {hang_s} s for {what}: {self.report()}"
            time.sleep(_AFTER_FAILURE_S)

    def _session(self, number: int) -> Session:
        if number % 2:
            return DriverSession(self._endpoints, self._secret, number)
        return ClientSession(self._endpoints, self._secret)


class _Asker:
    """One client: asks, and writes down what it was told."""

    def __init__(self, session: Session, name: str, history: list[Operation]) -> None:
        self._session, self._name, self._history = session, name, history
        self.seen: dict[str, Any] = {}  # what each register was, the last time

    def ask(self, key: str, kind: Kind, argument: Any, text: str, **values: Any) -> bool:
        """Run a query and append its operation; return whether it was answered."""
        outcome, result = Outcome.OK, None
        ts: int = values.get("number", 0)  # of an unknown transfer: how to find its fate
        start = time.monotonic_ns()
        try:
            result, ts = self._session.run(text, **values)
            if kind == "insert":
                result = True
        except Refused as refused:
            if (kind, refused.code) != ("insert", "constraint_failure"):
                raise
            result, ts = False, 0
        except NotApplied:
            outcome = Outcome.FAILED
        except Unknown:
            outcome = Outcome.UNKNOWN
        end = time.monotonic_ns()
        if kind == "write":
            result = None
        if outcome is Outcome.OK:
            self._remember(key, kind, argument, result)
        self._history.append(
            Operation(key, kind, argument, result, outcome, start, end, self._name, ts)
        )
        return outcome is Outcome.OK

    def _remember(self, key: str, kind: Kind, argument: Any, result: Any) -> None:
        if kind == "read" and key != "bank":
            self.seen[key] = result
        elif kind == "write":
            self.seen[key] = argument
        elif kind == "cas" and result:
            self.seen[key] = argument[1]


def _is_write(operation: Operation) -> bool:
    """An acknowledged change; a cas that found something else is none."""
    if operation.outcome is not Outcome.OK:
        return False
    return operation.kind == "write" or (operation.kind in _WRITES and operation.result is True)
