"""How does an error look? The `summary` of an answer: message, place, the lines of the source.

    error: Unbound variable `nothere`
    at *query*:3:1
      |
    3 | nothere
      | ^^^^^^^
      |

Everything here takes spans in characters of the text as it was parsed. Shown are columns and
marks in UTF-16 units, as the original counts, and a placeholder as `<value>`.

Trap: a span may lie behind the last visible character (the end of a query); it is moved back.
"""

import re
from collections.abc import Sequence

import msgspec

from faunadb.errors import QueryError
from faunadb.fql.diagnostics import Diagnostic, Hint, HintKind, InvalidQuery, Span

_PLACEHOLDER = re.compile(r"\x00[0-9]+\x00")
_SHOWN = "<value>"


class Source(msgspec.Struct, frozen=True, gc=False):
    """A text and what it is called: `*query*`, `*udf:Name*`, `main.fsl`; `None` is not shown."""

    text: str | None
    name: str = "*query*"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A call that was running."""

    source: Source
    span: Span


def summary(
    error: QueryError, source: Source, hints: Sequence[Hint] = (), frames: Sequence[Frame] = ()
) -> str:
    """Draw an error. `frames` are the calls around it, innermost first, its own span left out."""
    if isinstance(error, InvalidQuery):
        return "\n\n".join(draw(one, source) for one in error.diagnostics)
    every = (*(Hint(text, error.span) for text in error.hints), *hints)
    drawn = [draw(Diagnostic(_message(error), error.span, hints=every), source)]
    parent = (source.name, _line(source, error.span))
    for i, frame in enumerate(frames):
        kind = HintKind.TRACE if every and i == 0 else HintKind.FRAME
        drawn.append(_hint(Hint("", frame.span, kind=kind), frame.source, parent))
    return "\n".join(drawn)


def draw(diagnostic: Diagnostic, source: Source, word: str = "error") -> str:
    """Draw one problem with its hints; `word` is error, warning, info or performance_hint."""
    parent = (source.name, _line(source, diagnostic.span))
    drawn = [_part(word, diagnostic.message, source, diagnostic.span, diagnostic.annotation)]
    drawn += [_hint(hint, source, parent) for hint in diagnostic.hints]
    return "\n".join(drawn)


def log_line(text: str, source: Source, span: Span) -> str:
    """Draw what `log()` says."""
    return f"info at {source.name}:{_line(source, span)}: {text}"


def _message(error: QueryError) -> str:
    if not error.constraint_failures:
        return error.message
    lines = [error.message, "constraint failures:"]
    for paths, text in error.constraint_failures:
        label = ",".join(_path(path) for path in paths)
        indented = text.replace("\n", "\n      ")
        lines.append(f"  {label}: {indented}" if label else f"  {indented}")
    return "\n".join(lines)


def _path(path: tuple[str | int, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _hint(hint: Hint, source: Source, parent: tuple[str, int]) -> str:
    kind = str(hint.kind)
    if hint.suggestion is None or source.text is None:
        return _part(kind, hint.message, source, hint.span, parent=parent)
    start, end = hint.span
    if not hint.suggestion:
        return _part(kind, hint.message, source, hint.span, mark="-", parent=parent)
    edited = Source(source.text[:start] + hint.suggestion + source.text[end:], source.name)
    span = (start, start + len(hint.suggestion))
    mark = "+" if start == end else "~"
    return _part(kind, hint.message, edited, span, mark=mark, parent=parent)


def _part(
    word: str,
    message: str,
    source: Source,
    span: Span,
    annotation: str = "",
    *,
    mark: str = "^",
    parent: tuple[str, int] | None = None,
) -> str:
    lines = [f"{word}: {message}".rstrip()] if word else []
    if source.text is None:
        return "\n".join([*lines, "at <no source>"])
    block, line, column = excerpt(source.text, span, annotation, mark)
    if parent != (source.name, line):
        lines.append(f"at {source.name}:{line}:{column}")
    return "\n".join([*lines, block])


def _line(source: Source, span: Span) -> int:
    return 0 if source.text is None else excerpt(source.text, span)[1]


def excerpt(text: str, span: Span, annotation: str = "", mark: str = "^") -> tuple[str, int, int]:
    """Return the lines that `span` covers, marked, and its line and column, from 1."""
    text, (start, end) = _shown(text, span)
    text = text.rstrip() or " "
    behind = max(0, start - len(text.rstrip()))
    start, end = start - behind, end - behind
    first = text.count("\n", 0, start)
    line_start = text.rfind("\n", 0, start) + 1
    lines = text[line_start:].split("\n")
    indent = _units(text[line_start:start])
    rows: list[tuple[str, str, str]] = [("| ", "", ""), (f"{first + 1} | ", "", lines[0])]
    last = line_start + len(lines[0]) + 1  # behind the end of the line
    if end <= last or len(lines) == 1:
        note = f" {annotation}" if annotation else ""
        marks = mark * _units(text[start:end] + " " * (end - max(start, len(text))))
        rows.append(("| ", "", " " * indent + marks + note))
    else:
        rows.append(("| ", " _", "_" * indent + mark))
        number = first + 1
        for line in lines[1:]:
            number += 1
            rows.append((f"{number} | ", "| ", line))
            line_start, last = last, last + len(line) + 1
            if end <= last:
                break
        rows.append(("| ", "|_", "_" * (_units(text[line_start:end]) - 1) + "^"))
    rows.append(("| ", "", ""))
    return _aligned(rows), first + 1, indent + 1


def _shown(text: str, span: Span) -> tuple[str, Span]:
    """Replace placeholders by what is shown for them; move the span along."""
    if "\x00" not in text:
        return text, span
    moved = list(span)
    for found in _PLACEHOLDER.finditer(text):
        for i, offset in enumerate(span):
            if found.end() <= offset:
                moved[i] += len(_SHOWN) - len(found[0])
    return _PLACEHOLDER.sub(_SHOWN, text).replace("\x00", "<"), (moved[0], moved[1])


def _units(text: str) -> int:
    return len(text) + sum(1 for char in text if char > "\uffff")


def _aligned(rows: list[tuple[str, str, str]]) -> str:
    prefix_width = max(len(prefix) for prefix, _, _ in rows)
    gutter_width = max(len(gutter) for _, gutter, _ in rows)
    return "\n".join(
        f"{prefix:>{prefix_width}}{gutter:>{gutter_width}}{line}".rstrip()
        for prefix, gutter, line in rows
    )
