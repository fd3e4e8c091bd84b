"""Clients that write, compare and set, insert and read through any member, and remember it all.

Each asks one question after the other. A write whose outcome is unknown is asked again, at
another member, under the same request id, as `fauna_client` does; a query without a request id
stays unknown, as with the official drivers.

Trap: only an answer that says so, of every attempt, means that nothing was applied.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from faunadb.codec import Answer, RequestId
from faunadb.errors import Contended, DeadlineExceeded, FaunaError, InvalidRequest, TooManyPending
from faunadb.node.query import Outcome, Query
from faunadb.raft.entries import MemberId
from faunadb_sim import history
from faunadb_sim.history import Kind, Operation
from faunadb_sim.host import Host
from faunadb_sim.options import Options
from faunadb_sim.world import EPOCH_US, US_PER_MS, Violation, World

REGISTERS = 3
UNIQUE_KEYS, UNIQUE_PERIOD_US = 6, 400_000  # keys that are fought for at one time
ATTEMPTS_MAX = 12
PATIENCE_US = 8_000_000  # then a client hangs up
SETUP = (
    'Collection.create({ name: "Register" })',
    'Collection.create({ name: "Unique", constraints: [{ unique: [".key"] }] })',
    *(f'Register.create({{ id: "{n}" }})' for n in range(REGISTERS)),
)
READ = "Register.byId(id)!.value"
WRITE = "Register.byId(id)!.update({ value: value }).value"
LONG_WRITE = f"Array.sequence(0, 2500).map(x => x + 1).length\n{WRITE}"
COMPARE_AND_SET = (
    "let register = Register.byId(id)!\n"
    "if (register.value == old) {\n  register.update({ value: value })\n  true\n} else false"
)
INSERT = "Unique.create({ key: key, value: value })\ntrue"
FIND = "Unique.where(.key == key).first()?.value"
_NEVER_APPLIED = (TooManyPending, DeadlineExceeded, Contended, InvalidRequest)


class Asked(msgspec.Struct):
    """One question of a client."""

    key: str
    kind: Kind
    argument: Any
    text: str
    arguments: dict[str, Any]


class Done(Protocol):
    def __call__(self, outcome: history.Outcome, answer: Answer | None) -> None: ...


class Call:
    """One query, asked until it is answered, cannot have been applied, or patience ends."""

    def __init__(
        self,
        world: World,
        hosts: dict[MemberId, Host],
        query: Query,
        *,
        done: Done,
        answered: Callable[[Answer], None],
    ) -> None:
        self._world, self._hosts, self._query = world, hosts, query
        self._done, self._answered = done, answered
        self._attempt = 0
        self._is_over = False
        self._may_be_applied = False
        self._until_us = world.now_us + PATIENCE_US
        self._ask()

    def _ask(self) -> None:
        attempt = self._attempt
        awake = [host for host in self._hosts.values() if host.is_up]
        if not awake or attempt > ATTEMPTS_MAX or self._world.now_us > self._until_us:
            self._give_up()
            return
        host = awake[self._world.chance.randrange(len(awake))]
        life = host.life

        def came(outcome: Outcome) -> None:
            if host.life != life:
                raise Violation(f"member {host.id} answers after its end")
            if isinstance(outcome, Answer):
                self._answered(outcome)
            self._world.after(
                self._world.between(50, 500), "answer", lambda: self._came(attempt, outcome)
            )

        def submit() -> None:
            if host.life != life:
                self._lost(attempt)
            else:
                host.do(lambda: host.member.submit(self._query, came))

        self._world.after(self._world.between(50, 500), "ask", submit)
        self._look_after(attempt, host, life)

    def _look_after(self, attempt: int, host: Host, life: int) -> None:
        """See now and then whether the member still lives, and whether it is worth to wait."""

        def look() -> None:
            if attempt != self._attempt or self._is_over:
                return
            if host.life != life or self._world.now_us > self._until_us:
                self._lost(attempt)
            else:
                self._look_after(attempt, host, life)

        self._world.after(100 * US_PER_MS, "client looks", look)

    def _came(self, attempt: int, outcome: Outcome) -> None:
        if attempt != self._attempt or self._is_over:
            return
        if isinstance(outcome, FaunaError):
            self._world.say(f"attempt {attempt}: {type(outcome).__name__}: {outcome}")
        if isinstance(outcome, InvalidRequest):
            raise Violation(f"a query that is as it should be was refused: {outcome}")
        if isinstance(outcome, Answer):
            self._end(history.Outcome.OK, outcome)
        elif isinstance(outcome, _NEVER_APPLIED) and not self._may_be_applied:
            self._end(history.Outcome.FAILED, None)
        else:
            self._try_again(outcome)

    def _lost(self, attempt: int) -> None:
        """The member ended before it answered."""
        if attempt == self._attempt and not self._is_over:
            self._try_again(None)

    def _try_again(self, problem: FaunaError | None) -> None:
        self._may_be_applied = self._may_be_applied or not isinstance(problem, _NEVER_APPLIED)
        if self._query.request is None:
            self._end(history.Outcome.UNKNOWN, None)
        else:
            self._attempt += 1  # what the old attempt may still say comes too late
            delay_us = self._world.between(US_PER_MS, 200 * US_PER_MS)
            self._world.after(delay_us, "ask again", self._ask)

    def _give_up(self) -> None:
        unknown = self._may_be_applied
        self._end(history.Outcome.UNKNOWN if unknown else history.Outcome.FAILED, None)

    def _end(self, outcome: history.Outcome, answer: Answer | None) -> None:
        self._is_over = True
        self._done(outcome, answer)


class Client:
    """Asks until it is told to stop."""

    def __init__(
        self,
        name: str,
        *,
        world: World,
        options: Options,
        hosts: dict[MemberId, Host],
        operations: list[Operation],
        answered: Callable[[int, bool], None],
    ) -> None:
        self._name, self._world, self._options, self._hosts = name, world, options, hosts
        self._operations, self._tell = operations, answered
        self._count = 0
        self._newest_ts = 0
        self.is_stopping = False
        self.is_waiting = False
        self._rest()

    def _rest(self) -> None:
        self.is_waiting = False
        if not self.is_stopping:
            think_us = self._options.think_ms * US_PER_MS
            self._world.after(self._world.between(0, 2 * think_us), "client", self._begin)

    def _begin(self) -> None:
        if self.is_stopping:
            return
        self.is_waiting = True
        self._count += 1
        asked = self._draw()
        start_us = self._world.now_us
        query = self._query(asked)

        def done(outcome: history.Outcome, answer: Answer | None) -> None:
            self._note(asked, start_us, outcome, answer)
            self._rest()

        def answered(answer: Answer) -> None:
            self._tell(answer.txn_ts, _has_written(asked, answer))

        Call(self._world, self._hosts, query, done=done, answered=answered)

    def _draw(self) -> Asked:
        chance = self._world.chance
        value = int(self._name[1:]) * 1_000_000 + self._count
        number = str(chance.randrange(REGISTERS))
        register = {"id": number}
        kind = chance.choice(["read", "read", "write", "cas", "insert", "find"])
        if kind in {"insert", "find"}:
            period = self._world.now_us // UNIQUE_PERIOD_US
            key = f"{period * UNIQUE_KEYS // 2 + chance.randrange(UNIQUE_KEYS)}"
            if kind == "find":
                return Asked(f"unique {key}", "read", None, FIND, {"key": key})
            return Asked(f"unique {key}", "insert", value, INSERT, {"key": key, "value": value})
        name = f"register {number}"
        if kind == "read":
            return Asked(name, "read", None, READ, register)
        if kind == "write":
            text = LONG_WRITE if self._world.chosen(self._options.long_queries) else WRITE
            return Asked(name, "write", value, text, register | {"value": value})
        old = self._last_seen(name)
        arguments = register | {"old": old, "value": value}
        return Asked(name, "cas", [old, value], COMPARE_AND_SET, arguments)

    def _last_seen(self, key: str) -> Any:
        """Return what an answer has lately said of a key."""
        for operation in reversed(self._operations[-30:]):
            if operation.key == key and operation.outcome is history.Outcome.OK:
                if operation.kind == "read":
                    return operation.result
                if operation.kind == "write":
                    return operation.argument
                if operation.kind == "cas" and operation.result:
                    return operation.argument[1]
        return None

    def _query(self, asked: Asked) -> Query:
        request = None
        if asked.kind != "read" and not self._world.chosen(self._options.anonymous):
            born_us = EPOCH_US + self._world.now_us
            request = RequestId(born_us, self._world.chance.randbytes(16))
        return query_of(
            asked.text,
            asked.arguments,
            timeout_ms=self._world.chance.choice([1_000, 3_000]),
            last_txn_ts=self._newest_ts if self._world.chosen(0.5) else 0,
            request=request,
        )

    def _note(
        self, asked: Asked, start_us: int, outcome: history.Outcome, answer: Answer | None
    ) -> None:
        result, ts = None, 0
        if answer is not None:
            result, ts = _result_of(asked, answer), answer.txn_ts
            self._newest_ts = max(self._newest_ts, ts)
        self._world.say(
            f"{self._name} {asked.kind} {asked.key} {asked.argument} {outcome} {result}"
        )
        self._operations.append(
            Operation(
                key=asked.key,
                kind=asked.kind,
                argument=asked.argument,
                result=result,
                outcome=outcome,
                start=start_us * 1000,
                end=self._world.now_us * 1000,
                client=self._name,
                ts=ts,
            )
        )


def query_of(
    text: str,
    arguments: dict[str, Any],
    *,
    timeout_ms: int = 3_000,
    last_txn_ts: int = 0,
    request: RequestId | None = None,
) -> Query:
    """Return a query as the front makes it of a body."""
    body = msgspec.json.encode({"query": text, "arguments": arguments})
    return Query(body, "simple", timeout_ms=timeout_ms, last_txn_ts=last_txn_ts, request=request)


def _has_written(asked: Asked, answer: Answer) -> bool:
    if asked.kind == "read" or answer.http_status != 200:
        return False
    return asked.kind != "cas" or answer.data == b"true"


def _result_of(asked: Asked, answer: Answer) -> Any:
    if answer.http_status != 200:
        if asked.kind == "insert" and b'"constraint_failure"' in answer.data:
            return False
        raise Violation(f"{asked.kind} of {asked.key} was answered with {answer.data!r}")
    return msgspec.json.decode(answer.data)
