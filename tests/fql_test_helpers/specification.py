"""How a case of `cases/*.yaml` is run, against whatever implements the language's View.

setup: [query, ...]              run in order before each case, one transaction each
cases:
  - query: 1 + 1                 or `queries`, of which the last one counts
    is: 2                        the result in simple format
    tagged: {"@int": "2"}        the result in tagged format
    fails: divide_by_zero        the code, with
    message: ...                 the message, and
    failures: [[[["name"]], ..]] the constraint failures
    log: [line, ...]             what was logged
    as: server                   the caller's role, or @role/r, @doc/A/1
    read_only: true              what was proven
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from faunadb.errors import QueryError
from faunadb.fql.budget import Budget
from faunadb.fql.compile import STORED, compile_query
from faunadb.fql.evaluate import run
from faunadb.fql.identity import authenticate
from faunadb.fql.runtime import Context
from faunadb.fql.tagged import Format, decode_tagged, encode_error, encode_result
from faunadb.fql.view import View

CASES = Path(__file__).parent.parent / "faunadb" / "fql" / "cases"
STEPS_MAX = 3_000_000
KEY = b"a key for cursors, of the tests."


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: str = ""
    queries: list[str] = []
    values: list[Any] = []  # tagged, for the placeholders $0, $1 of the query
    tagged: Any = msgspec.UNSET
    fails: str = ""
    message: str = ""
    failures: Any = None
    log: list[str] | None = None
    role: str = msgspec.field(name="as", default="admin")
    result: Any = msgspec.field(name="is", default=msgspec.UNSET)
    abort: Any = msgspec.UNSET
    read_only: bool | None = None
    real_only: bool = False  # needs indexes on computed fields, which the double lacks

    @property
    def texts(self) -> list[str]:
        return self.queries or [self.query]


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cases: list[Case]
    setup: list[str] = []


class Database(Protocol):
    """Gives views one after the other; `commit` applies a view's writes."""

    def view(self) -> Any: ...

    def commit(self, view: Any) -> None: ...


def load() -> list[tuple[str, Topic, Case]]:
    """Return every case with its topic and a name for pytest."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        topic = msgspec.convert(yaml.safe_load(path.read_text()), Topic)
        for number, case in enumerate(topic.cases, 1):
            text = " ".join(case.texts[-1].split())[:60]
            found.append((f"{path.stem}-{number}: {text}", topic, case))
    return found


def check(case: Case, topic: Topic, database: Database, random: Callable[[int], bytes]) -> None:
    """Run a case and compare."""
    for text in topic.setup:
        evaluate(database, text, "admin", random)
    *before, last = case.texts
    for text in before:
        evaluate(database, text, "admin", random)
    try:
        result, program, logged = evaluate(database, last, case.role, random, case.values)
    except QueryError as error:
        check_error(case, error)
        return
    assert case.fails == "", f"gave {decoded(result, Format.SIMPLE)}"
    if case.result is not msgspec.UNSET:
        assert case.result == decoded(result, Format.SIMPLE)
    if case.tagged is not msgspec.UNSET:
        assert case.tagged == decoded(result, Format.TAGGED)
    if case.log is not None:
        assert case.log == logged
    if case.read_only is not None:
        assert case.read_only == program.read_only


def check_error(case: Case, error: QueryError) -> None:
    assert (case.fails or "no error") == error.code, error.message
    if case.message:
        assert case.message == error.message
    if case.failures is not None:
        given = [
            [[list(path) for path in paths], text] for paths, text in error.constraint_failures
        ]
        assert case.failures == given
    if case.abort is not msgspec.UNSET:
        body = encode_error(error, Format.SIMPLE).replace(b"\x00ts\x00", b"<now>")
        assert case.abort == json.loads(body)["abort"]
    assert error.span != (0, 0), "an error has a place"


def evaluate(
    database: Database,
    text: str,
    role: str,
    random: Callable[[int], bytes],
    values: list[Any] | None = None,
) -> Any:
    """Run one query in a transaction; `$0` in its text is its first value."""
    for number in range(len(values or ())):
        text = text.replace(f"${number}", f"\0{number}\0")
    view: View = database.view()
    program = compile_query(text, view.schema)
    context = Context(role=role, cursor_key=KEY, incarnation=b"1", draw=random)
    if role.startswith("@"):
        context = authenticate(view, context, STORED, None, role, STEPS_MAX)
    given = [decode_tagged(value) for value in values or ()]
    found = run(program, given, view, context, Budget(STEPS_MAX, deep=True))
    encode_result(found.result, Format.TAGGED)
    database.commit(view)
    return found.result, program, [line.text for line in found.log]


def decoded(result: Any, form: Format) -> Any:
    """Return a result as the client sees it; the transaction's time reads as <now>."""
    text = encode_result(result, form).replace(b"\x00ts\x00", b"<now>")
    return json.loads(text)
