"""Documents and the collections of users (functions.yaml, Document#, Collection#).

Trap: definitions share `update`, `replace`, `delete` with documents of users; what they do is
in `models`.
"""

from typing import Any

from faunadb.definitions import USER_COLLECTION_MIN, SystemCollection
from faunadb.fql import models, writes
from faunadb.fql.calls import apply, truth
from faunadb.fql.indexes import all_documents
from faunadb.fql.registry import getter, method
from faunadb.fql.runtime import READ, WRITE, Collection, Doc, Runtime
from faunadb.fql.sets import WhereSet, iterate

D = "Document#"
C = "Collection#"


@method(D, "exists", effect=READ)
def exists(rt: Runtime, this: Doc) -> bool:
    return writes.exists(rt, this)


@method(D, "update", "(data: Struct)", effect=WRITE)
def update(rt: Runtime, this: Doc, data: dict[str, Any]) -> Doc:
    if this.coll < USER_COLLECTION_MIN:
        return models.update(rt, this, data, whole=False)
    return writes.update(rt, this, data)


@method(D, "replace", "(data: Struct)", effect=WRITE)
def replace(rt: Runtime, this: Doc, data: dict[str, Any]) -> Doc:
    if this.coll < USER_COLLECTION_MIN:
        return models.update(rt, this, data, whole=True)
    return writes.replace(rt, this, data)


@method(D, "updateData", "(data: Struct)", effect=WRITE)
def update_data(rt: Runtime, this: Doc, data: dict[str, Any]) -> Doc:
    return writes.update(rt, this, data, raw=True)


@method(D, "replaceData", "(data: Struct)", effect=WRITE)
def replace_data(rt: Runtime, this: Doc, data: dict[str, Any]) -> Doc:
    return writes.replace(rt, this, data, raw=True)


@method(D, "delete", effect=WRITE)
def delete(rt: Runtime, this: Doc) -> Doc:
    if this.coll < USER_COLLECTION_MIN:
        return models.delete(rt, this)
    return writes.delete(rt, this)


@method(C, "create", "(data: Struct)", effect=WRITE)
def create(rt: Runtime, this: Collection, data: dict[str, Any]) -> Doc:
    return writes.create(rt, this.id, data)


@method(C, "createData", "(data: Struct)", effect=WRITE)
def create_data(rt: Runtime, this: Collection, data: dict[str, Any]) -> Doc:
    return writes.create(rt, this.id, data, raw=True)


@method(C, "byId", "(id: ID)", effect=READ)
def by_id(rt: Runtime, this: Collection, doc_id: int) -> Doc:
    return Doc(this.id, doc_id, rt.at)


@method(C, "all", "()", "(range: Any)", effect=READ)
def all_(rt: Runtime, this: Collection, *bounds: Any) -> Any:
    return all_documents(rt, this.id, *bounds)


@method(C, "where", "(pred: F1)", effect=READ)
def where(rt: Runtime, this: Collection, predicate: Any) -> Any:
    source = all_documents(rt, this.id)
    return WhereSet(source, predicate, rt.at, source.size)


@method(C, "firstWhere", "(pred: F1)", effect=READ)
def first_where(rt: Runtime, this: Collection, predicate: Any) -> Any:
    for item in iterate(rt, all_documents(rt, this.id)):
        if truth(apply(rt, predicate, (item,), rt.at)):
            return item
    return None


@getter(C, "definition")
def definition(rt: Runtime, this: Collection) -> Any:
    found = rt.schema.collections.get(this.id)
    if found is None:
        return None
    return Doc(SystemCollection.COLLECTION, found.id, rt.at, name=found.name)
