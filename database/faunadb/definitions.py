"""What a database's schema says, parsed once per schema version, shared by language and store.

A definition is kept as an ordinary document of a system collection; `store/schema.py` turns the
documents into these frozen values. Texts (bodies, defaults, signatures) stay text here: only
`fql` compiles them, through a compiler that its caller passes in.

Trap: names and aliases of collections and functions share one namespace (schema.md §1).
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

import msgspec

from faunadb.values import Fields, Time, Value


class SystemCollection(IntEnum):
    """Numbers of the collections that hold definitions and secrets; users' begin at 1024."""

    COLLECTION = 1
    FUNCTION = 2
    ROLE = 3
    ACCESS_PROVIDER = 4
    DATABASE = 5
    KEY = 6
    TOKEN = 7
    CREDENTIAL = 8
    SCHEMA_SOURCE = 9  # files of the schema language: no query sees them


USER_COLLECTION_MIN = 1024
USER_COLLECTION_MAX = 32767
INDEX_MIN = 32768


class Path(msgspec.Struct, frozen=True):
    """A field path as written in a definition, split: `.a["b c"][0]` is ("a", "b c", 0)."""

    parts: tuple[str | int, ...]
    mva: bool = False  # multi-value: an array gives one entry an element


class IndexValue(msgspec.Struct, frozen=True):
    path: Path
    descending: bool = False


class IndexStatus(StrEnum):
    BUILDING = "building"
    COMPLETE = "complete"
    FAILED = "failed"


class IndexDefinition(msgspec.Struct, frozen=True):
    """One index; `id` is its number (>= INDEX_MIN), equal shapes may share it."""

    id: int
    name: str  # "" for the backing index of a unique constraint
    terms: tuple[Path, ...]
    values: tuple[IndexValue, ...]
    status: IndexStatus
    queryable: bool
    collation: int  # version of the order of strings inside its keys (SAFETY 13)
    unique: bool = False  # backs a unique constraint: `terms` are its paths


class CheckDefinition(msgspec.Struct, frozen=True):
    name: str
    body: str  # text of a lambda of one parameter


class FieldDefinition(msgspec.Struct, frozen=True):
    name: str
    signature: str  # text of a type
    default: str | None = None  # text of an expression


class ComputedField(msgspec.Struct, frozen=True):
    name: str
    body: str
    signature: str | None = None


class CollectionDefinition(msgspec.Struct, frozen=True):
    id: int
    name: str
    alias: str | None = None
    fields: tuple[FieldDefinition, ...] = ()
    computed_fields: tuple[ComputedField, ...] = ()
    wildcard: str | None = None  # None with no fields means "everything is allowed"
    indexes: tuple[IndexDefinition, ...] = ()  # unique constraints' backing ones included
    checks: tuple[CheckDefinition, ...] = ()
    history_days: int | None = 0  # None keeps for ever
    ttl_days: int | None = None
    history_floor_us: int = 0  # versions before it are gone, however many days are kept

    def index(self, name: str) -> IndexDefinition | None:
        """Return the index that users call `name`, `None` when there is none."""
        for index in self.indexes:
            if index.name == name and name:
                return index
        return None


def _by_document(coll: SystemCollection, name: str, *, unique: bool) -> CollectionDefinition:
    """Return a collection of secrets whose documents are found by what they belong to."""
    index = IndexDefinition(
        id=coll,  # numbers below INDEX_MIN are never given to an index of users
        name="byDocument",
        terms=(Path(("document",)),),
        values=(),
        status=IndexStatus.COMPLETE,
        queryable=True,
        collation=0,
        unique=unique,
    )
    return CollectionDefinition(coll, name, indexes=(index,))


TOKENS = _by_document(SystemCollection.TOKEN, "Token", unique=False)
CREDENTIALS = _by_document(SystemCollection.CREDENTIAL, "Credential", unique=True)
SECRETS_BY_DOCUMENT: Mapping[int, CollectionDefinition] = {c.id: c for c in (TOKENS, CREDENTIALS)}


class FunctionDefinition(msgspec.Struct, frozen=True):
    id: int
    name: str
    body: str
    alias: str | None = None
    role: str | None = None
    signature: str | None = None


class Schema(msgspec.Struct, frozen=True):
    """One database's definitions at one schema version.

    `version` is the transaction time (microseconds) of the last schema write, 0 before any.
    `names` maps every name and alias to the collection or function that has it.
    """

    scope: int  # number of the database; 0 is the root
    version: int
    collections: Mapping[int, CollectionDefinition]
    functions: Mapping[int, FunctionDefinition]
    names: Mapping[str, CollectionDefinition | FunctionDefinition]
    roles: Mapping[str, Fields] = {}


EMPTY_SCHEMA = Schema(0, 0, {}, {}, {})


# ---------------------------------------------------------------- what a query reads


class Document(msgspec.Struct, frozen=True):
    """One live version. `ts` in microseconds, `None` for a version this query wrote itself."""

    coll: int
    id: int
    ts: int | None
    data: Fields  # data fields as stored; "ttl" apart
    ttl: Time | None = None


class IndexEntry(msgspec.Struct, frozen=True):
    """One position in an index: covered values (mva flattened), document, and its version."""

    values: tuple[Value, ...]
    coll: int
    id: int
    ts: int | None  # of the write that made the entry


class Bound(msgspec.Struct, frozen=True):
    """One end of a range, inclusive, in index direction: a prefix of the index's values.

    `id` bounds the document id behind a full prefix (or alone, for an index without values);
    `exclusive` is for cursors: begin right behind that position.
    """

    values: tuple[Value, ...] = ()
    id: int | None = None
    exclusive: bool = False
