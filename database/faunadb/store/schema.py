"""What do a database's definition documents say? `Schema`, built once per schema version.

A definition is a document of a system collection (its fields: schema.md, section 2). The store
adds two fields of its own to those of collections, which readers never see (`visible`):

    $backing   [{id, shape, status, collation}]   the indexes that exist, one per shape
    $floor     µs: history before it is gone, whatever `history_days` says now

An index's shape is what decides its entries: terms, values, and the bodies of the computed
fields that they begin with. Definitions of one shape share one backing index.

Trap: a cached schema may come from an entry that is not committed. Clear the cache when the
member stops leading, because another leader may issue that version again.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from faunadb.codec import encode_value
from faunadb.definitions import (
    CheckDefinition,
    CollectionDefinition,
    ComputedField,
    FieldDefinition,
    FunctionDefinition,
    IndexDefinition,
    IndexStatus,
    IndexValue,
    Path,
    Schema,
    SystemCollection,
)
from faunadb.store import keys, mvcc
from faunadb.store.collation import COLLATION_VERSION
from faunadb.store.ports import Reader
from faunadb.values import Fields, Value

BACKING, FLOOR = "$backing", "$floor"
SCHEMAS_CACHED_MAX = 256
_HIDDEN = frozenset((BACKING, FLOOR))
_SCHEMA_FREE = frozenset(
    (SystemCollection.KEY, SystemCollection.TOKEN, SystemCollection.CREDENTIAL)
)


class Shape(msgspec.Struct, frozen=True):
    """What decides an index's entries. `name` is "" for a unique constraint's own."""

    name: str
    terms: tuple[Path, ...]
    values: tuple[IndexValue, ...]
    queryable: bool | None
    unique: bool
    key: bytes  # equal for equal shapes


class SchemaCache:
    """Schemas by (database, version); at most `SCHEMAS_CACHED_MAX`."""

    def __init__(self) -> None:
        self._schemas: dict[tuple[int, int], Schema] = {}

    def at(self, reader: Reader, scope: int, ts: int) -> Schema:
        """Return the schema of database `scope` in the snapshot at `ts` microseconds."""
        version = schema_version(reader, scope, ts)
        schema = self._schemas.get((scope, version))
        if schema is None:
            if len(self._schemas) >= SCHEMAS_CACHED_MAX:
                self._schemas.clear()
            schema = self._schemas[scope, version] = load_schema(reader, scope, version)
        return schema

    def clear(self) -> None:
        self._schemas.clear()


def bumps_schema(coll: int) -> bool:
    """Return whether a write to this system collection makes a new schema version."""
    return coll not in _SCHEMA_FREE


def schema_version(reader: Reader, scope: int, ts: int) -> int:
    """Return the time of the last schema write at or before `ts`, 0 before any."""
    marker = mvcc.newest(reader, keys.schema_prefix(scope), ts)
    return 0 if marker is None or marker.ts is None else marker.ts


def load_schema(reader: Reader, scope: int, version: int) -> Schema:
    """Build the schema of that version from its documents; raises `Malformed`."""
    collections: dict[int, CollectionDefinition] = {}
    functions: dict[int, FunctionDefinition] = {}
    roles: dict[str, Fields] = {}
    names: dict[str, CollectionDefinition | FunctionDefinition] = {}
    for doc_id, data in _documents(reader, scope, SystemCollection.FUNCTION, version):
        functions[doc_id] = function_definition(doc_id, data)
    for doc_id, data in _documents(reader, scope, SystemCollection.COLLECTION, version):
        collections[doc_id] = collection_definition(doc_id, data)
    for _, data in _documents(reader, scope, SystemCollection.ROLE, version):
        roles[str(data["name"])] = data
    definitions: list[CollectionDefinition | FunctionDefinition] = list(functions.values())
    for definition in definitions + list(collections.values()):
        names |= {name: definition for name in (definition.alias, definition.name) if name}
    return Schema(scope, version, collections, functions, names, roles)


def _documents(reader: Reader, scope: int, coll: int, version: int) -> Iterator[tuple[int, Fields]]:
    start = keys.collection_prefix(scope, coll)
    for found in mvcc.scan_newest(reader, start, keys.successor(start), version):
        if found.live_at(version):
            yield keys.entry_doc_id(found.prefix), mvcc.fields_of(found.raw, found.ts)


def visible(data: Fields) -> Fields:
    """Return a definition's fields without those of the store."""
    if BACKING not in data and FLOOR not in data:
        return data
    return {name: value for name, value in data.items() if name not in _HIDDEN}


def function_definition(doc_id: int, data: Fields) -> FunctionDefinition:
    return FunctionDefinition(
        doc_id,
        str(data["name"]),
        str(data.get("body", "")),
        alias=_text(data.get("alias")),
        role=_text(data.get("role")),
        signature=_text(data.get("signature")),
    )


