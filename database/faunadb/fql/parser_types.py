"""How are types written? The part of the parser for `let x: T`, fields and functions.

    type    := operand (("|" | "&" | "=>") operand)*       on one line; => binds loosest
    operand := base "?"*
    base    := name ["<" type,.. ">"] | literal | object | "[" type,.. "]"
             | "(" [[name ":"] ["..."] type],.. ")"

Defaults (`{ a: Int = 3 }`) are read everywhere and refused where none may stand.
Trap: `>=` and `??` are one token in expressions and two here.
"""

from collections.abc import Sequence

from faunadb.fql.diagnostics import Hint
from faunadb.fql.lexer import signed
from faunadb.fql.parser_base import NAMES, Reader
from faunadb.fql.syntax import (
    Expr,
    Span,
    Type,
    TypeApplication,
    TypeField,
    TypeFunction,
    TypeIntersection,
    TypeLiteral,
    TypeName,
    TypeNullable,
    TypeObject,
    TypeParameter,
    TypeTuple,
    TypeUnion,
)


class _Parameters:
    """What only an arrow may follow: `(a: A, rest: ...B)`."""

    __slots__ = ("named", "span", "variadic")

    def __init__(
        self, named: tuple[TypeParameter, ...], variadic: TypeParameter | None, span: Span
    ) -> None:
        self.named = named
        self.variadic = variadic
        self.span = span


