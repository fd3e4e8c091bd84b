"""`match` is read whole and refused: the original parses it and can run it no more than we do.

match   := "match" term "{" (case sep)* "}"
case    := "case" pattern "=>" expr
pattern := "_" [suffix] | literal | "{" field,.. "}" | "(" pattern,.. ")"
         | "[" [pattern,..] ["..." pattern] "]" | name [suffix]
suffix  := ":" type | "@" pattern
field   := string ":" pattern | name [":" pattern]
"""

from faunadb.fql.parser_types import TypeParser
from faunadb.fql.syntax import Expr, Literal


class MatchParser(TypeParser):
    __slots__ = ()

    def term(self) -> Expr:
        """Read an operand: what is matched. The parser of expressions is below."""
        raise NotImplementedError

    def match_(self) -> Expr:
        """match := "match" term "{" (case sep)* "}" """
        start = self.starts[self.at]
        self.at += 1
        self.term()
        self.expect("{")
        while self.kinds[self.at] != "}":
            self._case()
            separated = self.at in self.newlines
            while self.kinds[self.at] == ";":
                self.at += 1
                separated = True
            if not separated and self.kinds[self.at] != "}":
                self.fail("`}`")
        self.at += 1
        span = (start, self.ends[self.at - 1])
        self.report("match expr not supported", span)
        return Literal(None, span)

    def _case(self) -> None:
        """case := "case" pattern "=>" expr"""
        if self.kinds[self.at] != "case":
            self.fail("`}`", "case")
        self.at += 1
        self._pattern()
        self.expect("=>")
        self.expression()

    def _pattern(self) -> None:
        """pattern := "_" [suffix] | literal | object | tuple | array | name [suffix]"""
        self.enter()
        kind = self.kinds[self.at]
        if kind in ("null", "true", "false", "number", "string"):
            self.at += 1
        elif kind in ("-", "+") and self.kinds[self.at + 1] == "number":
            self.at += 2
        elif kind == "{":
            self._elements("}")
        elif kind == "(":
            self._elements(")")
        elif kind == "[":
            self._elements("]")
        else:
            self.identifier()
            self._suffix()
        self.depth -= 1

    def _suffix(self) -> None:
        """suffix := ":" type | "@" pattern"""
        if self.kinds[self.at] == ":":
            self.at += 1
            self.annotation()
        elif self.kinds[self.at] == "@":
            self.at += 1
            self._pattern()

    def _elements(self, close: str) -> None:
        """[element ("," element)* [","]] close, where `...` may precede the last of an array"""
        self.at += 1
        while self.kinds[self.at] != close:
            if close == "}":
                self._pattern_field()
            else:
                rest = close == "]" and self.kinds[self.at] == "..."
                self.at += rest
                self._pattern()
                if rest:
                    break
            if self.kinds[self.at] != ",":
                break
            self.at += 1
        self.expect(close)

    def _pattern_field(self) -> None:
        """field := string ":" pattern | name [":" pattern]"""
        if self.kinds[self.at] == "string":
            self.at += 1
            self.expect(":")
            self._pattern()
            return
        self.identifier()
        if self.kinds[self.at] == ":":
            self.at += 1
            self._pattern()
