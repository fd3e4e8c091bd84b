"""May this version exist? Unique constraints: one live document per tuple of terms.

A backing index holds one entry per document and tuple, so a tuple is free when the range of
its entries shows no other document. The whole range is read, hence recorded: a document that
appears there later conflicts (phantoms, FQL.md section 4).
"""

from collections.abc import Callable, Iterable, Iterator

from faunadb.definitions import IndexDefinition
from faunadb.errors import QueryError
from faunadb.store import keys
from faunadb.store.mvcc import Version

Scan = Callable[[bytes, bytes], Iterator[Version]]
ConstraintFailure = tuple[tuple[tuple[str | int, ...], ...], str]


def check_unique(
    doc_id: int,
    prefixes: Iterable[tuple[IndexDefinition, Iterable[bytes]]],
    live_entries: Scan,
) -> None:
    """Raise `constraint_failure` when another live document has one of the tuples."""
    failures: list[ConstraintFailure] = [
        (tuple(path.parts for path in index.terms), "Failed unique constraint")
        for index, entries in prefixes
        if index.unique and any(_taken(head, doc_id, live_entries) for head in _heads(entries))
    ]
    if failures:
        raise QueryError(
            "constraint_failure", "Failed unique constraint.", constraint_failures=tuple(failures)
        )


def _heads(entries: Iterable[bytes]) -> set[bytes]:
    return {prefix[: keys.TERMS_HEAD_BYTES] for prefix in entries}


def _taken(head: bytes, doc_id: int, live_entries: Scan) -> bool:
    return any(
        keys.entry_doc_id(found.prefix) != doc_id
        for found in live_entries(head, keys.successor(head))
    )