def collection_definition(doc_id: int, data: Fields) -> CollectionDefinition:
    """Return what a collection's document says, with its backing indexes as they stand."""
    backing = {bytes(item["shape"]): item for item in _items(data.get(BACKING))}
    days = data.get("history_days", 0)
    return CollectionDefinition(
        doc_id,
        str(data["name"]),
        alias=_text(data.get("alias")),
        fields=tuple(
            FieldDefinition(name, str(item.get("signature", "Any")), _text(item.get("default")))
            for name, item in _entries(data.get("fields"))
        ),
        computed_fields=_computed_fields(data),
        wildcard=_text(data.get("wildcard")),
        indexes=tuple(
            _index(shape, backing[shape.key]) for shape in shapes(data) if shape.key in backing
        ),
        checks=tuple(
            CheckDefinition(str(item["check"]["name"]), str(item["check"]["body"]))
            for item in _items(data.get("constraints"))
            if isinstance(item.get("check"), dict)
        ),
        history_days=days if isinstance(days, int) else None,
        ttl_days=_integer(data.get("ttl_days")),
        history_floor_us=_integer(data.get(FLOOR)) or 0,
    )


def _index(shape: Shape, backing: Mapping[str, Any]) -> IndexDefinition:
    status = IndexStatus(backing["status"])
    complete = status is IndexStatus.COMPLETE
    return IndexDefinition(
        id=backing["id"],
        name=shape.name,
        terms=shape.terms,
        values=shape.values,
        status=status,
        queryable=complete if shape.queryable is None else shape.queryable and complete,
        collation=backing["collation"],
        unique=shape.unique,
    )


def shapes(data: Fields) -> list[Shape]:
    """Return the indexes that a collection's document asks for, unique constraints last."""
    computed = {item.name: item.body for item in _computed_fields(data)}
    found = []
    for name, item in _entries(data.get("indexes")):
        terms = tuple(_term(term) for term in _items(item.get("terms")))
        values = tuple(
            IndexValue(
                _term(value), descending=isinstance(value, dict) and value.get("order") == "desc"
            )
            for value in _items(item.get("values"))
        )
        asked = item.get("queryable")
        found.append(
            Shape(
                name,
                terms,
                values,
                asked if isinstance(asked, bool) else None,
                unique=False,
                key=_shape_key(terms, values, computed),
            )
        )
    for item in _items(data.get("constraints")):
        if isinstance(item.get("unique"), list):
            terms = tuple(_term(term) for term in item["unique"])
            key = _shape_key(terms, (), computed)
            found.append(Shape("", terms, (), queryable=False, unique=True, key=key))
    return found


def new_backing(shape: Shape, index_id: int, status: IndexStatus) -> dict[str, Any]:
    """Return the `$backing` item of an index that begins to exist."""
    return {
        "id": index_id,
        "shape": shape.key,
        "status": status.value,
        "collation": COLLATION_VERSION,
    }


def parse_path(text: str) -> tuple[str | int, ...]:
    """Split `.a["b c"][0]`; a bare `a` is `.a`. Assumes text that was checked when written."""
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            end = _bracket_end(text, at)
            inner = text[at + 1 : end].strip()
            parts.append(_unquoted(inner) if inner[:1] in "\"'" else int(inner))
            at = end + 1
            continue
        at += text[at] == "."
        end = min(
            (i for i in (text.find(".", at), text.find("[", at)) if i >= 0), default=len(text)
        )
        if end > at:
            parts.append(text[at:end].strip())
        at = max(end, at)
    return tuple(parts)


def _bracket_end(text: str, at: int) -> int:
    quote = text[at + 1] if text[at + 1 : at + 2] in ("'", '"') else ""
    if not quote:
        return text.index("]", at)
    end = at + 2
    while text[end] != quote:
        end += 2 if text[end] == "\\" else 1
    return text.index("]", end)


def _unquoted(text: str) -> str:
    return text[1:-1].replace('\\"', '"').replace("\\'", "'").replace("\\\\", "\\")


def _term(item: Any) -> Path:
    if isinstance(item, str):
        return Path(parse_path(item))
    return Path(parse_path(str(item["field"])), mva=item.get("mva") is True)


def _shape_key(
    terms: tuple[Path, ...], values: tuple[IndexValue, ...], computed: Mapping[str, str]
) -> bytes:
    paths = (*terms, *(value.path for value in values))
    bodies: list[Value] = [computed.get(str(path.parts[0])) for path in paths if path.parts]
    shape: list[Value] = [
        [[list[Value](path.parts), path.mva] for path in terms],
        [[list[Value](item.path.parts), item.path.mva, item.descending] for item in values],
        bodies,
    ]
    return encode_value(shape)


def _computed_fields(data: Fields) -> tuple[ComputedField, ...]:
    return tuple(
        ComputedField(name, str(item["body"]), _text(item.get("signature")))
        for name, item in _entries(data.get("computed_fields"))
    )


def _entries(value: Value) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict):
                yield name, item


def _items(value: Value) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: Value) -> int | None:
    return value if isinstance(value, int) else None
