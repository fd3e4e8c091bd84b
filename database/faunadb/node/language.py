"""Where language and store meet: one query, one snapshot, one answer.

The language knows a `View`, the store implements it, and here they are put together. An error
of the query is an answer like any other: it is computed at a view and held like one (SAFETY 4).

Trap: a program is cached with the schema version that its proof of reading only stands on.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from faunadb.codec import Answer
from faunadb.definitions import Schema
from faunadb.errors import Forbidden, QueryError, Unauthorized
from faunadb.fql.budget import STEPS_ON_LOOP, Budget, OverBudget
from faunadb.fql.compile import STORED, compile_query
from faunadb.fql.evaluate import run
from faunadb.fql.identity import authenticate
from faunadb.fql.indexed import computer
from faunadb.fql.notes import notes
from faunadb.fql.program import Program
from faunadb.fql.render import Source, summary
from faunadb.fql.rights import BUILT_IN_ROLES
from faunadb.fql.runtime import Context
from faunadb.fql.schema_push import SchemaAsked, Told, answer_schema, describe
from faunadb.fql.tagged import Format, encode_error, encode_result, fill_transaction_time
from faunadb.fql.template import ValueInQueryRefused, decode_request
from faunadb.fql.view import View
from faunadb.node.feeds import Latest, Reading, answer_feed
from faunadb.node.query import Query
from faunadb.store.ports import Reader
from faunadb.store.transaction import QueryView

PROGRAMS_CACHED_MAX = 4096
_FORMATS = {form.value: form for form in Format}
BODY_BYTES_ON_LOOP_MAX = 64 * 1024  # decoding a larger one takes longer than the step budget


class Prepared(msgspec.Struct, frozen=True):
    """A query that is compiled for one schema, with its values."""

    text: str
    program: Program
    values: tuple[Any, ...]
    arguments: dict[str, Any]
    format: Format


class Stats(msgspec.Struct):
    """What an answer tells about its cost; field names are Fauna's."""

    compute_ops: int
    read_ops: int
    write_ops: int
    query_time_ms: int = 0
    contention_retries: int = 0
    storage_bytes_read: int = 0
    storage_bytes_write: int = 0
    rate_limits_hit: tuple[str, ...] = ()


class At(msgspec.Struct, frozen=True):
    """A snapshot, what may be spent on it, and whether it is time to stop."""

    ts: int
    budget: Budget
    is_late: Callable[[], bool]
    latest: Latest | None = None  # of this member, if it remembers


