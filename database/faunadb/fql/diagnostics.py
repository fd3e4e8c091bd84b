"""What is wrong with a text, and where: the problems that are found before anything runs.

A `Diagnostic` is one problem as `render.py` draws it. `InvalidQuery` carries all that were
found in one text; its own message only counts them, as the wire wants it.
"""

from enum import StrEnum

import msgspec

from faunadb.errors import QueryError

Span = tuple[int, int]


class HintKind(StrEnum):
    """The word before the hint's message; a place in a trace has none."""

    HINT = "hint"
    CAUSE = "cause"
    TRACE = "trace"
    FRAME = ""


class Hint(msgspec.Struct, frozen=True, gc=False):
    """A second place in the text. `suggestion` replaces the span: "" removes it."""

    message: str
    span: Span
    suggestion: str | None = None
    kind: HintKind = HintKind.HINT


class Diagnostic(msgspec.Struct, frozen=True, gc=False):
    message: str
    span: Span
    annotation: str = ""
    hints: tuple[Hint, ...] = ()


class InvalidQuery(QueryError):
    """The text cannot be run; nothing was evaluated. Raised for FQL and for schema files."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        count = len(diagnostics)
        plural = "" if count == 1 else "s"
        super().__init__(
            "invalid_query",
            f"The query failed {count} validation check{plural}",
            span=diagnostics[0].span,
        )
        self.diagnostics = tuple(sorted(diagnostics, key=lambda problem: problem.span[0]))
