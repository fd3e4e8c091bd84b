"""Everything that the language brings: importing this registers it.

Trap: a function exists once its module is imported; `compile` imports this one.
"""

from faunadb.fql.functions import (
    arrays,
    clock,
    collections,
    documents,
    maths,
    objects,
    schema,
    text,
)

STANDARD_LIBRARY = (text, arrays, collections, objects, maths, clock, documents, schema)
