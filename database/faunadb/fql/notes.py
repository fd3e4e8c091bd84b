"""How what a query logged reads in the summary of its answer (errors.yaml, summary).

`log` is one line, `dbg` the long form with its place; entries are joined by an empty line.

Trap: callers without a built-in role see only what their own text logged, not what functions of
the schema did.
"""

from collections.abc import Sequence

from faunadb.definitions import Schema
from faunadb.fql.diagnostics import Diagnostic
from faunadb.fql.render import Source, draw, log_line
from faunadb.fql.runtime import LogLine

QUERY = "*query*"


def notes(log: Sequence[LogLine], text: str, schema: Schema, *, everything: bool = True) -> str:
    """Return the summary of a log; `text` is the query's, `everything` shows functions' too."""
    texts = {QUERY: text} | {f"*udf:{f.name}*": f.body for f in schema.functions.values()}
    shown = []
    for line in log:
        if line.source != QUERY and not everything:
            continue
        source = Source(texts.get(line.source), line.source)
        if line.long:
            shown.append(draw(Diagnostic(line.text, line.span), source, "info"))
        else:
            shown.append(log_line(line.text, source, line.span))
    return "\n\n".join(shown)