class Language:
    """Compiles and evaluates. `cursor_key` and `incarnation` are the cluster's."""

    def __init__(self, cursor_key: bytes, incarnation: bytes, draw: Callable[[int], bytes]) -> None:
        self._cursor_key, self._incarnation, self._draw = cursor_key, incarnation, draw
        self._compile = lru_cache(PROGRAMS_CACHED_MAX)(_compile)
        self._last: tuple[bytes, tuple[str, int, int], Prepared | Answer] | None = None

    def prepare(self, query: Query, schema: Schema) -> Prepared | Answer:
        """Decode and compile; what does not compile is answered. Raises `InvalidRequest`.

        The member that takes a query asks twice, whether it only reads and then to evaluate it:
        the last answer is kept.
        """
        key = (query.format, schema.scope, schema.version)
        last = self._last
        if last is not None and last[0] is query.body and last[1] == key:
            return last[2]
        prepared = self._prepare(query, schema)
        self._last = (query.body, key, prepared)
        return prepared

    def forget(self) -> None:
        """Forget all programs: those of schemas that never commit may share a version with one
        that does, because the next leader may issue the same timestamp."""
        self._compile.cache_clear()
        self._last = None

    def _prepare(self, query: Query, schema: Schema) -> Prepared | Answer:
        form, text = _FORMATS[query.format], ""
        try:
            request = decode_request(query.body, form)
            text = request.text
            program = self._compile(text, _SchemaKey(schema), tuple(request.arguments))
        except QueryError as error:
            text = error.text if isinstance(error, ValueInQueryRefused) else text
            return _refusal(error, text, form, schema.version)
        return Prepared(text, program, request.values, request.arguments, form)

    @staticmethod
    def is_large(query: Query) -> bool:
        """Return whether the mere decoding belongs into a worker."""
        return len(query.body) > BODY_BYTES_ON_LOOP_MAX

    def view(
        self, reader: Reader, schema: Schema, ts: int, draw_id: Callable[[int], int]
    ) -> QueryView:
        """Return what one query sees and writes, at `ts` microseconds."""
        return QueryView(
            reader, schema, snapshot_ts=ts, draw_id=draw_id, compute=computer(schema, STORED)
        )

    def feed(self, query: Query, schema: Schema, reader: Reader, at: At) -> Answer:
        """Return a page of events, or how a source is followed; a 401 as `context` does.

        Raises `InvalidRequest`, `OverBudget`.
        """
        assert query.feed is not None
        view = self.view(reader, schema, at.ts, _no_id)
        context = self.context(query, view, at.budget)
        if isinstance(context, Answer):
            return context
        reading = Reading(
            reader=reader,
            schema=schema,
            context=context,
            view_at=lambda ts: self.view(reader, schema, ts, _no_id),
            ts=at.ts,
            budget=at.budget,
            is_late=at.is_late,
            latest=at.latest,
        )
        return Answer(200, answer_feed(query.feed, reading), "", at.ts, schema.version)

    def context(self, query: Query, view: View, budget: Budget) -> Context | Answer:
        """Return who asks `query`, with which rights as `view` knows them; else a 401.

        The refusal is an answer like others: it counts when its view is proven (SAFETY 4). What
        goes on for long (a stream) asks again at each later view. Raises `OverBudget` when the
        predicates of memberships need more.
        """
        caller = query.caller
        context = Context(
            role=caller.role,
            cursor_key=self._cursor_key,
            incarnation=self._incarnation,
            draw=self._draw,
            typechecked=query.typecheck,
        )
        if caller.claim is None and caller.role in BUILT_IN_ROLES:
            return context
        scope = caller.role if caller.claim is None else caller.asked
        try:
            return authenticate(view, context, STORED, caller.claim, scope, budget.steps_max)
        except Unauthorized as error:
            return _unauthorized(error, view.schema.version)

    def answer(self, query: Query, view: View, budget: Budget) -> Answer:
        """Authenticate, compile and evaluate: `context`, `prepare`, `evaluate`.

        Raises `OverBudget`, `InvalidRequest`.
        """
        context = self.context(query, view, budget)
        if isinstance(context, Answer):
            return context
        if query.schema is not None:
            return self.schema(query.schema, view, budget, context)
        prepared = self.prepare(query, view.schema)
        if isinstance(prepared, Answer):
            return prepared
        return self.evaluate(prepared, view, budget, context)

    def schema(self, asked: SchemaAsked, view: View, budget: Budget, context: Context) -> Answer:
        """Answer for the schema's files; what has files to read is for a worker.

        `stats` says whether a version of the schema was made. Raises `OverBudget`.
        """
        if budget.steps_max <= STEPS_ON_LOOP:
            raise OverBudget
        version = view.schema.version
        try:
            told = answer_schema(asked, view, context, STORED, budget.steps_max)
        except Forbidden as error:
            told = Told(error.http_status, {"message": str(error)})
        except QueryError as error:
            told = Told(error.http_status, {"message": describe(error)})
        changed = msgspec.json.encode({"changed": told.changed})
        return Answer(told.status, msgspec.json.encode(told.body), "", 0, version, changed)

    def evaluate(self, prepared: Prepared, view: View, budget: Budget, context: Context) -> Answer:
        """Evaluate; an error of the query is an answer too. Raises `OverBudget`.

        The time of the transaction stays a placeholder: see `fill`.
        """
        text, schema = prepared.text, view.schema
        sees_functions = context.role in BUILT_IN_ROLES
        try:
            found = run(
                prepared.program,
                prepared.values,
                view,
                context,
                budget,
                prepared.arguments,
            )
            data = encode_result(found.result, prepared.format)
        except QueryError as error:
            said = notes(error.log, text, schema, everything=sees_functions)
            return _refusal(error, text, prepared.format, schema.version, said)
        said = notes(found.log, text, schema, everything=sees_functions)
        stats = Stats(found.stats.compute_ops, found.stats.read_ops, found.stats.write_ops)
        return Answer(200, data, said, 0, schema.version, msgspec.json.encode(stats))


def _unauthorized(error: Unauthorized, schema_version: int) -> Answer:
    said = msgspec.json.encode({"code": error.code, "message": str(error)})
    return Answer(error.http_status, said, "", 0, schema_version)


def _refusal(
    error: QueryError, text: str, form: Format, schema_version: int, said: str = ""
) -> Answer:
    """Return the answer that an error of a query is; `said` is what was logged before it."""
    drawn = summary(error, Source(text))
    return Answer(
        error.http_status,
        encode_error(error, form),
        f"{drawn}\n\n{said}" if said else drawn,
        0,
        schema_version,
        msgspec.json.encode(Stats(0, 0, 0)),
    )


def fill(answer: Answer, ts: int) -> Answer:
    """Put the time of the transaction into an answer."""
    return msgspec.structs.replace(answer, data=fill_transaction_time(answer.data, ts), txn_ts=ts)


class _SchemaKey:
    """A schema as part of a cache key: equal for equal (scope, version)."""

    __slots__ = ("schema",)

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _SchemaKey)
            and other.schema.scope == self.schema.scope
            and other.schema.version == self.schema.version
        )

    def __hash__(self) -> int:
        return hash((self.schema.scope, self.schema.version))


def _no_id(now_us: int) -> int:
    raise AssertionError(f"what only reads drew an id at {now_us}")


def _compile(text: str, key: _SchemaKey, names: tuple[str, ...]) -> Program:
    return compile_query(text, key.schema, names)
