"""The value of a computed field for an index: pure, from one document alone.

No reads, no functions of the schema, no other computed field, no `ts`; whatever fails is null
(schema.md §3). The store calls this for every version that it indexes.

Trap: the document is not in the view, so the view that the code sees refuses everything.
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from faunadb.definitions import CollectionDefinition, Document, Schema
from faunadb.errors import QueryError
from faunadb.fql.budget import OverBudget
from faunadb.fql.runtime import READ, Compiler, Context, Doc, Lambda, Runtime
from faunadb.fql.stored import to_stored
from faunadb.values import Value

STEPS_MAX = 20_000  # for one field of one document


class _Blind:
    """A view of nothing."""

    snapshot_ts = 0

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise QueryError("invalid_effect", "Computed fields in indexes cannot read.")

    get = was_deleted = put = delete = put_definition = delete_definition = _refuse
    next_definition_id = next_index_id = new_id = _refuse

    def scan(self, *_: Any, **__: Any) -> Iterator[Document]:
        self._refuse()

    scan_index: Any = scan


def computer(
    schema: Schema, compiler: Compiler
) -> Callable[[CollectionDefinition, str, Document], Value]:
    """Return the function that the store calls for indexed computed fields."""

    def compute(coll: CollectionDefinition, name: str, document: Document) -> Value:
        field = next(field for field in coll.computed_fields if field.name == name)
        rt = Runtime(_Blind(schema), Context(), compiler, steps=STEPS_MAX)
        rt.limit, rt.place, rt.computing = READ, "computed fields", 1
        doc = Doc(coll.id, document.id)
        doc.version, doc.epoch = document, rt.epoch
        try:
            code = compiler.function(field.body, f"*computed_field:{coll.name}:{name}*")
            stored: Value = to_stored(rt, rt.call(Lambda(code, []), [doc]))
        except (QueryError, OverBudget, RecursionError):
            return None
        return stored

    return compute
