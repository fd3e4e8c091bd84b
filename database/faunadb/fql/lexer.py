r"""Where are the words? Cuts a text of FQL or of the schema language into tokens (FQL.md §3).

One regular expression finds everything but the three things that nest or need care: comments
in comments, strings with escapes or `#{}`, and heredocs. White space is dropped; that a line
ended before a token is remembered, because newlines separate statements.

A string with `#{}` is several tokens: `template`, then `text`s and expressions between `#{`
and `#}`, then `template end`; the tokens of the expression stand in the same flat list, so
nothing here recurses.

A value that a request's template inlines is the text NUL, decimal digits, NUL: `\x000\x00` is
value number 0 (`placeholder_text`). The decoder of templates refuses NUL in all other text.

Trap: a newline inside a block comment ends no line; the end of a line comment does.
"""

import re
from typing import NoReturn

from faunadb.fql.diagnostics import Diagnostic, InvalidQuery

KEYWORDS = frozenset(
    ("if", "else", "at", "match", "case", "let", "null", "true", "false", "isa", "join", "on", "of")
)

_HIDDEN = (  # control characters and those that mislead a reader; refused in strings and comments
    "\\x00-\\x08\\x0e-\\x1f\\x7f\\u2000-\\u200f\\u2028-\\u202f\\u2060-\\u206f"
    "\\ud800-\\udfff\\ufeff\\ufff0-\\uffff"
)
_PATTERNS = {
    "word": r"[A-Za-z_][A-Za-z0-9_']*",
    "operator": (
        r"\.\.\.|\?\.|\?\?|=>|->|==|=~|!=|!~|>=|<=|\*\*|&&|\|\||[-()\[\],:;.=+*%>!?&|^~@]"
        r"|/(?![/*])|<(?!<[-+])"
    ),
    "newline": rf"(?:[\n\r]|//[^\n{_HIDDEN}]*+(?:\n|\Z))[ \t\n\r]*+",
    "string": rf'"[^"\\#{_HIDDEN}]*+"' + rf"|'[^'\\{_HIDDEN}]*+'",
    "number": (
        r"0[xX]_*+[0-9a-fA-F][0-9a-fA-F_]*+|0[oO]_*+[0-7][0-7_]*+|0[bB]_*+[01][01_]*+"
        r"|(?:0|[1-9][0-9_]*+)(?:\.[0-9][0-9_]*+)?(?:[eE][-+]?[0-9][0-9_]*+)?"
    ),
    "brace": r"[{}]",
    "placeholder": r"\x00[0-9]{1,9}\x00",
    "end": r"\Z",
    "comment": r"/\*",
    "quote": r"[\"']|<<[-+]",
}
_TOKEN = re.compile("[ \\t]*+(?:" + "|".join(f"({one})" for one in _PATTERNS.values()) + ")")
_WORD, _OPERATOR, _NEWLINE, _STRING, _NUMBER, _BRACE, _PLACEHOLDER, _END, _COMMENT, _QUOTE = range(
    1, len(_PATTERNS) + 1
)
_COMMENT_EDGE = re.compile(rf"/\*|\*/|[{_HIDDEN}]")
_PIECES = {
    "'": re.compile(rf"[^'\\{_HIDDEN}]++"),
    '"': re.compile(rf'(?:[^"\\#{_HIDDEN}]++|#(?!\{{))+'),
}
_ESCAPE = re.compile(
    r"\\(?:([\\0'\"`nrvtbf#])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\})"
)
_ESCAPED = dict(zip("\\0'\"`nrvtbf#", "\\\0'\"`\n\r\v\t\b\f#", strict=True))
_HEREDOC = re.compile(r"<<[-+][ \t]*([A-Za-z_][A-Za-z0-9_']*)(?:[ \t]*+[\n\r]++)+")
_HEREDOC_TEXT = re.compile(rf"(?:[^#\n\r{_HIDDEN}]++|#(?!\{{))*")
_HEREDOC_LINE = re.compile(rf"[^\n\r{_HIDDEN}]+")
_LINE_ENDS = re.compile(r"[\n\r]+")
_INDENT = re.compile(r"[ \t]*")
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1


def placeholder_text(index: int) -> str:
    """Return what stands in a query's text for the template's value number `index`."""
    return f"\x00{index}\x00"


def number(text: str) -> int | float:
    """Return the value of a literal without sign; beyond 64 bits (sign to come) a float."""
    digits = text.replace("_", "")
    radix = {"x": 16, "o": 8, "b": 2}.get(digits[1:2].lower(), 10)
    if radix == 10 and (not digits.isdigit() or len(digits) > 19):
        return float(digits)
    value = int(digits[2:] if radix != 10 else digits, radix)
    return value if value <= -_LONG_MIN else as_float(value)


def signed(value: float, sign: str) -> int | float:
    """Return a literal with its sign; an integer that leaves 64 bits is a float."""
    value = -value if sign == "-" else value
    return value if isinstance(value, float) or value <= _LONG_MAX else as_float(value)


