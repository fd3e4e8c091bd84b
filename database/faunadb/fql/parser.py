"""How is a query read? Text to tree, by the grammar in FQL.md §3; docstrings are productions.

    query   := [stmt (sep stmt)*]                    sep is a newline or ";"; ends in an expr
    expr    := if | at | match | lambda | operators [projection]
    operators := term (operator term)*               an explicit stack: no recursion here
    term    := ("-" | "~" | "!")* primary link*

Only expressions in one another recurse, at most `NESTING_MAX` deep; runs of operators, `else
if`, links and statements are loops. Nothing is read twice, so time is linear in the text.

House rule: a token on a new line goes on only where the grammar says so (`newlines`): a chain
before `.` and `?.`, operators before `?? || && | ^ &`, and nothing before `(`, `[`, `{`, `!`.

Trap: a short lambda is the *whole* run of operators around `.a`, so an operand that is one
loses its wrapper and the run gets it; `(.a)` counts as an operand too, but `(.a)` alone, or
behind `!`, is a lambda of its own.
"""

from collections.abc import Callable

from faunadb.fql.diagnostics import Hint, HintKind
from faunadb.fql.lexer import KEYWORDS, signed
from faunadb.fql.parser_base import NAMES
from faunadb.fql.parser_match import MatchParser
from faunadb.fql.parser_operators import ACROSS_LINES, PRECEDENCE, OperatorRun
from faunadb.fql.syntax import (
    DEPTH_MAX,
    Array,
    At,
    Bang,
    Block,
    Call,
    Chain,
    Entry,
    Expr,
    Field,
    If,
    Index,
    Lambda,
    Let,
    Link,
    Literal,
    Method,
    Node,
    Object,
    Parameter,
    Placeholder,
    Project,
    ShortLambda,
    Span,
    Template,
    This,
    Tuple,
    Type,
    Unary,
    Variable,
    field_path,
)

_PREFIX = frozenset(("-", "~", "!", "!~"))
_CONSTANTS = {"null": None, "true": True, "false": False}
_CHAIN_STARTS = frozenset((".", "?.", "(", "[", "!"))
_NEVER_FIRST = frozenset((*")]},:;=*/%><?&|^@", "->", "=>", "...", "?.", "end", "#}"))


def parse_query(text: str, *, placeholders: int = 0) -> Block:
    """Parse a query. `placeholders`: how many values its template brought.

    Raises `InvalidQuery` with every problem found.
    """
    parser = Parser(text, placeholders)
    start = parser.starts[0]
    statements = parser.body("end", "query")
    query = Block(statements, (start, parser.ends[parser.at - 1] if parser.at else start))
    parser.finish(query)
    return query


def parse_expression(text: str, *, short: bool = False) -> Expr:
    """Parse one expression; `short` allows a short lambda. Raises `InvalidQuery`."""
    parser = Parser(text)
    found = parser.expression(short=short)
    parser.end()
    parser.finish(found)
    return found


def parse_lambda(text: str) -> Lambda | ShortLambda:
    """Parse the body of a function, predicate or computed field; `(.a)` is allowed too."""
    parser = Parser(text)
    statements = parser.body("end", "query", problems=False)
    found = statements[0] if len(statements) == 1 else None
    if isinstance(found, Tuple) and len(found.elements) == 1:
        found = found.elements[0] if isinstance(found.elements[0], ShortLambda) else found
    elif isinstance(found, ShortLambda):  # has its own report: parentheses are missing
        parser.raise_problems()
    if not isinstance(found, Lambda | ShortLambda):
        end = parser.starts[parser.at]
        hint = Hint("Declare a lambda.", (0, 0), suggestion="() => ")
        parser.refuse(
            "Body must be a lambda expression.",
            (0, end),
            "Expression is not a lambda.",
            (hint,) if len(statements) == 1 else (),
        )
    parser.finish(found)
    return found


def parse_type(text: str) -> Type:
    """Parse a type without defaults. Raises `InvalidQuery`."""
    parser = Parser(text)
    found = parser.annotation()
    parser.end()
    parser.finish(found)
    return found


def parse_schema_type(text: str) -> Type:
    """Parse the type of a collection's field. Raises `InvalidQuery`."""
    parser = Parser(text)
    found = parser.schema_type()
    parser.end()
    parser.finish(found)
    return found


def parse_path(text: str) -> tuple[str | int, ...]:
    """Parse a field path such as `.a["b c"][0]`. Raises `InvalidQuery`."""
    parser = Parser(text)
    found = parser.path()
    parser.end()
    parser.raise_problems()
    return found


