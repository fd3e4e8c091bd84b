"""How is a definition written in a schema file? The way back from `fsl_fields`.

The text is canonical: definitions that mean the same, however they were written down, have equal
texts. Bodies keep theirs.

Trap: FQL lets a path be written without its dot and a list of one as the one itself; here they
are all the same.
"""

from typing import Any

from faunadb.definitions import SystemCollection
from faunadb.fql.fsl_fields import Fields, path_text
from faunadb.fql.modelchecks import split_path
from faunadb.fql.naming import is_identifier
from faunadb.fql.parser import parse_lambda, parse_type
from faunadb.fql.rights import listed
from faunadb.fql.syntax import Block, Lambda, TypeFunction
from faunadb.fql.unparse import quote


def written(coll: int, fields: Fields) -> str:
    """Return the item that defines this, without a newline at its end."""
    if coll == SystemCollection.COLLECTION:
        return _collection(fields)
    if coll == SystemCollection.FUNCTION:
        return _function(fields)
    if coll == SystemCollection.ROLE:
        return _role(fields)
    return _access_provider(fields)


def collection_members(fields: Fields) -> dict[str, dict[str, str]]:
    """Return what a collection has, by kind and name: each as a line or lines of a file."""
    defined = {name: _field(name, field) for name, field in (fields.get("fields") or {}).items()}
    if fields.get("wildcard") is not None:
        defined["*"] = f"*: {fields['wildcard']}"
    settings = {
        name: f"{name} {_setting(fields[name])}"
        for name in ("history_days", "ttl_days", "document_ttls")
        if fields.get(name)
    }
    computed = (fields.get("computed_fields") or {}).items()
    indexes = (fields.get("indexes") or {}).items()
    return {
        "fields": defined,
        "computed": {name: _computed(name, field) for name, field in computed},
        "indexes": {name: _index(name, index) for name, index in indexes},
        "constraints": dict(map(_constraint, fields.get("constraints") or [])),
        "settings": settings,
    }


def _setting(value: Any) -> str:
    return str(value).lower()


def _collection(fields: Fields) -> str:
    groups = [list(group.values()) for group in collection_members(fields).values()]
    body = "\n\n".join(_indented("\n".join(group)) for group in groups if group)
    head = f"{_alias(fields)}collection {name_text(fields['name'])} "
    return f"{head}{{\n{body}\n}}" if body else f"{head}{{\n}}"


def _alias(fields: Fields) -> str:
    return f"@alias({fields['alias']})\n" if fields.get("alias") else ""


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def name_text(name: str) -> str:
    return name if is_identifier(name) else f"'{name}'"


def _field(name: str, field: Fields) -> str:
    default = f" = {field['default']}" if field.get("default") is not None else ""
    return f"{name_text(name)}: {field['signature']}{default}"


def _computed(name: str, field: Fields) -> str:
    signature = f": {field['signature']}" if field.get("signature") is not None else ""
    return f"compute {name_text(name)}{signature} = {field['body']}"


def _index(name: str, index: Fields) -> str:
    lines = [
        f"{word} [{', '.join(_indexed(item) for item in index[word])}]"
        for word in ("terms", "values")
        if index.get(word)
    ]
    body = "".join(f"  {line}\n" for line in lines)
    return f"index {name} {{\n{body}}}"


def _indexed(item: Any) -> str:
    field = {"field": item} if isinstance(item, str) else item
    text = path_text(split_path(field["field"]))
    if field.get("mva"):
        text = f"mva({text})"
    return f"desc({text})" if field.get("order") == "desc" else text


def _constraint(item: Fields) -> tuple[str, str]:
    if "check" in item:
        name = item["check"]["name"]
        return f"check `{name}`", f"check {name} {_in_parentheses(item['check']['body'])}"
    text = f"[{', '.join(_indexed(term) for term in item['unique'])}]"
    return f"unique constraint on {text}", f"unique {text}"


def _in_parentheses(body: str) -> str:
    """Return a lambda as a check or predicate wants it; a short one has its parentheses."""
    return f"({body})" if isinstance(parse_lambda(body), Lambda) else body


def _function(fields: Fields) -> str:
    role = f"@role({name_text(fields['role'])})\n" if fields.get("role") else ""
    code = parse_lambda(fields["body"])
    names, variadic, body = ["value"], None, f"{{\n  {fields['body']}(value)\n}}"
    if isinstance(code, Lambda):
        start, end = code.body.span
        body = fields["body"][start:end]
        if not isinstance(code.body, Block):
            body = f"{{\n{_indented(body)}\n}}"
        names = [parameter.name for parameter in code.parameters]
        variadic = None if code.variadic is None else code.variadic.name
    head = _signature(names, variadic, fields.get("signature"))
    return f"{_alias(fields)}{role}function {fields['name']}{head} {body}"


def _signature(names: list[str], variadic: str | None, signature: str | None) -> str:
    types: list[str] = [""] * len(names)
    rest = result = ""
    if signature is not None:
        node = parse_type(signature)
        if isinstance(node, TypeFunction):
            spans = [parameter.type.span for parameter in node.parameters]
            types = [f": {signature[start:end]}" for start, end in spans]
            if node.variadic is not None:
                start, end = node.variadic.type.span
                rest = f": {signature[start:end]}"
            start, end = node.result.span
            result = f": {signature[start:end]}"
    arguments = [f"{name}{kind}" for name, kind in zip(names, types, strict=False)]
    if variadic is not None:
        arguments.append(f"...{variadic}{rest}")
    return f"({', '.join(arguments)}){result}"


def role_members(fields: Fields) -> dict[str, str]:
    """Return what a role has, by name: privileges on and membership of resources."""
    found = {}
    for item in listed(fields.get("privileges")):
        lines = [
            action
            if allowed is True
            else f"{action} {{\n  predicate {_in_parentheses(allowed)}\n}}"
            for action, allowed in (item.get("actions") or {}).items()
            if allowed
        ]
        body = "".join(f"{_indented(line)}\n" for line in lines)
        resource = name_text(item["resource"])
        found[f"privileges `{item['resource']}`"] = f"privileges {resource} {{\n{body}}}"
    for item in listed(fields.get("membership")):
        found[f"membership `{item['resource']}`"] = _member("membership", "resource", item)
    return found


def _member(word: str, key: str, item: Fields) -> str:
    head = f"{word} {name_text(item[key])}"
    if item.get("predicate") is None:
        return head
    return f"{head} {{\n  predicate {_in_parentheses(item['predicate'])}\n}}"


def _role(fields: Fields) -> str:
    body = "".join(f"{_indented(member)}\n" for member in role_members(fields).values())
    return f"role {name_text(fields['name'])} {{\n{body}}}"


def _access_provider(fields: Fields) -> str:
    roles = fields.get("roles") or []
    items = [{"role": one} if isinstance(one, str) else one for one in _list(roles)]
    lines = [f"issuer {quote(fields['issuer'])}", f"jwks_uri {quote(fields['jwks_uri'])}"]
    lines += [_member("role", "role", item) for item in items]
    body = "".join(f"{_indented(line)}\n" for line in lines)
    return f"access provider {name_text(fields['name'])} {{\n{body}}}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
