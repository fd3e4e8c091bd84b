"""What does a schema file define? The parser of the schema language (schema.md §4).

    file := item (sep item)*          item := annotation* (collection | function | role | access)

Expressions, lambdas, paths and types are those of queries; `Parser` reads them. What can be
read over is reported together; doubles point at the first definition.

Trap: a member that is followed by `:` or `=` is a field, whatever its name, so that a field
may be called `index` or `history_days`.
"""

import re
from collections.abc import Callable

from faunadb.fql.diagnostics import Hint
from faunadb.fql.fsl_items import (
    AccessProvider,
    Action,
    Argument,
    Check,
    Collection,
    ComputedField,
    DefinedField,
    Function,
    Index,
    IndexedPath,
    Item,
    Member,
    Membership,
    Migration,
    Migrations,
    Name,
    Privileges,
    Role,
    Setting,
    Unique,
)
from faunadb.fql.parser import Parser
from faunadb.fql.parser_base import NAMES
from faunadb.fql.syntax import (
    Block,
    Call,
    Chain,
    Expr,
    Lambda,
    Literal,
    ShortLambda,
    Span,
    Tuple,
    Type,
    Variable,
    field_path,
)

RESERVED_FIELDS = frozenset(
    (
        *("id", "coll", "ts", "ttl", "data"),
        *("delete", "update", "replace", "updateData", "replaceData", "exists"),
    )
)
ACTIONS = frozenset(
    (
        *("create", "create_with_id", "read", "write", "delete", "call"),
        *("history_read", "history_write", "unrestricted_read"),
    )
)
_SETTINGS = {
    "history_days": "history days",
    "ttl_days": "ttl days",
    "document_ttls": "document TTLs",
}
_MIGRATIONS = frozenset(
    ("add", "drop", "backfill", "move", "split", "move_conflicts", "move_wildcard", "add_wildcard")
)
_QUOTED_NAME = re.compile(r"[a-zA-Z0-9;@+$\-_.!~%]+")
_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def parse_schema(text: str) -> tuple[Item, ...]:
    """Parse one file. Raises `InvalidQuery` with every problem found."""
    parser = SchemaParser(text)
    items = parser.file()
    for item in items:
        parser.finish(item)
    parser.raise_problems()
    return items


