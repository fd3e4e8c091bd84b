"""The schema endpoints' work: read, compare, check and push the files of a database's schema.

A push is one transaction: definitions first, in an order in which names and roles are there when
they are needed, then the files themselves. A check does the same and keeps nothing.

Trap: a definition that means what it meant is not written: it may have documents, and a change
of its fields would be refused.
"""

from typing import Any

import msgspec

from faunadb.definitions import SystemCollection
from faunadb.errors import Forbidden, QueryError
from faunadb.fql import models
from faunadb.fql.documents import lookup
from faunadb.fql.fsl_diff import semantic, textual
from faunadb.fql.fsl_files import (
    BadFiles,
    Change,
    Files,
    changes_of,
    checked_names,
    current_files,
    live_definitions,
    parse_files,
    stored_files,
)
from faunadb.fql.rights import BUILT_IN_ROLES
from faunadb.fql.runtime import Compiler, Context, Doc, Runtime
from faunadb.fql.view import View
from faunadb.values import Fields

READERS = BUILT_IN_ROLES - {"client"}
STALE = "Stale schema version provided"


class SchemaAsked(msgspec.Struct, frozen=True, array_like=True):
    """What a client asks of the schema's files.

    `action` is files, file, status, diff, validate or update; `diff` is "", semantic, summary or
    textual. `version` (microseconds) is what the client believes the schema's version to be.
    """

    action: str
    files: tuple[tuple[str, str], ...] = ()
    name: str = ""
    version: int | None = None
    override: bool = True
    diff: str = ""


class Told(msgspec.Struct, frozen=True):
    """An HTTP status and what is said beside the version; `changed` says that it is a new one."""

    status: int
    body: dict[str, Any]
    changed: bool = False


def answer_schema(
    asked: SchemaAsked, view: View, context: Context, compiler: Compiler, steps: int
) -> Told:
    """Do what is asked; the writes are in `view`.

    Raises `Forbidden`, `QueryError`, `OverBudget`.
    """
    if context.role not in READERS or (asked.action == "update" and context.role != "admin"):
        raise Forbidden("Access denied")
    if asked.version is not None and asked.version != view.schema.version:
        return Told(409, {"message": STALE})
    # definitions are written with the rights of an admin: a check by a reader keeps nothing
    rt = Runtime(view, msgspec.structs.replace(context, role="admin"), compiler, steps=steps)
    if asked.action == "files":
        return Told(200, {"files": [{"filename": name} for name in sorted(current_files(rt))]})
    if asked.action == "status":
        return Told(
            200, {"status": "none"} | ({"pending_summary": "", "diff": ""} if asked.diff else {})
        )
    if asked.action == "file":
        content = current_files(rt).get(asked.name)
        if content is None:
            return Told(404, {"message": "Not found"})
        return Told(200, {"content": content})
    return _pushed(rt, asked)


def _pushed(rt: Runtime, asked: SchemaAsked) -> Told:
    before = current_files(rt)
    files = dict(asked.files)
    checked_names(files)
    after = {} if asked.override else dict(before)
    for name, content in files.items():
        after[name] = content
    after = {name: content for name, content in after.items() if content.strip()}
    checked_names(after)
    rt.tick(sum(map(len, after.values())) // 4)
    wanted = parse_files(after)
    changes = list(changes_of(live_definitions(rt), wanted.definitions))
    if asked.action != "diff":
        _apply(rt, changes)
        _keep(rt, after)
    if asked.action == "update":
        return Told(200, {}, changed=rt.writes > 0)
    if asked.diff == "textual":
        return Told(200, {"diff": textual(before, after)})
    places = parse_files(before).places
    only_titles = asked.diff == "summary"
    said = semantic(changes, places, wanted.places, titles_only=only_titles)
    return Told(200, {"diff": said})


_ORDER = (
    SystemCollection.COLLECTION,
    SystemCollection.ROLE,
    SystemCollection.FUNCTION,
    SystemCollection.ACCESS_PROVIDER,
)


def _apply(rt: Runtime, changes: list[Change]) -> None:
    """Delete what stands in the way, write, and delete roles when nobody names them any more."""
    for change in changes:
        if change.after is None and change.key[0] != SystemCollection.ROLE:
            models.delete(rt, Doc(change.key[0], 0, name=change.key[1]))
    for coll in _ORDER:
        for change in changes:
            if change.key[0] == coll and change.after is not None:
                _write(rt, change)
    for change in changes:
        if change.after is None and change.key[0] == SystemCollection.ROLE:
            models.delete(rt, Doc(change.key[0], 0, name=change.key[1]))


def _write(rt: Runtime, change: Change) -> None:
    coll, name = change.key
    assert change.after is not None
    if change.before is None:
        models.create(rt, coll, change.after)
        return
    doc = Doc(coll, 0, name=name)
    old = lookup(rt, doc)
    assert old is not None, "it was just read"
    data = {"data": old.data["data"]} if old.data.get("data") is not None else {}
    models.update(rt, doc, {**change.after, **data}, whole=True)


def _keep(rt: Runtime, files: Files) -> None:
    """Keep the files as they came."""
    if stored_files(rt) == files:
        return
    numbers = {
        str(source.data["name"]): source.id
        for source in rt.view.scan(SystemCollection.SCHEMA_SOURCE)
    }
    for name, number in numbers.items():
        if name not in files:
            rt.view.delete_definition(SystemCollection.SCHEMA_SOURCE, number)
    for name, content in files.items():
        number = numbers.get(name) or rt.view.next_definition_id(SystemCollection.SCHEMA_SOURCE)
        fields: Fields = {"name": name, "content": content}
        rt.view.put_definition(SystemCollection.SCHEMA_SOURCE, number, fields)
    rt.writes += 1


def describe(error: QueryError) -> str:
    """Return what the schema endpoints say of a refused push."""
    if isinstance(error, BadFiles) or not error.constraint_failures:
        return error.message
    lines = [
        f"  {','.join(_label(path) for path in paths)}: {text}"
        for paths, text in error.constraint_failures
    ]
    return "\n".join([error.message, "constraint failures:", *lines])


def _label(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))