def as_float(value: int) -> float:
    """Return the nearest float, infinity when there is none."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")


class Tokens:
    """The tokens of one text, in columns; the last is of kind `end`.

    `kinds` holds operators and keywords as themselves, else one of `identifier`, `number`,
    `string`, `heredoc`, `placeholder`, `template`, `text`, `#{`, `#}`, `template end`, `end`.
    `values` has the value of strings, texts, numbers and placeholders by position in the list,
    and for `template` the position of its end. `newlines` are the positions of tokens before
    which a line ended.
    """

    __slots__ = ("ends", "kinds", "newlines", "starts", "text", "values")

    def __init__(self, text: str) -> None:
        """Cut `text`. Raises `InvalidQuery` for what can be no token, in linear time."""
        self.text = text
        self.kinds: list[str] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.values: dict[int, str | int | float] = {}
        self.newlines: set[int] = set()
        _Scanner(self).scan()

    def append(self, kind: str, start: int, end: int) -> None:
        self.kinds.append(kind)
        self.starts.append(start)
        self.ends.append(end)

    def append_value(self, kind: str, start: int, end: int, value: str | float) -> None:
        self.values[len(self.kinds)] = value
        self.append(kind, start, end)


class _OpenTemplate:
    """A string that an expression interrupts: where it began, and how it goes on."""

    __slots__ = ("braces", "delimiter", "opening", "segments")

    def __init__(self, opening: int, delimiter: str) -> None:
        self.opening = opening  # position of the `template` token
        self.delimiter = delimiter  # '"', or the word that ends a heredoc
        self.braces = 0  # open braces of the expression
        self.segments: dict[int, list[tuple[bool, str]]] = {}  # heredoc: text -> (begins line, ..)


class _Scanner:
    __slots__ = ("open", "text", "tokens")

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.text = tokens.text
        self.open: list[_OpenTemplate] = []

    def scan(self) -> None:
        """Fill the tokens from the text."""
        tokens, text, match = self.tokens, self.text, _TOKEN.match
        kinds, starts, ends = tokens.kinds, tokens.starts, tokens.ends
        position = 0
        while True:
            found = match(text, position)
            if found is None:
                fail(position + _indent(text, position), "expression")
            group = found.lastindex
            start, position = found.span(group)  # type: ignore[arg-type]
            if group == _WORD:
                word = found[_WORD]
                kinds.append(word if word in KEYWORDS else "identifier")
                starts.append(start)
                ends.append(position)
            elif group == _OPERATOR:
                kinds.append(found[_OPERATOR])
                starts.append(start)
                ends.append(position)
            elif group == _NEWLINE:
                tokens.newlines.add(len(kinds))
            elif group == _STRING:
                tokens.append_value("string", start, position, text[start + 1 : position - 1])
            elif group == _END:
                tokens.append("end", start, start)
                return
            else:
                position = self._rare(group, start, position)

    def _rare(self, group: int | None, start: int, end: int) -> int:
        tokens, text = self.tokens, self.text
        if group == _NUMBER:
            tokens.append_value("number", start, end, number(text[start:end]))
        elif group == _BRACE:
            return self._brace(text[start], start, end)
        elif group == _PLACEHOLDER:
            tokens.append_value("placeholder", start, end, int(text[start + 1 : end - 1]))
        elif group == _COMMENT:
            return self._block_comment(end)
        else:
            assert group == _QUOTE, group
            return self._string(start)
        return end

    def _brace(self, brace: str, start: int, end: int) -> int:
        if self.open:
            template = self.open[-1]
            if brace == "}" and template.braces == 0:
                self.tokens.append("#}", start, end)
                return self._resume(template, end)
            template.braces += 1 if brace == "{" else -1
        self.tokens.append(brace, start, end)
        return end

    def _block_comment(self, position: int) -> int:
        depth = 1
        while depth:
            edge = _COMMENT_EDGE.search(self.text, position)
            if edge is None:
                fail(len(self.text), "`*/`")
            match edge[0]:
                case "/*":
                    depth += 1
                case "*/":
                    depth -= 1
                case _:
                    fail(edge.start(), "`*/`")
            position = edge.end()
        return position

    def _string(self, start: int) -> int:
        text, tokens = self.text, self.tokens
        if text[start] == "'":
            value, end = self._pieces("'", start + 1)
            if not text.startswith("'", end):
                fail(end, "`'`")
            tokens.append_value("string", start, end + 1, value)
            return end + 1
        if text[start] == '"':
            value, end = self._pieces('"', start + 1)
            if text.startswith('"', end):
                tokens.append_value("string", start, end + 1, value)
                return end + 1
            template = self._open(start, start + 1, '"')
            return self._after_text(template, value, start + 1, end)
        opening = _HEREDOC.match(text, start)
        if opening is None:
            fail(start + 3, "heredoc delimiter on a line of its own")
        if text[start + 2] == "-":
            return self._raw_heredoc(start, opening[1], opening.end())
        template = self._open(start, opening.end(), opening[1])
        return self._heredoc_lines(template, opening.end(), at_line_start=True)

    def _open(self, start: int, end: int, delimiter: str) -> _OpenTemplate:
        template = _OpenTemplate(len(self.tokens.kinds), delimiter)
        self.tokens.append("template", start, end)
        return template

    def _resume(self, template: _OpenTemplate, position: int) -> int:
        self.open.pop()
        if template.delimiter == '"':
            value, end = self._pieces('"', position)
            return self._after_text(template, value, position, end)
        return self._heredoc_lines(template, position, at_line_start=False)

    def _pieces(self, quote: str, position: int) -> tuple[str, int]:
        """Read text and escapes up to the quote, `#{`, or what no string may hold."""
        piece, text = _PIECES[quote], self.text
        parts: list[str] = []
        while True:
            found = piece.match(text, position)
            if found:
                parts.append(found[0])
                position = found.end()
            if not text.startswith("\\", position):
                return "".join(parts), position
            part, position = escape(text, position)
            parts.append(part)

    def _after_text(self, template: _OpenTemplate, value: str, start: int, end: int) -> int:
        """Go on behind a piece of a string in double quotes: an expression, or its end."""
        tokens, text = self.tokens, self.text
        if value:
            tokens.append_value("text", start, end, value)
        if text.startswith("#{", end):
            tokens.append("#{", end, end + 2)
            self.open.append(template)
            return end + 2
        if not text.startswith('"', end):
            fail(end, '`"`')
        self._close(template, end, end + 1)
        return end + 1

    def _close(self, template: _OpenTemplate, start: int, end: int) -> None:
        self.tokens.values[template.opening] = len(self.tokens.kinds)
        self.tokens.append("template end", start, end)

    def _raw_heredoc(self, start: int, delimiter: str, position: int) -> int:
        text = self.text
        ending = _heredoc_end(delimiter)
        lines: list[str] = []
        while (end := ending.match(text, position)) is None:
            line = _HEREDOC_LINE.match(text, position)
            line_end = _LINE_ENDS.match(text, line.end()) if line else None
            if line_end is None:
                fail(line.end() if line else position, f"`{delimiter}`")
            lines.append(text[position : line_end.end()])
            position = line_end.end()
        indent = min((_indent(line) for line in lines), default=0)
        value = "".join(line[indent:] for line in lines)
        self.tokens.append_value("heredoc", start, end.end(), value)
        return end.end()

    def _heredoc_lines(self, template: _OpenTemplate, position: int, *, at_line_start: bool) -> int:
        """Go on in an interpolated heredoc: up to an expression, or to its end."""
        text, tokens = self.text, self.tokens
        ending = _heredoc_end(template.delimiter)
        segments: list[tuple[bool, str]] = []
        start = position
        while True:
            end = ending.match(text, position) if at_line_start else None
            found = _HEREDOC_TEXT.match(text, position)
            assert found is not None, "the pattern also matches nothing"
            line_end = _LINE_ENDS.match(text, found.end())
            if end or not line_end:
                break
            segments.append((at_line_start, text[position : line_end.end()]))
            position, at_line_start = line_end.end(), True
        if not end:
            if not text.startswith("#{", found.end()):
                fail(found.end(), f"`{template.delimiter}`")
            segments.append((at_line_start, found[0]))
            position = found.end()
        template.segments[len(tokens.kinds)] = segments
        tokens.append_value("text", start, position, "")
        if not end:
            tokens.append("#{", position, position + 2)
            self.open.append(template)
            return position + 2
        self._unindent(template)
        self._close(template, position, end.end())
        return end.end()

    def _unindent(self, template: _OpenTemplate) -> None:
        every = [part for parts in template.segments.values() for part in parts]
        indent = min((_indent(line) for begins, line in every if begins), default=0)
        for position, parts in template.segments.items():
            self.tokens.values[position] = "".join(
                line[indent:] if begins else line for begins, line in parts
            )


def fail(position: int, expected: str) -> NoReturn:
    """Raise `InvalidQuery` for one character that cannot stand where it stands."""
    raise InvalidQuery(Diagnostic(f"Expected {expected}", (position, position + 1)))


def escape(text: str, position: int) -> tuple[str, int]:
    r"""Read `\n`, `\x41`, `\u0041`, `\u{1F600}`: what it stands for, and where it ends."""
    found = _ESCAPE.match(text, position)
    if found is None:
        fail(position + 1, "escape code")
    if found[1]:
        return _ESCAPED[found[1]], found.end()
    point = int(found[2] or found[3] or found[4], 16)
    annotation = ""
    if point > 0x10FFFF:
        annotation = "outside of valid unicode range"
    elif 0xD800 <= point <= 0xDFFF:
        annotation = "surrogates are disallowed"
    if annotation:
        raise InvalidQuery(Diagnostic("Invalid escape", found.span(), annotation))
    return chr(point), found.end()


def _heredoc_end(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf"[ \t]*{delimiter}(?![A-Za-z0-9_'])")


def _indent(text: str, start: int = 0) -> int:
    found = _INDENT.match(text, start)
    assert found is not None, "the pattern also matches nothing"
    return found.end() - start
