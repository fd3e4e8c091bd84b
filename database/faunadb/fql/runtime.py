"""What exists while a query runs: its values beyond the storable ones, and its state.

    Doc         a reference to a document; read when a field is asked for
    Collection  a user's collection, by number
    Module      a built-in: `Math`, `Time`, `Collection`, `Key`
    Id Cursor EventSource
    Lambda      compiled code and what it captured
    UserFunction BoundMethod Native
    SetValue    base of `sets.py`: what a set is, never how far it was read

House rules: values are never changed in place; state is in `Runtime`, one a query.
Trap: a `Doc` remembers the version it read only until the query writes anything (`epoch`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from faunadb.definitions import (
    CollectionDefinition,
    FunctionDefinition,
    Schema,
    SystemCollection,
)
from faunadb.errors import QueryError
from faunadb.fql.budget import FRAMES_MAX, OverBudget
from faunadb.fql.failures import invalid_effect
from faunadb.fql.view import Document, View
from faunadb.values import Ref, Time

PURE, OBSERVATION, READ, WRITE = range(4)
PAGE_SIZE = 16
PAGE_SIZE_MAX = 16_000
ELEMENTS_MAX = 16_000
STRING_UNITS_MAX = 16_777_216


class Id:
    """A document id as a value; not storable."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is Id and other.value == self.value

    def __hash__(self) -> int:
        return hash(("Id", self.value))


class Module:
    """A built-in module, one object for each name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Collection:
    """A user's collection as a value; `name` is the name or alias that was used."""

    __slots__ = ("id", "name")

    def __init__(self, coll_id: int, name: str) -> None:
        self.id = coll_id
        self.name = name

    def __eq__(self, other: object) -> bool:
        return type(other) is Collection and other.id == self.id

    def __hash__(self) -> int:
        return hash(("Collection", self.id))


class Doc:
    """A reference to a document, existing or not.

    `id` is set for documents of users and for keys, tokens, credentials; `name` for the other
    definitions. `at` is a snapshot in microseconds or None. `cause` is "deleted" for the very
    value that `delete()` returned. `extra` is what only this value shows (a new secret).
    `judged` is `rights`' own: who was told what about which version.
    """

    __slots__ = ("at", "cause", "coll", "epoch", "extra", "id", "judged", "name", "version")

    def __init__(
        self,
        coll: int,
        doc_id: int,
        at: int | None = None,
        *,
        name: str | None = None,
        cause: str = "",
    ) -> None:
        self.coll = coll
        self.id = doc_id
        self.at = at
        self.name = name
        self.cause = cause
        self.extra: dict[str, Any] | None = None
        self.version: Document | None = None
        self.epoch = -1
        self.judged: tuple[Context, Document, bool] | None = None

    def __eq__(self, other: object) -> bool:
        return type(other) is Doc and (other.coll, other.id, other.name) == (
            self.coll,
            self.id,
            self.name,
        )

    def __hash__(self) -> int:
        return hash((self.coll, self.id, self.name))


NAMED_COLLECTIONS = frozenset(
    {
        SystemCollection.COLLECTION,
        SystemCollection.FUNCTION,
        SystemCollection.ROLE,
        SystemCollection.ACCESS_PROVIDER,
        SystemCollection.DATABASE,
    }
)