class Parser(MatchParser):
    """Reads expressions; see the functions above."""

    __slots__ = ()

    def finish(self, tree: Node) -> None:
        """Raise what was reported; refuse a tree that is deeper than its readers can go."""
        self.raise_problems()
        if len(self.kinds) > DEPTH_MAX:
            self._measure(tree)

    def _measure(self, tree: Node) -> None:
        pending = [(tree, 1)]
        while pending:
            node, depth = pending.pop()
            if depth > DEPTH_MAX:
                span: Span = getattr(node, "span", (0, 1))
                self.refuse(f"Nested too deep, more than {DEPTH_MAX} levels", span)
            for name in node.__struct_fields__:
                part = getattr(node, name)
                if isinstance(part, Node):
                    pending.append((part, depth + 1))
                elif isinstance(part, tuple):
                    pending.extend((one, depth + 1) for one in part if isinstance(one, Node))

    def path(self) -> tuple[str | int, ...]:
        """path := "." name ("." name | "[" (string | integer) "]")*"""
        found = self.expression(short=True)
        path = field_path(found)
        if path is None:
            self.report("Invalid field path", found.span)
            return ()
        return path

    # ------------------------------------------------------------------- statements

    def body(self, close: str, what: str, *, problems: bool = True) -> tuple[Let | Expr, ...]:
        """body := [stmt (sep stmt)*]; stops before `close`"""
        kinds = self.kinds
        statements: list[Let | Expr] = []
        if kinds[self.at] in _NEVER_FIRST:
            self.refuse(f"Unexpected end of {what}. Expected statement or expression", self.here())
        while (kind := kinds[self.at]) != close:
            if kind == "end":
                self.fail(f"`{close}`")
            statements.append(self._let() if kind == "let" else self.expression())
            separated = self.at in self.newlines
            while kinds[self.at] == ";":
                self.at += 1
                separated = True
            if not separated and kinds[self.at] != close:
                self.fail("end-of-input" if close == "end" else f"`{close}`")
        last = statements[-1]
        if problems and isinstance(last, Let):
            cause = Hint("Statement does not return a value", last.span, kind=HintKind.CAUSE)
            self.refuse("Missing return expression", self.here(), hints=(cause,))
        return tuple(statements)

    def _let(self) -> Let:
        """stmt := "let" name [":" type] "=" expr | expr"""
        start = self.starts[self.at]
        self.at += 1
        at = self.at
        name = self.identifier()
        if name in ("_", "FQL"):
            self.refuse_name(at)
        found: Type | None = None
        if self.kinds[self.at] == ":":
            self.at += 1
            found = self.annotation()
        self.expect("=", *(() if found else ("`:`",)))
        value = self.expression()
        return Let(name, self.span(at), found, value, (start, value.span[1]))

    # ------------------------------------------------------------------- expressions

    def expression(self, *, short: bool = False) -> Expr:
        """expr := if | at | match | name "=>" expr | parameters "=>" expr | operators [project]"""
        self.enter()
        at = self.at
        kinds = self.kinds
        kind = kinds[at]
        found: Expr
        if kind == "identifier" and kinds[at + 1] == "=>" and at + 1 not in self.newlines:
            self.at = at + 1
            found = self._lambda((Variable(self.word(at), self.span(at)),), None, self.starts[at])
        elif kind == "if":
            found = self._if()
        elif kind == "at":
            found = self._at()
        elif kind == "match":
            found = self.match_()
        else:
            found = self._parenthesised() if kind == "(" else self.term()
            if not isinstance(found, Lambda):
                if kinds[self.at] in PRECEDENCE:
                    found = self._operators(found)
                if kinds[self.at] == "{" and self.at not in self.newlines:
                    found = self._project(found)
                if isinstance(found, ShortLambda) and not short:
                    self.report("Invalid anonymous field access", found.span)
        self.depth -= 1
        return found

    def _if(self) -> Expr:
        """if := "if" "(" expr ")" expr ["else" expr]; a ladder of `else if` is one loop"""
        rungs: list[tuple[int, Expr, Expr]] = []
        otherwise: Expr | None = None
        while True:
            start = self.starts[self.at]
            self.at += 1
            self.expect("(")
            condition = self.expression()
            self.expect(")")
            rungs.append((start, condition, self.expression()))
            self.bound(len(rungs))
            if self.kinds[self.at] != "else":
                break
            self.at += 1
            if self.kinds[self.at] != "if":
                otherwise = self.expression()
                break
        for start, condition, then in reversed(rungs):
            end = (otherwise or then).span[1]
            otherwise = If(condition, then, otherwise, (start, end))
        assert otherwise is not None, "there is at least one rung"
        return otherwise

    def _at(self) -> Expr:
        """at := "at" "(" expr ")" expr"""
        start = self.starts[self.at]
        self.at += 1
        self.expect("(")
        time = self.expression()
        self.expect(")")
        body = self.expression()
        return At(time, body, (start, body.span[1]))

    def _parenthesised(self) -> Expr:
        """lambda := "(" [name,..] ["..." name] ")" "=>" expr, else a term in parentheses"""
        start = self.starts[self.at]
        self.at += 1
        elements: list[Expr] = []
        variadic: Parameter | None = None
        while (kind := self.kinds[self.at]) != ")":
            if kind == "...":
                self.at += 1
                at = self.at
                variadic = Parameter(self.identifier(), self.span(at))
                break
            elements.append(self.expression(short=True))
            if self.kinds[self.at] != ",":
                break
            self.at += 1
        self.expect(")", *(() if variadic else ("`,`",)))
        end = self.ends[self.at - 1]
        names = [one for one in elements if isinstance(one, Variable)]
        if self.follows("=>") and len(names) == len(elements):
            return self._lambda(tuple(names), variadic, start)
        if variadic:
            self.refuse("invalid variadic tuple", (start, end))
        return self._links(Tuple(tuple(elements), (start, end)))

    def _lambda(
        self, names: tuple[Variable, ...], variadic: Parameter | None, start: int
    ) -> Lambda:
        """The rest of a lambda, from its arrow."""
        self.at += 1
        body = self.expression()
        parameters = tuple(Parameter(one.name, one.span) for one in names)
        if len(parameters) + (variadic is not None) > 1:
            seen: dict[str, Span] = {}
            for one in (*parameters, *((variadic,) if variadic else ())):
                if one.name in seen:
                    hint = Hint("Argument originally defined here", seen[one.name])
                    self.report("Duplicate lambda argument", one.span, hints=(hint,))
                elif one.name != "_":
                    seen[one.name] = one.span
        return Lambda(parameters, variadic, body, (start, body.span[1]))

    def _operators(self, first: Expr) -> Expr:
        """operators := term (operator term)*"""
        run = OperatorRun(first)
        while (kind := self.kinds[self.at]) in PRECEDENCE:
            if self.at in self.newlines and kind not in ACROSS_LINES:
                break
            run.operator(kind, self.span(self.at))
            self.bound(run.height)
            self.at += 1
            run.operand(self.term())
        return run.close()

    def _project(self, base: Expr) -> Expr:
        """projection := "{" ("*" | element ("," element)* [","]) "}" """
        self.enter()
        self.at += 1
        kinds = self.kinds
        body = base.body if isinstance(base, ShortLambda) else base
        if kinds[self.at] == "*":
            self.at += 1
            self.expect("}")
            span = (base.span[0], self.ends[self.at - 1])
            self.report("project expr not supported", span)
            self.depth -= 1
            return Literal(None, span)
        entries = [self._element()]
        while kinds[self.at] == ",":
            self.at += 1
            if kinds[self.at] == "}":
                break
            entries.append(self._element())
        self.expect("}", "`,`")
        self.depth -= 1
        found = Project(body, tuple(entries), (base.span[0], self.ends[self.at - 1]))
        return found if body is base else ShortLambda(found, found.span)

    def _element(self) -> Entry:
        """element := name ":" expr | name [projection]"""
        at = self.at
        name = self.identifier()
        span = self.span(at)
        if self.follows(":"):
            self.at += 1
            value = self.expression(short=True)
            return Entry(name, value.body if isinstance(value, ShortLambda) else value, span)
        place = (span[0], span[0])
        link = Field(name, dot=span[0], optional=False, span=span)
        own: Expr = Chain(This(place), (link,), span)
        if self.follows("{"):
            own = self._project(own)
        return Entry(name, own, span)

    # ------------------------------------------------------------------- terms

    def term(self) -> Expr:
        """term := ("-" | "~" | "!")* primary link*; a sign before a number belongs to it"""
        at = self.at
        kind = self.kinds[at]
        if kind == "identifier":
            self.at = at + 1
            name = Variable(self.word(at), self.span(at))
            return self._links(name) if self.kinds[at + 1] in _CHAIN_STARTS else name
        if kind not in _PREFIX or self._is_signed_number():
            return self._links(self._primary())
        prefixes: list[tuple[str, int]] = []
        while kind in _PREFIX and not self._is_signed_number():
            prefixes.extend((one, self.starts[self.at] + i) for i, one in enumerate(kind))
            self.at += 1
            self.bound(len(prefixes))
            kind = self.kinds[self.at]
            if self.at in self.newlines:
                self.fail("expression")
        found = self._links(self._primary())
        short = isinstance(found, ShortLambda)
        if isinstance(found, ShortLambda):
            found = found.body
        for operator, start in reversed(prefixes):
            found = Unary(operator, (start, start + 1), found, (start, found.span[1]))
        return ShortLambda(found, found.span) if short else found

    def _is_signed_number(self) -> bool:
        at = self.at
        return (
            self.kinds[at] in ("-", "+")
            and self.kinds[at + 1] == "number"
            and at + 1 not in self.newlines
        )

    def _primary(self) -> Expr:
        """primary := literal | name | tuple | object | block | array | template | "." link"""
        kind = self.kinds[self.at]
        read = _PRIMARIES.get(kind)
        if read is None:
            if kind in KEYWORDS:
                self.refuse_name(self.at)
            self.fail("expression")
        return read(self, self.at)

    def variable(self, at: int) -> Expr:
        """name := a word that is no keyword"""
        self.at = at + 1
        return Variable(self.word(at), self.span(at))

    def literal(self, at: int) -> Expr:
        """literal := string | heredoc | "null" | "true" | "false" """
        self.at = at + 1
        value = self.values[at] if at in self.values else _CONSTANTS[self.kinds[at]]
        return Literal(value, self.span(at))

    def number(self, at: int) -> Expr:
        """literal := ["-" | "+"] number"""
        kind = self.kinds[at]
        last = at
        if kind != "number":
            last = at + 1
            if not self._is_signed_number():
                self.fail("expression")
        self.at = last + 1
        value = self.values[last]
        assert not isinstance(value, str), "the lexer gives numbers numbers"
        return Literal(signed(value, kind), (self.starts[at], self.ends[last]))

    def tuple_(self, _: int) -> Expr:
        """tuple := "(" [expr,..] ")" """
        return Tuple(*self.arguments(")"))

    def array(self, _: int) -> Expr:
        """array := "[" [expr,..] "]" """
        return Array(*self.arguments("]", short=False))

    def placeholder(self, at: int) -> Expr:
        """placeholder := NUL digits NUL, for a value that the template brought"""
        index = int(self.values[at])
        if index >= self.placeholders:
            self.fail("expression")
        self.at = at + 1
        return Placeholder(index, self.span(at))

    def short_lambda(self, at: int) -> Expr:
        """short := "." (name | arguments) link*; here only what stands before the links"""
        start = self.starts[at]
        kind = self.kinds[at + 1]
        if kind in ("(", "["):
            self.at = at + 1
            self.newlines.discard(at + 1)
        elif kind not in NAMES:
            self.at = at + 1
            self.fail("`(`", "`[`", "identifier")
        return This((start, start))

    def template(self, at: int) -> Expr:
        """template := "template" (text | "#{" expr "#}")* "template end" """
        self.at = at + 1
        parts: list[str | Expr] = []
        while (kind := self.kinds[self.at]) != "template end":
            if kind == "text":
                text = str(self.values[self.at])
                if text:
                    parts.append(text)
                self.at += 1
            else:
                self.at += 1  # the lexer puts nothing else here
                parts.append(self.expression())
                if self.kinds[self.at] != "#}":
                    self.fail("`}`")
                self.at += 1
        self.at += 1
        span = (self.starts[at], self.ends[self.at - 1])
        if not parts:
            return Literal("", span)
        return Template(tuple(parts), span)

    def braces(self, opening: int) -> Expr:
        """object := "{" [key ":" expr ("," ..)* [","]] "}"; block := "{" body "}" """
        start = self.starts[opening]
        self.at = at = opening + 1
        kind = self.kinds[at]
        if kind == "}":
            self.at = at + 1
            return Object((), (start, self.ends[at]))
        after = at + 1
        if kind == "template":
            after = int(self.values.get(at, at)) + 1
        is_key = kind in NAMES or kind in ("string", "template")
        if is_key and self.kinds[after] == ":" and after not in self.newlines:
            return self._object(start)
        statements = self.body("}", "block")
        self.at += 1
        return Block(statements, (start, self.ends[self.at - 1]))

    def _object(self, start: int) -> Expr:
        """object := "{" key ":" expr ("," key ":" expr)* [","] "}" """
        entries: list[Entry] = []
        seen: dict[str, Span] = {}
        while self.kinds[self.at] != "}":
            at = self.at
            key = self._key(at)
            span = self.span(at)
            if key in seen:
                hint = Hint("Key originally used here", seen[key])
                self.report("Duplicate key", span, hints=(hint,))
            seen.setdefault(key, span)
            self.at = at + 1
            if not self.follows(":"):
                self.fail("`:`")
            self.at += 1
            entries.append(Entry(key, self.expression(), span))
            if self.kinds[self.at] == ",":
                self.at += 1
            elif self.kinds[self.at] != "}":
                self.fail("`,`", "`}`")
        self.at += 1
        return Object(tuple(entries), (start, self.ends[self.at - 1]))

    def _key(self, at: int) -> str:
        """key := name | string without interpolation"""
        kind = self.kinds[at]
        if kind == "string":
            return str(self.values[at])
        if kind == "template":
            self._refuse_interpolation(at)
        if kind not in NAMES:
            self.fail("identifier")
        return self.word(at)

    def _refuse_interpolation(self, at: int) -> None:
        whole = self.template(at)
        assert isinstance(whole, Template), "the lexer found an expression in it"
        inner = next(part for part in whole.parts if not isinstance(part, str)).span
        start = self.starts[self.kinds.index("#{", at)]
        backslash = Hint("Add a backslash to ignore the interpolation", (start, start), "\\")
        dynamic = Hint("Use Object.fromEntries if you need a dynamic key", whole.span)
        self.refuse("Object keys do not support interpolation", inner, "", (backslash, dynamic))

    # ------------------------------------------------------------------- chains

    def _links(self, base: Expr) -> Expr:
        """link := "." name | "?." name | ["?."] arguments | "!" """
        kinds, starts, newlines = self.kinds, self.starts, self.newlines
        links: list[Link] = []
        component = base.span[0]  # start of the component before
        while True:
            at = self.at
            kind = kinds[at]
            if kind in (".", "?."):
                after = kinds[at + 1]
                if after in NAMES:
                    links.append(self._dotted(at, optional=kind == "?."))
                elif kind == "?." and after in ("(", "["):
                    self.at = at + 1
                    links.append(self._call(optional=True))
                else:
                    self.at = at + 1
                    self.fail("identifier")
            elif at in newlines:
                break
            elif kind in ("(", "["):
                links.append(self._call(optional=False))
            elif kind == "!":
                links.append(Bang((component, self.ends[at])))
                self.at = at + 1
            else:
                break
            component = starts[at]
        if not links:
            return base
        found = Chain(base, tuple(links), (base.span[0], links[-1].span[1]))
        return ShortLambda(found, found.span) if isinstance(base, This) else found

    def _dotted(self, at: int, *, optional: bool) -> Link:
        """member := "." name [["?."] "(" .. ")"]; a call right behind the name is a method call"""
        kinds = self.kinds
        name, span, dot = self.word(at + 1), self.span(at + 1), self.starts[at]
        self.at = at + 2
        kind = kinds[at + 2]
        call_optional = kind == "?." and kinds[at + 3] == "("
        if call_optional:
            self.at = at + 3
        elif kind != "(" or at + 2 in self.newlines:
            return Field(name, dot, optional, span)
        arguments, parentheses = self.arguments(")")
        return Method(name, arguments, dot, span, optional, call_optional, parentheses)

    def _call(self, *, optional: bool) -> Link:
        """call := "(" [expr,..] ")" | "[" [expr,..] "]" """
        if self.kinds[self.at] == "(":
            arguments, span = self.arguments(")")
            return Call(arguments, optional, span)
        arguments, span = self.arguments("]")
        return Index(arguments, optional, span)

    def arguments(self, close: str, *, short: bool = True) -> tuple[tuple[Expr, ...], Span]:
        """arguments := open [expr ("," expr)* [","]] close, short lambdas allowed"""
        kinds = self.kinds
        start = self.starts[self.at]
        self.at += 1
        if kinds[self.at] == close:
            self.at += 1
            return (), (start, self.ends[self.at - 1])
        found = [self.expression(short=short)]
        while kinds[self.at] == ",":
            self.at += 1
            if kinds[self.at] == close:
                break
            found.append(self.expression(short=short))
        self.expect(close, "`,`")
        return tuple(found), (start, self.ends[self.at - 1])


_PRIMARIES: dict[str, Callable[[Parser, int], Expr]] = {
    "identifier": Parser.variable,
    "string": Parser.literal,
    "heredoc": Parser.literal,
    "null": Parser.literal,
    "true": Parser.literal,
    "false": Parser.literal,
    "number": Parser.number,
    "-": Parser.number,
    "+": Parser.number,
    "(": Parser.tuple_,
    "[": Parser.array,
    "{": Parser.braces,
    ".": Parser.short_lambda,
    "template": Parser.template,
    "placeholder": Parser.placeholder,
}