class _Seen:
    """First places of what may stand once, by name ("" for what has none)."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._first: dict[tuple[str, str], Span] = {}

    def add(self, what: str, span: Span, name: str = "") -> None:
        first = self._first.setdefault((what, name), span)
        if first is not span:
            message = f"Duplicate {what} `{name}`" if name else f"Duplicate {what}"
            hint = Hint("Originally defined here", first)
            self._parser.report(message, span, hints=(hint,))

    def add_unique(self, key: str, span: Span) -> None:
        first = self._first.setdefault(("unique constraint", key), span)
        if first is not span:
            hint = Hint("This unique constraint covers the same fields.", first)
            self._parser.report("Duplicate unique constraint.", span, hints=(hint,))


class SchemaParser(Parser):
    """Reads schema items; see `parse_schema`."""

    __slots__ = ()

    def file(self) -> tuple[Item, ...]:
        """file := [item (sep item)*]"""
        items: list[Item] = []
        seen = _Seen(self)
        self._separators()
        while self.kinds[self.at] != "end":
            items.append(self._item(seen))
            if not self._separators() and self.kinds[self.at] != "end":
                self.fail("end-of-input")
        return tuple(items)

    def _separators(self) -> bool:
        """sep := (";" | newline)+"""
        found = self.at in self.newlines
        while self.kinds[self.at] == ";":
            self.at += 1
            found = True
        return found

    def _item(self, seen: _Seen) -> Item:
        """item := ("@" name "(" name ")")* keyword .."""
        start = self._comment_start()
        annotations: dict[str, Name] = {}
        once = _Seen(self)
        while self.kinds[self.at] == "@":
            at = self.at
            self.at += 1
            keyword = self.identifier()
            if keyword not in ("alias", "role"):
                self.at -= 1
                self.fail("identifier")
            self.expect("(")
            value = self._name()
            self.expect(")")
            once.add("annotation", (self.starts[at], self.ends[self.at - 1]), keyword)
            annotations.setdefault(keyword, value)
        at = self.at
        keyword = self.identifier()
        read = _ITEMS.get(keyword)
        if read is None:
            self.refuse(f"Invalid schema item `{keyword}`", self.span(at))
        return read(self, start, annotations, seen)

    def _comment_start(self) -> int:
        """Return where the comment directly above the current token begins, else the token."""
        position = self.ends[self.at - 1] if self.at else 0
        end = self.starts[self.at]
        start: int | None = None
        while position < end:
            if self.text.startswith("//", position):
                start = position if start is None else start
                position = self.text.find("\n", position) + 1
            elif self.text.startswith("/*", position):
                start = position if start is None else start
                position = _behind_block_comment(self.text, position)
            else:
                start = None
                position += 1
        return end if start is None else start

    def _allow(self, annotations: dict[str, Name], *allowed: str) -> None:
        for keyword, value in annotations.items():
            if keyword not in allowed:
                message = "Annotation not supported here" if allowed else None
                self.report(message or "Annotations are not allowed here", value.span)

    def _name(self) -> Name:
        """name := identifier | quoted name of the older kind"""
        at = self.at
        if self.kinds[at] != "string":
            return Name(self.identifier(), self.span(at))
        text = str(self.values[at])
        if not _QUOTED_NAME.fullmatch(text):
            self.fail("identifier")
        self.at = at + 1
        return Name(text, self.span(at))

    def _members(self, read: Callable[[], None]) -> Span:
        """block := "{" [member (sep member)*] "}"; returns the place of the block"""
        if self.kinds[self.at] != "{":
            self.refuse("Expected a block", self.here())
        start = self.starts[self.at]
        self.at += 1
        self._separators()
        while self.kinds[self.at] != "}":
            read()
            if not self._separators() and self.kinds[self.at] != "}":
                self.fail("`}`")
        self.at += 1
        return (start, self.ends[self.at - 1])

    # ------------------------------------------------------------------- collections

    def collection(self, start: int, annotations: dict[str, Name], seen: _Seen) -> Item:
        """collection := "collection" name "{" member* "}" """
        name = self._name()
        self._allow(annotations, "alias")
        alias = annotations.get("alias")
        for one in (name, *((alias,) if alias else ())):
            seen.add("collection or function", one.span, one.text)
        members: list[Member] = []
        once = _Seen(self)
        _, end = self._members(lambda: members.append(self._member(once)))
        return Collection(name, alias, tuple(members), (start, end))

    def _member(self, once: _Seen) -> Member:
        """member := field | "compute" field | "*" ":" type | keyword .."""
        at = self.at
        kind = self.kinds[at]
        if kind == "@":
            self.refuse("Annotations are not allowed here", self.span(at))
        if kind not in NAMES and kind not in ("string", "*"):
            self.fail("identifier")
        word = self.word(at)
        after = self.kinds[at + 1]
        if after in (":", "=") and at + 1 not in self.newlines:
            return self._defined_field(once)
        if word == "compute" and (after in NAMES or after == "string"):
            return self._computed(once)
        self.at = at + 1
        if word in _SETTINGS:
            return self._setting(at, word, once)
        read = _MEMBERS.get(word)
        if read is None:
            self.refuse(f"Invalid field or member `{word}`", self.span(at))
        return read(self, at, once)

    def _field_name(self, once: _Seen) -> Name:
        at = self.at
        if self.kinds[at] == "*":
            self.at = at + 1
            return Name("*", self.span(at))
        name = self._name()
        if not _IDENTIFIER.fullmatch(name.text):
            self.report(f"Invalid identifier `{name.text}`", name.span)
        elif name.text in RESERVED_FIELDS:
            self.report(f"Invalid reserved name `{name.text}`", name.span)
        once.add("field", name.span, name.text)
        return name

    def _defined_field(self, once: _Seen) -> Member:
        """field := name ":" type ["=" expr] | "*" ":" type"""
        name = self._field_name(once)
        if self.kinds[self.at] != ":":
            self.refuse("Expected a type signature", self.here())
        self.at += 1
        found = self.schema_type()
        default = None
        if self.follows("="):
            self.at += 1
            default = self.expression()
            if name.text == "*":
                self.report("No default allowed for wildcard field", default.span)
        end = (default or found).span[1]
        if name.text == "*":
            once.add("field", name.span, "*")
        return DefinedField(name, found, default, (name.span[0], end))

    def _computed(self, once: _Seen) -> Member:
        """computed := "compute" name [":" type] "=" lambda"""
        start = self.starts[self.at]
        self.at += 1
        name = self._field_name(once)
        found: Type | None = None
        if self.follows(":"):
            self.at += 1
            found = self.annotation()
        if not self.follows("="):
            self.refuse("Computed fields require a value", name.span)
        self.at += 1
        body = self._lambda_of(self.expression(), "lambda")
        return ComputedField(name, found, body, (start, self.ends[self.at - 1]))

    def _lambda_of(self, value: Expr, what: str, annotation: str = "") -> Lambda | ShortLambda:
        """Return the lambda that `value` is, in parentheses or not; refuse anything else."""
        if isinstance(value, Tuple) and len(value.elements) == 1:
            value = value.elements[0]
        if not isinstance(value, Lambda | ShortLambda):
            self.refuse(f"Expected {what}", value.span, annotation)
        return value

    def _setting(self, at: int, word: str, once: _Seen) -> Member:
        """setting := "history_days" int | "ttl_days" int | "document_ttls" bool"""
        value = self.expression()
        span = (self.starts[at], value.span[1])
        once.add(_SETTINGS[word], span)
        wanted = bool if word == "document_ttls" else int
        if not isinstance(value, Literal) or type(value.value) is not wanted:
            what = "boolean" if wanted is bool else "integer"
            self.refuse(f"Expected {what} literal", value.span)
        return Setting(word, wanted(value.value), span)

    def index(self, at: int, once: _Seen) -> Member:
        """index := "index" id "{" ["terms" paths] ["values" paths] "}" """
        name = self._identifier_name()
        once.add("index name", name.span, name.text)
        parts: dict[str, tuple[IndexedPath, ...]] = {}
        only = _Seen(self)

        def part() -> None:
            start = self.at
            word = self.identifier()
            if word not in ("terms", "values"):
                self.refuse(f"Invalid member `{word}`", self.span(start))
            only.add(f"{word} definition", self.span(start))
            paths = self._paths(word)
            parts.setdefault(word, paths)

        _, end = self._members(part)
        return Index(name, parts.get("terms", ()), parts.get("values", ()), (self.starts[at], end))

    def _identifier_name(self) -> Name:
        at = self.at
        if self.kinds[at] not in ("identifier", "string"):
            self.refuse("Missing required name", self.span(at - 1))
        name = self._name()
        if not _IDENTIFIER.fullmatch(name.text):
            self.report(f"Invalid identifier `{name.text}`", name.span)
        return name

    def unique(self, at: int, once: _Seen) -> Member:
        """unique := "unique" "[" term,+ "]" """
        terms = self._paths("terms")
        span = (self.starts[at], self.ends[self.at - 1])
        if not terms:
            message = "Expected non-empty terms for a unique constraint"
            self.report(message, (span[1] - 1, span[1]))
        key = ", ".join(sorted(repr((term.path, term.mva)) for term in terms))
        once.add_unique(key, span)
        return Unique(terms, span)

    def _paths(self, word: str) -> tuple[IndexedPath, ...]:
        """paths := "[" [path | ("mva" | "asc" | "desc") "(" .. ")",..] "]" """
        if self.kinds[self.at] != "[":
            self.refuse(f"Expected an array of {word}", self.here())
        elements, _ = self.arguments("]")
        return tuple(self._indexed(element, word) for element in elements)

    def _indexed(self, whole: Expr, word: str) -> IndexedPath:
        allowed = ("mva",) if word == "terms" else ("asc", "desc", "mva")
        given: list[str] = []
        inner = whole
        while isinstance(inner, Chain) and isinstance(inner.base, Variable):
            match inner.links:
                case (Call(arguments=(argument,), optional=False),):
                    name = inner.base.name
                case _:
                    break
            if name not in allowed or (given and (name == "mva") == (given[0] == "mva")):
                names = "'mva'" if word == "terms" else "'asc', 'desc', or 'mva'"
                self.refuse(f"Expected {names}", inner.base.span)
            given.append(name)
            inner = argument
        path = field_path(inner)
        if path is None:
            self.report("Invalid field path", inner.span)
        return IndexedPath(path or (), "mva" in given, "desc" in given, whole.span)

    def check(self, at: int, once: _Seen) -> Member:
        """check := "check" id "(" lambda ")" """
        name = self._identifier_name()
        once.add("check constraint name", name.span, name.text)
        value = self.expression()
        note = "Check constraints require parenthesis around the lambda"
        if not isinstance(value, Tuple):
            self.refuse("Expected lambda check predicate", value.span, note)
        body = self._lambda_of(value, "lambda check predicate", note)
        return Check(name, body, (self.starts[at], value.span[1]))

    def migrations(self, at: int, once: _Seen) -> Member:
        """migrations := "migrations" "{" migration+ "}" """
        once.add("migration block", self.span(at))
        steps: list[Migration] = []
        start, end = self._members(lambda: steps.append(self._migration()))
        if not steps:
            self.report("Empty migration blocks are not allowed", (start, end))
        return Migrations(tuple(steps), (self.starts[at], end))

    def _migration(self) -> Migration:
        """migration := word path ["->" path,..] | "backfill" path "=" expr | "add_wildcard" """
        at = self.at
        kind = self.identifier()
        if kind not in _MIGRATIONS:
            self.refuse("Only migrations are allowed in migration blocks", self.span(at))
        paths: list[tuple[str | int, ...]] = []
        value: Expr | None = None
        if kind != "add_wildcard":
            paths.append(self._migration_path())
        if kind in ("move", "split"):
            self.expect("->")
            paths.append(self._migration_path())
        while kind == "split" and self.kinds[self.at] == ",":
            self.at += 1
            paths.append(self._migration_path())
        if kind == "backfill":
            self.expect("=")
            value = self.expression()
        span = (self.starts[at], self.ends[self.at - 1])
        if kind == "split" and len(paths) < 3:
            self.report("Expected at least two fields to split into", span)
        return Migration(kind, tuple(paths), value, span)

    def _migration_path(self) -> tuple[str | int, ...]:
        start = self.here()
        path = self.path()
        if any(isinstance(part, int) for part in path):
            self.report("Cannot index into an item in a migration path", start)
        return path

    # ------------------------------------------------------------------- functions

    def function(self, start: int, annotations: dict[str, Name], seen: _Seen) -> Item:
        """function := "function" name "(" [arg,..] ["..." arg] ")" [":" type] block"""
        name = self._name()
        self._allow(annotations, "alias", "role")
        alias = annotations.get("alias")
        for one in (name, *((alias,) if alias else ())):
            seen.add("collection or function", one.span, one.text)
        signature_start = self.expect("(")
        arguments, variadic = self._arguments_of_function()
        result = None
        if self.kinds[self.at] == ":":
            self.at += 1
            result = self.annotation()
        signature = (signature_start, self.ends[self.at - 1])
        self._check_signature([*arguments, *((variadic,) if variadic else ())], result, signature)
        body_start = self.expect("{")
        statements = self.body("}", "block")
        self.at += 1
        end = self.ends[self.at - 1]
        body = Block(statements, (body_start, end))
        role = annotations.get("role")
        return Function(
            name, alias, role, tuple(arguments), variadic, result, signature, body, (start, end)
        )

    def _arguments_of_function(self) -> tuple[list[Argument], Argument | None]:
        """args := [["..."] name [":" type] ("," ..)* [","]] ")" """
        found: list[Argument] = []
        variadic: Argument | None = None
        while self.kinds[self.at] != ")":
            start = self.starts[self.at]
            many = self.kinds[self.at] == "..."
            self.at += many
            at = self.at
            name = Name(self.identifier(), self.span(at))
            given = None
            if self.kinds[self.at] == ":":
                self.at += 1
                given = self.annotation()
            if variadic:
                message = "Variadic argument must be the last argument."
                self.report(message, variadic.span)
            argument = Argument(name, given, (start, self.ends[self.at - 1]))
            variadic = argument if many else None
            if not many:
                found.append(argument)
            if self.kinds[self.at] == ",":
                self.at += 1
            elif self.kinds[self.at] != ")":
                self.fail("`)`", "`,`")
        self.at += 1
        return found, variadic

    def _check_signature(self, arguments: list[Argument], result: Type | None, span: Span) -> None:
        typed = [one for one in arguments if one.type is not None]
        untyped = [one for one in arguments if one.type is None]
        if typed and untyped:
            reason = Hint("Expecting types due to this type annotation", typed[0].span)
            for one in untyped:
                message = "All or no arguments must have a type"
                self.report(message, one.span, hints=(reason,))
        elif typed and result is None:
            self.report("Return type is required when arguments have a type", span)
        elif untyped and result is not None:
            message = "Return type is not allowed when arguments do not have a type"
            self.report(message, result.span)

    # ------------------------------------------------------------------- access

    def role(self, start: int, annotations: dict[str, Name], seen: _Seen) -> Item:
        """role := "role" name "{" (privileges | membership)* "}" """
        name = self._name()
        self._allow(annotations)
        seen.add("role", name.span, name.text)
        privileges: list[Privileges] = []
        memberships: list[Membership] = []
        once = _Seen(self)

        def member() -> None:
            at = self.at
            word = self.identifier()
            if word == "privileges":
                privileges.append(self._privileges(at, once))
            elif word == "membership":
                memberships.append(self._membership(at, once))
            else:
                self.refuse(f"Invalid member `{word}`", self.span(at))

        _, end = self._members(member)
        return Role(name, tuple(privileges), tuple(memberships), (start, end))

    def _privileges(self, at: int, once: _Seen) -> Privileges:
        """privileges := "privileges" name "{" (action [predicate])* "}" """
        resource = self._name()
        once.add("privileges", resource.span, resource.text)
        actions: list[Action] = []
        only = _Seen(self)

        def action() -> None:
            place = self.at
            word = self.identifier()
            if word not in ACTIONS:
                self.refuse(f"Invalid action `{word}`", self.span(place))
            only.add("action", self.span(place), word)
            predicate = self._predicate()
            actions.append(Action(word, predicate, (self.starts[place], self.ends[self.at - 1])))

        _, end = self._members(action)
        return Privileges(resource, tuple(actions), (self.starts[at], end))

    def _membership(self, at: int, once: _Seen) -> Membership:
        """membership := "membership" name [predicate], or "role" name [predicate]"""
        resource = self._name()
        once.add(self.word(at), resource.span, resource.text)
        predicate = self._predicate()
        return Membership(resource, predicate, (self.starts[at], self.ends[self.at - 1]))

    def _predicate(self) -> Lambda | ShortLambda | None:
        """predicate := ["{" "predicate" "(" lambda ")" "}"]"""
        if not self.follows("{"):
            return None
        found: list[Lambda | ShortLambda] = []

        def predicate() -> None:
            at = self.at
            if self.identifier() != "predicate":
                self.refuse("Expecting a predicate", self.span(at))
            found.append(self._lambda_of(self.expression(), "lambda predicate"))

        span = self._members(predicate)
        if len(found) != 1:
            self.refuse("Expected a single predicate member", span)
        return found[0]

    def access(self, start: int, annotations: dict[str, Name], seen: _Seen) -> Item:
        """access := "access" "provider" name "{" issuer jwks_uri role* "}" """
        if self.kinds[self.at] != "identifier" or self.word(self.at) != "provider":
            self.fail("provider")
        self.at += 1
        name = self._name()
        self._allow(annotations)
        seen.add("access provider", name.span, name.text)
        texts: dict[str, str] = {}
        roles: list[Membership] = []
        once = _Seen(self)

        def member() -> None:
            at = self.at
            word = self.identifier()
            if word == "role":
                roles.append(self._membership(at, once))
            elif word in ("issuer", "jwks_uri"):
                once.add(word.replace("_", " "), self.span(at))
                texts.setdefault(word, self._string_literal())
            else:
                self.refuse(f"Invalid member `{word}`", self.span(at))

        span = self._members(member)
        for word in ("issuer", "jwks_uri"):
            if word not in texts:
                self.report(f"Missing {word.replace('_', ' ')}", span)
        issuer, uri = texts.get("issuer", ""), texts.get("jwks_uri", "")
        return AccessProvider(name, issuer, uri, tuple(roles), (start, span[1]))

    def _string_literal(self) -> str:
        at = self.at
        if self.kinds[at] == "template":
            self.refuse("Cannot interpolate values in a string literal", self.here())
        if self.kinds[at] not in ("string", "heredoc"):
            self.refuse("Expected string literal", self.here())
        self.at = at + 1
        return str(self.values[at])


def _behind_block_comment(text: str, start: int) -> int:
    """Return where a comment that the lexer accepted ends, its line included."""
    depth, position = 0, start
    while True:
        if text.startswith("/*", position):
            depth, position = depth + 1, position + 2
        elif text.startswith("*/", position):
            depth, position = depth - 1, position + 2
            if depth == 0:
                break
        else:
            position += 1
    while text.startswith((" ", "\t"), position):
        position += 1
    return position + text.startswith("\n", position)


_ITEMS: dict[str, Callable[[SchemaParser, int, dict[str, Name], _Seen], Item]] = {
    "collection": SchemaParser.collection,
    "function": SchemaParser.function,
    "role": SchemaParser.role,
    "access": SchemaParser.access,
}
_MEMBERS: dict[str, Callable[[SchemaParser, int, _Seen], Member]] = {
    "index": SchemaParser.index,
    "unique": SchemaParser.unique,
    "check": SchemaParser.check,
    "migrations": SchemaParser.migrations,
}