class Cursor:
    """Where a page ended, as signed text; `page.after`."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return type(other) is Cursor and other.text == self.text

    def __hash__(self) -> int:
        return hash(("Cursor", self.text))


class EventSource:
    """A set that is followed instead of read; `fields` are watched, () for all."""

    __slots__ = ("fields", "source")

    def __init__(self, source: "SetValue", fields: tuple[tuple[str | int, ...], ...] = ()) -> None:
        self.source = source
        self.fields = fields


Frame = list[Any]
Code = Callable[["Runtime", Frame], Any]


class LambdaCode:
    """A compiled lambda: shared by all its closures. `text` is how it is written in a cursor."""

    __slots__ = ("body", "captures", "lets", "parameters", "source", "text", "variadic")

    def __init__(
        self,
        *,
        parameters: int,
        variadic: bool,
        captures: tuple[str, ...],
        lets: int,
        body: Code,
        text: Callable[[], str],
        source: str,
    ) -> None:
        self.parameters = parameters
        self.variadic = variadic
        self.captures = captures
        self.lets = (None,) * lets
        self.body = body
        self.text = text
        self.source = source


class Lambda:
    """A function with the values that it captured, in the order of `code.captures`."""

    __slots__ = ("captured", "code")

    def __init__(self, code: LambdaCode, captured: list[Any]) -> None:
        self.code = code
        self.captured = captured


class UserFunction:
    __slots__ = ("definition",)

    def __init__(self, definition: FunctionDefinition) -> None:
        self.definition = definition

    def __eq__(self, other: object) -> bool:
        return type(other) is UserFunction and other.definition.id == self.definition.id

    def __hash__(self) -> int:
        return hash(("UserFunction", self.definition.id))


class Callee(Protocol):
    """A built-in function with its name, arity and effect (`registry.Method`)."""

    @property
    def name(self) -> str: ...

    def accepts(self, count: int) -> bool: ...

    def arity(self) -> tuple[tuple[int, ...], bool]: ...

    def __call__(self, rt: "Runtime", this: Any, args: Sequence[Any]) -> Any: ...


class BoundMethod:
    """A method read without a call."""

    __slots__ = ("method", "this")

    def __init__(self, this: Any, method: Callee) -> None:
        self.this = this
        self.method = method


class SetValue:
    """A set: what it consists of. `size` is its page size, `at` the time it was made under."""

    __slots__ = ()
    tag: str
    size: int
    at: int | None

    def elements(self, rt: "Runtime", after: Any) -> Iterator[tuple[Any, Any]]:
        """Yield (element, position); `after` is a position that an earlier run gave, or None."""
        raise NotImplementedError

    def reverse(self) -> "SetValue":
        raise NotImplementedError


class Context(msgspec.Struct, frozen=True):
    """Who asks, and what the member lends to an evaluation.

    `role` is a built-in one, or "" for the rights of `roles` (of the schema) alone; only `rights`
    looks at them. `draw` gives random bytes (secrets of keys); `cursor_key` signs cursors,
    `incarnation` is in them (SAFETY 25). `identity` is the document of the token in use.
    """

    role: str = "admin"
    roles: tuple[str, ...] = ()
    identity: Ref | None = None
    token: int | None = None
    cursor_key: bytes = b""
    incarnation: bytes = b""
    draw: Callable[[int], bytes] | None = None
    typechecked: bool = False
    protected: bool = False


class Compiler(Protocol):
    """How text that is stored in the schema becomes code; given by `compile`."""

    def function(self, text: str, source: str) -> LambdaCode: ...

    def expression(self, text: str, source: str) -> LambdaCode: ...

    def closed(self, text: str, captures: tuple[str, ...], source: str) -> LambdaCode: ...


class Runtime:
    """One query that is running."""

    __slots__ = (
        "arguments",
        "at",
        "base_at",
        "changed",
        "compiler",
        "computing",
        "context",
        "depth",
        "epoch",
        "functions",
        "grants",
        "left",
        "limit",
        "log",
        "place",
        "reads",
        "schema",
        "shift",
        "valid_before",
        "variables",
        "view",
        "writes",
    )

    def __init__(
        self,
        view: View,
        context: Context,
        compiler: Compiler,
        *,
        steps: int,
        arguments: Sequence[Any] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.view = view
        self.schema: Schema = view.schema
        self.context = context
        self.compiler = compiler
        self.arguments = arguments
        self.variables = variables or {}
        self.left = steps
        self.depth = 0
        self.limit = WRITE
        self.place = ""
        self.at: int | None = None
        self.base_at: int | None = None
        self.epoch = 0
        self.changed: set[tuple[str, int]] = set()  # (definition or documents, collection)
        self.computing = 0
        self.functions: dict[int, LambdaCode] = {}
        self.grants: dict[tuple[tuple[str, ...], str, int], Any] = {}  # of `rights`
        self.log: list[LogLine] = []
        self.reads = 0
        self.writes = 0
        self.valid_before: int | None = None
        self.shift = 0

    def tick(self, steps: int) -> None:
        """Pay for work; raises `OverBudget`."""
        self.left -= steps
        if self.left < 0:
            raise OverBudget

    def need(self, effect: int, action: str) -> None:
        """Raise `invalid_effect` where this effect is not allowed."""
        if effect > self.limit:
            raise invalid_effect(action, effect, self.place)

    def call(self, function: Lambda, args: Sequence[Any]) -> Any:
        """Apply a lambda to as many values as it has parameters (the caller checked)."""
        code = function.code
        self.left -= 1
        if self.left < 0:
            raise OverBudget
        self.depth += 1
        if self.depth > FRAMES_MAX:
            raise QueryError(
                "stack_overflow", f"number of stack frames exceeded limit of {FRAMES_MAX}"
            )
        try:
            if code.variadic:
                fixed = code.parameters
                args = [*args[:fixed], list(args[fixed:])]
            return code.body(self, [*function.captured, *args, *code.lets])
        finally:
            self.depth -= 1

    def user_collection(self, coll_id: int) -> CollectionDefinition | None:
        return self.schema.collections.get(coll_id)

    def saw_expiry(self, ttl: Time) -> None:
        """Remember that the answer changes when this document expires (SAFETY 12)."""
        micros = ttl.micros
        if self.valid_before is None or micros < self.valid_before:
            self.valid_before = micros


class LogLine(msgspec.Struct):
    """One entry of the summary: `log` has one line, `dbg` the long form with its place.

    The calling node fills in where it stands; `source` is "*query*" or names a stored body.
    """

    text: str
    span: tuple[int, int]
    long: bool
    source: str = "*query*"
