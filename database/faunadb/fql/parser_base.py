"""What the parts of the parser share: a place in the tokens, and two ways to be unhappy.

A text that cannot be read on ends the parse (`fail`, `refuse`); one that can is read to the
end, and all such problems are reported together. As in the original, "Expected ..." is only
said when nothing better is known.
"""

from typing import NoReturn

from faunadb.fql.diagnostics import Diagnostic, Hint, InvalidQuery
from faunadb.fql.lexer import KEYWORDS, Tokens
from faunadb.fql.syntax import DEPTH_MAX, Span

NESTING_MAX = 100  # expressions in one another; each costs at most seven of Python's frames
NAMES = KEYWORDS | {"identifier"}  # what may stand behind a dot or as a key


class Reader:
    """A position in the tokens of one text. `placeholders`: values that its template brought."""

    __slots__ = (
        "at",
        "depth",
        "ends",
        "kinds",
        "newlines",
        "placeholders",
        "problems",
        "starts",
        "text",
        "values",
    )

    def __init__(self, text: str, placeholders: int = 0) -> None:
        tokens = Tokens(text)
        self.text = text
        self.kinds = tokens.kinds
        self.starts = tokens.starts
        self.ends = tokens.ends
        self.values = tokens.values
        self.newlines = tokens.newlines
        self.placeholders = placeholders
        self.problems: list[Diagnostic] = []
        self.depth = 0
        self.at = 0

    def word(self, at: int) -> str:
        """Return the text of the token at position `at`."""
        return self.text[self.starts[at] : self.ends[at]]

    def span(self, at: int) -> Span:
        return (self.starts[at], self.ends[at])

    def follows(self, kind: str) -> bool:
        """Return whether the current token is `kind` and on the same line as the one before."""
        return self.kinds[self.at] == kind and self.at not in self.newlines

    def expect(self, kind: str, *alternatives: str) -> int:
        """Step over a token of `kind`; return where it starts."""
        at = self.at
        if self.kinds[at] != kind:
            self.fail(f"`{kind}`", *alternatives)
        self.at = at + 1
        return self.starts[at]

    def identifier(self) -> str:
        """Step over a name that is no keyword."""
        at = self.at
        if self.kinds[at] != "identifier":
            self.not_a_name(at)
        self.at = at + 1
        return self.word(at)

    def not_a_name(self, at: int) -> NoReturn:
        if self.kinds[at] in KEYWORDS:
            self.refuse_name(at)
        self.at = at
        self.fail("identifier")

    def refuse_name(self, at: int) -> NoReturn:
        self.refuse("Invalid identifier", self.span(at), f"`{self.word(at)}` is a keyword")

    def enter(self) -> None:
        """Go one level down. Every caller leaves by `depth -= 1`, unless the parse ends."""
        self.depth += 1
        if self.depth > NESTING_MAX:
            self.refuse(f"Nested too deep, more than {NESTING_MAX} levels", self.here())

    def bound(self, height: int) -> None:
        """Refuse a run that makes the tree this high, while it is still being read."""
        if height > DEPTH_MAX:
            self.refuse(f"Nested too deep, more than {DEPTH_MAX} levels", self.here())

    def end(self) -> None:
        if self.kinds[self.at] != "end":
            self.fail("end-of-input")

    def fail(self, *alternatives: str) -> NoReturn:
        """Raise `InvalidQuery`: the current token is none of these."""
        names = sorted(alternatives)
        last = names.pop()
        if len(names) > 1:
            message = f"{', '.join(names)}, or {last}"
        else:
            message = f"{names[0]} or {last}" if names else last
        problem = Diagnostic(f"Expected {message}", self.here())
        raise InvalidQuery(*(self.problems or [problem]))

    def refuse(
        self, message: str, span: Span, annotation: str = "", hints: tuple[Hint, ...] = ()
    ) -> NoReturn:
        """Raise `InvalidQuery` for something that cannot be read on."""
        self.report(message, span, annotation, hints)
        raise InvalidQuery(*self.problems)

    def report(
        self, message: str, span: Span, annotation: str = "", hints: tuple[Hint, ...] = ()
    ) -> None:
        """Keep a problem and read on."""
        self.problems.append(Diagnostic(message, span, annotation, hints))

    def raise_problems(self) -> None:
        if self.problems:
            raise InvalidQuery(*self.problems)

    def here(self) -> Span:
        start = self.starts[self.at]
        return (start, start + 1)
