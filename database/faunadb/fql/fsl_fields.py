"""Which definition does an item of a schema file ask for? From its tree to a document's fields.

The fields are those that `Collection.create` and its kin take (schema.md §2, §4); bodies are the
text of the file. `fsl_write` is the way back.

Trap: a short lambda is stored with its parentheses, which are no part of its node.
"""

from typing import Any, assert_never

from faunadb.definitions import SystemCollection
from faunadb.fql.fsl_items import (
    AccessProvider,
    Action,
    Check,
    Collection,
    ComputedField,
    DefinedField,
    Function,
    Index,
    IndexedPath,
    Item,
    Membership,
    Migrations,
    Role,
    Setting,
    Unique,
)
from faunadb.fql.naming import is_identifier
from faunadb.fql.syntax import Lambda, ShortLambda, Span
from faunadb.fql.unparse import quote

Fields = dict[str, Any]


def fields_of(item: Item, text: str) -> tuple[int, Fields]:
    """Return the system collection and the fields of an item of the file `text`."""
    source = _Source(text)
    match item:
        case Collection():
            return SystemCollection.COLLECTION, source.collection(item)
        case Function():
            return SystemCollection.FUNCTION, source.function(item)
        case Role():
            return SystemCollection.ROLE, source.role(item)
        case AccessProvider():
            return SystemCollection.ACCESS_PROVIDER, source.access_provider(item)
    assert_never(item)


def path_text(path: tuple[str | int, ...]) -> str:
    """Return a path as definitions have it: `.a["b c"][0]`."""
    parts = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            parts.append(f".{part}" if is_identifier(part) else f"[{quote(part)}]")
    return "".join(parts)


class _Source:
    def __init__(self, text: str) -> None:
        self._text = text

    def _at(self, span: Span) -> str:
        return self._text[span[0] : span[1]]

    def _lambda(self, node: Lambda | ShortLambda) -> str:
        text = self._at(node.span)
        return f"({text})" if isinstance(node, ShortLambda) else text

    def collection(self, item: Collection) -> Fields:
        found: Fields = {"name": item.name.text}
        if item.alias is not None:
            found["alias"] = item.alias.text
        for member in item.members:
            match member:
                case DefinedField(name=name) if name.text == "*":
                    found["wildcard"] = self._at(member.type.span)
                case DefinedField():
                    field = {"signature": self._at(member.type.span)}
                    if member.default is not None:
                        field["default"] = self._at(member.default.span)
                    found.setdefault("fields", {})[member.name.text] = field
                case ComputedField():
                    field = {"body": self._lambda(member.body)}
                    if member.type is not None:
                        field["signature"] = self._at(member.type.span)
                    found.setdefault("computed_fields", {})[member.name.text] = field
                case Index():
                    found.setdefault("indexes", {})[member.name.text] = _index(member)
                case Unique(terms=terms):
                    unique = {"unique": [_indexed(term) for term in terms]}
                    found.setdefault("constraints", []).append(unique)
                case Check(name=name, body=body):
                    check = {"check": {"name": name.text, "body": self._lambda(body)}}
                    found.setdefault("constraints", []).append(check)
                case Setting(name=setting, value=value):
                    found[setting] = value
                case Migrations(steps=steps):
                    found["migrations"] = [{step.kind: self._at(step.span)} for step in steps]
        return found

    def function(self, item: Function) -> Fields:
        names = [argument.name.text for argument in item.arguments]
        if item.variadic is not None:
            names.append(f"...{item.variadic.name.text}")
        found: Fields = {"name": item.name.text}
        if item.alias is not None:
            found["alias"] = item.alias.text
        if item.role is not None:
            found["role"] = item.role.text
        if item.result is not None:
            found["signature"] = self._signature(item)
        found["body"] = f"({', '.join(names)}) => {self._at(item.body.span)}"
        return found

    def _signature(self, item: Function) -> str:
        assert item.result is not None
        types = [self._at(arg.type.span) for arg in item.arguments if arg.type is not None]
        named = [
            f"{arg.name.text}: {kind}" for arg, kind in zip(item.arguments, types, strict=True)
        ]
        if item.variadic is not None and item.variadic.type is not None:
            named.append(f"{item.variadic.name.text}: ...{self._at(item.variadic.type.span)}")
        return f"({', '.join(named)}) => {self._at(item.result.span)}"

    def role(self, item: Role) -> Fields:
        return {
            "name": item.name.text,
            "privileges": [
                {
                    "resource": one.resource.text,
                    "actions": {action.name: self._allowed(action) for action in one.actions},
                }
                for one in item.privileges
            ],
            "membership": [self._membership(one) for one in item.memberships],
        }

    def _allowed(self, action: Action) -> bool | str:
        return True if action.predicate is None else self._lambda(action.predicate)

    def _membership(self, item: Membership, key: str = "resource") -> Fields:
        found: Fields = {key: item.resource.text}
        if item.predicate is not None:
            found["predicate"] = self._lambda(item.predicate)
        return found

    def access_provider(self, item: AccessProvider) -> Fields:
        return {
            "name": item.name.text,
            "issuer": item.issuer,
            "jwks_uri": item.jwks_uri,
            "roles": [self._membership(one, "role") for one in item.roles],
        }


def _index(item: Index) -> Fields:
    found: Fields = {}
    if item.terms:
        found["terms"] = [_indexed(term) for term in item.terms]
    if item.values:
        found["values"] = [
            {**_indexed(value), **({"order": "desc"} if value.descending else {})}
            for value in item.values
        ]
    return found


def _indexed(item: IndexedPath) -> Fields:
    field: Fields = {"field": path_text(item.path)}
    if item.mva:
        field["mva"] = True
    return field
