"""What a running program may ask of the database and do to it: one snapshot, one query.

The store implements this (`store/transaction.py`); the language never learns how. Everything
read is recorded by the implementation in the read set; everything written is buffered and seen
by later reads of the same query.

Trap: `at` is a snapshot in the past, in microseconds (`at(time) expr`); `None` is this query's
own snapshot *with* its own writes.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from faunadb.definitions import (
    Bound,
    CollectionDefinition,
    Document,
    IndexDefinition,
    IndexEntry,
    Schema,
)
from faunadb.values import Fields, Time, Value

__all__ = ["Bound", "Document", "IndexEntry", "View"]


class View(Protocol):
    """Reads at `snapshot_ts` plus this query's writes. Errors: `QueryError`, `OverBudget`."""

    @property
    def snapshot_ts(self) -> int:
        """Return the snapshot in microseconds; also what `Time.now()` says."""
        ...

    @property
    def schema(self) -> Schema: ...

    def get(self, coll: int, doc_id: int, *, at: int | None = None) -> Document | None:
        """Return the version in force, `None` when missing, deleted, or expired by ttl."""
        ...

    def was_deleted(self, coll: int, doc_id: int) -> bool:
        """Return whether this very query deleted it (the cause of a missing document)."""
        ...

    def scan(
        self,
        coll: int,
        *,
        lower: Bound | None = None,
        upper: Bound | None = None,
        reverse: bool = False,
        at: int | None = None,
    ) -> Iterator[Document]:
        """Yield a collection's documents in order of id. Bounds use `id` only."""
        ...

    def scan_index(
        self,
        index: IndexDefinition,
        coll: int,
        terms: Sequence[Value],
        *,
        lower: Bound | None = None,
        upper: Bound | None = None,
        reverse: bool = False,
        at: int | None = None,
    ) -> Iterator[IndexEntry]:
        """Yield entries with exactly these terms in index order; `reverse` runs backwards.

        `lower` and `upper` are in index direction also when reversed.
        """
        ...

    def put(self, coll: CollectionDefinition, doc_id: int, data: Fields, ttl: Time | None) -> None:
        """Write a new version. Maintains indexes; raises `constraint_failure` when a unique
        constraint of `coll` is violated, `value_too_large` beyond 8 MiB.
        """
        ...

    def delete(self, coll: CollectionDefinition, doc_id: int) -> None: ...

    def put_definition(self, coll: int, doc_id: int, data: Fields) -> None:
        """Write a definition or secret of a `SystemCollection`; bumps the schema version
        unless it is a key, token or credential. Conflicts with all who used the old schema.
        """
        ...

    def delete_definition(self, coll: int, doc_id: int) -> None: ...

    def next_definition_id(self, coll: int) -> int:
        """Return the lowest free number for a new definition of that kind."""
        ...

    def next_index_id(self) -> int: ...

    def new_id(self) -> int:
        """Draw a document id that grows with time and was never used (FQL.md §1)."""
        ...
