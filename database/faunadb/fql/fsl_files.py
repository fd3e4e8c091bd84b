"""What do the schema files of a database say, and what has been changed beside them?

Files are kept as they were pushed, comments and all. What FQL changed since then is patched in
whenever they are read: an item whose definition differs is written anew, one that is gone is cut
out, one that is new stands at the end of `main.fsl` (schema.md §4).

    Files        name → text
    Definitions  (system collection, name) → fields

Trap: definitions are compared by their canonical text, so that spelling alone is no difference.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from faunadb.definitions import SystemCollection
from faunadb.errors import QueryError
from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.fsl import parse_schema
from faunadb.fql.fsl_fields import Fields, fields_of
from faunadb.fql.fsl_items import Item
from faunadb.fql.fsl_write import written
from faunadb.fql.render import Source, summary
from faunadb.fql.runtime import Runtime
from faunadb.fql.syntax import Span

MAIN = "main.fsl"
FILES_MAX = 1024
GENERATED = "// The items of this file were written by queries, or changed by them.\n"
KINDS = {
    SystemCollection.COLLECTION: "collection",
    SystemCollection.FUNCTION: "function",
    SystemCollection.ROLE: "role",
    SystemCollection.ACCESS_PROVIDER: "access provider",
}
_NAMESPACES = {  # collections and functions share one
    SystemCollection.COLLECTION: "collection or function",
    SystemCollection.FUNCTION: "collection or function",
}
_COMMENTS = re.compile(r"(//[^\n]*\n)*")
Key = tuple[int, str]
Files = dict[str, str]
Definitions = dict[Key, Fields]


class BadFiles(QueryError):
    """The files cannot be a schema; the message is drawn already."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_schema", message)


class Place(msgspec.Struct, frozen=True):
    """Where an item stands."""

    file: str
    span: Span
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Parsed(msgspec.Struct, frozen=True):
    """What files define, and where."""

    definitions: Definitions
    places: dict[Key, Place]


def parse_files(files: Mapping[str, str]) -> Parsed:
    """Read all files; raises `BadFiles` with every problem of every file."""
    found = Parsed({}, {})
    seen: dict[tuple[str, str], str] = {}
    problems = []
    for name in sorted(files):
        try:
            items = parse_schema(files[name])
        except InvalidQuery as error:
            problems.append(summary(error, Source(files[name], name)))
            continue
        for item in items:
            coll, fields = fields_of(item, files[name])
            kind = _NAMESPACES.get(SystemCollection(coll), KINDS[SystemCollection(coll)])
            own = str(fields["name"])
            if (kind, own) in seen:
                first = seen[kind, own]
                problems.append(f"Duplicate {kind} `{own}` in {name} (originally seen in {first})")
            seen.setdefault((kind, own), name)
            found.definitions[coll, own] = fields
            found.places[coll, own] = _place(name, files[name], item)
    if problems:
        raise BadFiles("\n".join(problems))
    return found


def _place(name: str, text: str, item: Item) -> Place:
    start = item.span[0]
    line_start = text.rfind("\n", 0, start) + 1
    return Place(name, item.span, text.count("\n", 0, start) + 1, start - line_start + 1)


def live_definitions(rt: Runtime) -> Definitions:
    """Return what is defined, as the schema language can say it."""
    found: Definitions = {}
    for coll in KINDS:
        for document in rt.view.scan(coll):
            rt.tick(10)
            found[coll, str(document.data["name"])] = document.data
    return found


def stored_files(rt: Runtime) -> Files:
    """Return the files as they were pushed."""
    sources = rt.view.scan(SystemCollection.SCHEMA_SOURCE)
    return {str(source.data["name"]): str(source.data["content"]) for source in sources}


def current_files(rt: Runtime) -> Files:
    """Return the files with all that was changed beside them."""
    return patched_files(stored_files(rt), live_definitions(rt))


def patched_files(files: Files, live: Definitions) -> Files:
    """Return `files` changed so that they define exactly what is `live`."""
    parsed = parse_files(files)
    patched = dict(files)
    edits = [
        (place, _rewritten(patched[place.file], place, key[0], live.get(key)))
        for key, place in parsed.places.items()
        if not _is_same(key, parsed.definitions[key], live.get(key))
    ]
    for place, text in sorted(edits, key=lambda edit: edit[0].span, reverse=True):
        start, end = place.span
        patched[place.file] = patched[place.file][:start] + text + patched[place.file][end:]
    missing = [written(key[0], live[key]) for key in sorted(live) if key not in parsed.places]
    if missing:
        before = patched.get(MAIN, GENERATED).rstrip("\n")
        patched[MAIN] = "\n\n".join([before, *missing]) + "\n"
    return {name: text for name, text in patched.items() if text.strip()}


def _rewritten(file: str, place: Place, coll: int, live: Fields | None) -> str:
    """Return what takes the place of an item; the lines of comment above it stay."""
    if live is None:
        return ""
    comment = _COMMENTS.match(file, *place.span)
    return f"{comment[0] if comment else ''}{written(coll, live)}"


def _is_same(key: Key, wanted: Fields, live: Fields | None) -> bool:
    return live is not None and written(key[0], wanted) == written(key[0], live)


class Change(msgspec.Struct, frozen=True):
    """One definition before and after; None is none."""

    key: Key
    before: Fields | None
    after: Fields | None


def changes_of(live: Definitions, wanted: Definitions) -> Iterator[Change]:
    """Yield what differs, by kind and name."""
    for key in sorted({*live, *wanted}):
        before, after = live.get(key), wanted.get(key)
        if after is None or not _is_same(key, after, before):
            yield Change(key, before, after)


def checked_names(files: Mapping[str, Any]) -> None:
    """Raise `BadFiles` for names and numbers of files that are not accepted."""
    for name in files:
        if not name.endswith(".fsl") or name.startswith("*"):
            raise BadFiles(f"Invalid filename `{name}`")
    if len(files) > FILES_MAX - (MAIN not in files):
        raise BadFiles("Too many files")