class TypeParser(Reader):
    __slots__ = ()

    def expression(self, *, short: bool = False) -> Expr:
        """Read an expression: the default of a field. The parser of expressions is below."""
        raise NotImplementedError

    def annotation(self) -> Type:
        """type, without defaults"""
        found = self.type_()
        self._refuse_defaults(found, None)
        return found

    def schema_type(self) -> Type:
        """type, where objects may give defaults to their fields"""
        found = self.type_()
        self._check_defaults(found)
        return found

    def type_(self) -> Type:
        """type := operand (("|" | "&" | "=>") operand)*"""
        self.enter()
        operands: list[Type | _Parameters] = [self._type_operand()]
        operators: list[str] = []
        while self.kinds[self.at] in ("|", "&", "=>") and self.at not in self.newlines:
            operators.append(self.kinds[self.at])
            self.at += 1
            self.bound(len(operators))
            operands.append(self._type_operand())
        self.depth -= 1
        return self._type_fold(operands, operators)

    def _type_fold(self, operands: list[Type | _Parameters], operators: list[str]) -> Type:
        sides: list[Type | _Parameters] = []  # of the arrows
        first = 0
        for i, operator in enumerate([*operators, "=>"]):
            if operator == "=>":
                sides.append(self._type_union(operands[first : i + 1], operators[first:i]))
                first = i + 1
        result = self._type_plain(sides.pop())
        while sides:
            result = self._type_function(sides.pop(), result)
        return result

    def _type_union(
        self, operands: list[Type | _Parameters], operators: list[str]
    ) -> Type | _Parameters:
        if not operators:
            return operands[0]
        members: list[Type] = []
        first = 0
        for i, operator in enumerate([*operators, "|"]):
            if operator == "|":
                both = tuple(self._type_plain(one) for one in operands[first : i + 1])
                members.append(both[0] if len(both) == 1 else TypeIntersection(both, _cover(both)))
                first = i + 1
        return members[0] if len(members) == 1 else TypeUnion(tuple(members), _cover(members))

    def _type_function(self, left: Type | _Parameters, result: Type) -> Type:
        span = (left.span[0], result.span[1])
        if isinstance(left, _Parameters):
            every = [*left.named, *([left.variadic] if left.variadic else [])]
            if len({parameter.name is None for parameter in every}) > 1:
                self.report("All parameters must be named, or none", left.span)
            return TypeFunction(left.named, left.variadic, result, span)
        types = left.elements if isinstance(left, TypeTuple) else (left,)
        return TypeFunction(
            tuple(TypeParameter(None, one, one.span) for one in types), None, result, span
        )

    def _type_plain(self, operand: Type | _Parameters) -> Type:
        """Return a type; report what may only stand left of an arrow."""
        if not isinstance(operand, _Parameters):
            return operand
        for parameter in operand.named:
            if parameter.name is not None:
                self.report("Only lambda argument types may be named", parameter.span)
        if operand.variadic:
            self.report("Invalid variadic argument", operand.variadic.span)
        return TypeTuple(tuple(parameter.type for parameter in operand.named), operand.span)

    def _type_operand(self) -> Type | _Parameters:
        """operand := base "?"*"""
        found = self._type_base()
        first = self.at
        while (kind := self.kinds[self.at]) in ("?", "??") and self.at not in self.newlines:
            end = self.starts[self.at]
            for _ in kind:
                end += 1
                base = self._type_plain(found)
                found = TypeNullable(base, (base.span[0], end))
            self.at += 1
            self.bound(2 * (self.at - first))
        return found

    def _type_base(self) -> Type | _Parameters:
        """base := name | literal | object | tuple | parameters"""
        at = self.at
        kind = self.kinds[at]
        self.at = at + 1
        if kind in ("true", "false", "string"):
            value = kind == "true" if kind != "string" else str(self.values[at])
            return TypeLiteral(value, self.span(at))
        if kind in NAMES:
            return self._type_name(at)
        if kind in ("number", "-", "+"):
            return self._type_number(at)
        if kind == "{":
            return self._type_object(self.starts[at])
        if kind == "[":
            elements, end = self._type_list("]")
            return TypeTuple(elements, (self.starts[at], end))
        if kind != "(":
            self.at = at
            self.fail("type")
        return self._type_parameters(self.starts[at])

    def _type_name(self, at: int) -> Type:
        """name := word ("." word)* ["<" type,.. ">"]"""
        while self.kinds[self.at] == "." and self.kinds[self.at + 1] in NAMES:
            self.at += 2
        name = self.text[self.starts[at] : self.ends[self.at - 1]]
        if not self.follows("<"):
            return TypeName(name, (self.starts[at], self.ends[self.at - 1]))
        self.at += 1
        if self.kinds[self.at] in (">", ">="):
            self.fail("type")
        arguments, end = self._type_list(">")
        return TypeApplication(name, arguments, (self.starts[at], end))

    def _type_number(self, at: int) -> Type:
        """literal := ["+" | "-"] integer"""
        sign = ""
        if self.kinds[at] != "number":
            sign = self.kinds[at]
            self.at += 1
        value = self.values.get(self.at - 1)
        if not isinstance(value, int) or self.kinds[self.at - 1] != "number":
            self.at = at
            self.fail("type")
        value = signed(value, sign)
        return TypeLiteral(int(value), (self.starts[at], self.ends[self.at - 1]))

    def _type_list(self, close: str) -> tuple[tuple[Type, ...], int]:
        """[type ("," type)* [","]] close; also return where the close ends"""
        found: list[Type] = []
        while (kind := self.kinds[self.at]) != close and not (kind == ">=" and close == ">"):
            found.append(self.type_())
            if self.kinds[self.at] == ",":
                self.at += 1
            elif self.kinds[self.at] not in (close, ">=" if close == ">" else close):
                self.fail("`,`", f"`{close}`")
        end = self.starts[self.at] + 1
        if kind == close:
            self.at += 1
        else:  # `Array<Int>= 3`: what is left is the `=`
            self.kinds[self.at] = "="
            self.starts[self.at] = end
        return tuple(found), end

    def _type_parameters(self, start: int) -> Type | _Parameters:
        """parameters := "(" [[name ":"] ["..."] type ("," ..)* [","]] ")" """
        found: list[TypeParameter] = []
        variadic: TypeParameter | None = None
        while self.kinds[self.at] != ")":
            parameter, many = self._type_parameter()
            if variadic:
                self.report("Invalid variadic argument", variadic.span)
            variadic = parameter if many else None
            if not many:
                found.append(parameter)
            if self.kinds[self.at] == ",":
                self.at += 1
            elif self.kinds[self.at] != ")":
                self.fail("`)`", "`,`")
        self.at += 1
        span = (start, self.ends[self.at - 1])
        if variadic or any(parameter.name is not None for parameter in found):
            return _Parameters(tuple(found), variadic, span)
        if len(found) == 1:
            return found[0].type
        return TypeTuple(tuple(parameter.type for parameter in found), span)

    def _type_parameter(self) -> tuple[TypeParameter, bool]:
        """parameter := [name ":"] ["..."] type"""
        name = None
        start = self.starts[self.at]
        if self.kinds[self.at] == "identifier" and self.kinds[self.at + 1] == ":":
            name = self.identifier()
            self.at += 1
        many = self.kinds[self.at] == "..."
        self.at += many
        found = self.type_()
        return TypeParameter(name, found, (start, found.span[1])), many

    def _type_object(self, start: int) -> Type:
        """object := "{" [field ((";" | "," | newline) field)* [","]] "}" """
        fields: list[TypeField] = []
        seen: dict[str, Span] = {}
        wildcard: Type | None = None
        is_open = False
        last: tuple[str, Span] | None = None  # of the wildcard or `...`, which end the object
        while self.kinds[self.at] != "}":
            field_start = self.starts[self.at]
            ends: tuple[str, Span] | None = None
            if self.kinds[self.at] == "...":
                self.at += 1
                is_open, ends = True, ("Interface", self.span(self.at - 1))
            elif self.kinds[self.at] == "*":
                self.at += 1
                self.expect(":")
                wildcard = self.type_()
                ends = ("Wildcard", wildcard.span)
            else:
                fields.append(self._type_field(seen))
            if last is not None:
                word, place = last
                message = f"{word} must be the last element in an object"
                hint = Hint(f"{word} defined here", place)
                self.report(message, (field_start, self.ends[self.at - 1]), hints=(hint,))
            last = ends or last
            if self.kinds[self.at] in (",", ";"):
                self.at += 1
            elif self.kinds[self.at] != "}" and self.at not in self.newlines:
                self.fail("`,`", "`}`")
        self.at += 1
        return TypeObject(tuple(fields), wildcard, is_open, (start, self.ends[self.at - 1]))

    def _type_field(self, seen: dict[str, Span]) -> TypeField:
        """field := key ":" type ["=" expr]"""
        at = self.at
        if self.kinds[at] in NAMES:
            key = self.word(at)
        elif self.kinds[at] == "string":
            key = str(self.values[at])
        else:
            self.fail("identifier")
        span = self.span(at)
        self.at += 1
        self.expect(":")
        found = self.type_()
        default = None
        if self.follows("="):
            self.at += 1
            default = self.expression()
        if key in seen:
            self.refuse("Duplicate key", span, hints=(Hint("Key originally used here", seen[key]),))
        seen[key] = span
        return TypeField(key, found, default, span)

    def _check_defaults(self, found: Type) -> None:
        """Report defaults that a schema may not give: only plain objects have them."""
        if not isinstance(found, TypeObject) or found.open:
            self._refuse_defaults(found, _reason(found))
            return
        for field in found.fields:
            if field.default is None:
                self._check_defaults(field.type)
            else:
                place = field.default.span
                hint = Hint("Parent has a conflicting default value", place)
                self._refuse_defaults(field.type, hint)
        if found.wildcard:
            self._refuse_defaults(found.wildcard, None)

    def _refuse_defaults(self, found: Type, reason: Hint | None) -> None:
        pending: list[Type] = [found]
        while pending:
            one = pending.pop()
            if isinstance(one, TypeObject):
                for field in one.fields:
                    if field.default is not None:
                        message = "Default values are not allowed here"
                        self.report(message, field.default.span, hints=(reason,) if reason else ())
            pending.extend(inner_types(one))


def inner_types(found: Type) -> Sequence[Type]:
    """Return the types that a type is made of, one level down."""
    match found:
        case TypeApplication(arguments=inner) | TypeTuple(elements=inner):
            return inner
        case TypeUnion(members=inner) | TypeIntersection(members=inner):
            return inner
        case TypeNullable(base=base):
            return (base,)
        case TypeObject(fields=fields, wildcard=wildcard):
            return [*(field.type for field in fields), *([wildcard] if wildcard else [])]
        case TypeFunction(parameters=parameters, variadic=variadic, result=result):
            every = [*parameters, *([variadic] if variadic else [])]
            return [*(parameter.type for parameter in every), result]
        case _:
            return ()


def _reason(found: Type) -> Hint:
    match found:
        case TypeNullable(span=(_, end)):
            return Hint("Parent is nullable", (end - 1, end))
        case TypeUnion(span=span):
            return Hint("Parent is a union", span)
        case _:
            return Hint("Parent is not an object", found.span)


def _cover(types: Sequence[Type]) -> Span:
    return (types[0].span[0], types[-1].span[1])
