"""Everything that the language brings: importing this registers it.

Trap: a function exists once its module is imported; `compile` imports this one.
"""

from faunadb.fql.functions import (
    arrays,
    clock,
    documents,
    events,
    maths,
    objects,
    regex,
    schema,
    setops,
    text,
)

STANDARD_LIBRARY = (text, arrays, setops, objects, maths, clock, documents, schema, regex, events)
