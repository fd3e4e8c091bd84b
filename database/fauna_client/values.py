"""What a query returns that Python has no type for.

Numbers, strings, booleans, None, lists, dictionaries, aware datetimes, dates, bytes and UUIDs are
themselves. All types here are frozen and compare by value.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec


class Module(msgspec.Struct, frozen=True):
    """A name of the language, for instance a collection: pass it to use it in a query."""

    name: str


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Points at a document by `id`, or by `name` in collections of definitions.

    `exists` is False when the query found that there is none, for the reason `cause`.
    """

    coll: str
    id: str | None = None
    name: str | None = None
    exists: bool = True
    cause: str = ""


class Moment(msgspec.Struct, frozen=True):
    """A time or date that `datetime` cannot hold (years beyond 9999, nanoseconds), as text."""

    tag: str  # "@time" or "@date"
    text: str


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document; `document["field"]` reads one of its own fields."""

    coll: str
    ts: datetime | Moment
    fields: dict[str, Any]
    id: str | None = None
    name: str | None = None
    ttl: datetime | Moment | None = None

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __contains__(self, field: object) -> bool:
        return field in self.fields

    def get(self, field: str, default: Any = None) -> Any:
        return self.fields.get(field, default)

    @property
    def reference(self) -> Reference:
        return Reference(coll=self.coll, id=self.id, name=self.name)


class Page(msgspec.Struct, frozen=True):
    """One page of a set; `after` is where the next one begins, None on the last."""

    data: list[Any]
    after: str | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class SetCursor(msgspec.Struct, frozen=True):
    """A set that was not read, because it stands inside a document or too deep."""

    cursor: str


class EventSource(msgspec.Struct, frozen=True):
    """Where a stream or feed begins."""

    token: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A value with what the cluster says about how it came.

    `certain` is False in one case only: an earlier attempt of the query got no answer, this one
    wrote nothing, and the earlier one may still write.
    """

    value: Any
    txn_ts: int  # microseconds since 1970
    summary: str = ""
    schema_version: int = 0
    stats: dict[str, Any] = {}
    attempts: int = 1
    certain: bool = True
