"""Which operator binds tighter? A run of operands and operators to a tree, without recursion.

Two stacks (shunting yard): an operator waits until one that binds no tighter, or the end,
arrives. `&&`, `||` and `??` collect all their operands in one node, so a condition of ten
thousand alternatives is not deep; every other operator makes the tree one higher.

Trap: an operand that is a short lambda loses its wrapper here, also in parentheses of its own,
and the whole run gets it: `.a == 1` is one function, `(.a) + 1` too.
"""

from faunadb.fql.syntax import Binary, Expr, Logical, ShortLambda, Span, Tuple

PRECEDENCE = {
    operator: level
    for level, operators in enumerate(
        (
            ("??",),
            ("||",),
            ("&&",),
            ("==", "!=", "=~", "!~"),
            (">", "<", ">=", "<="),
            ("isa",),
            ("|",),
            ("^",),
            ("&",),
            ("+", "-"),
            ("*", "/", "%"),
            ("**",),  # the only one that groups to the right
        )
    )
    for operator in operators
}
_LAZY = frozenset(("??", "||", "&&"))
ACROSS_LINES = _LAZY | {"|", "^", "&"}  # may begin a line and go on with the one before


class _Growing(list[Expr]):
    """Operands of one lazy operator."""

    __slots__ = ("operator",)

    def __init__(self, operator: str, *operands: Expr) -> None:
        super().__init__(operands)
        self.operator = operator


class OperatorRun:
    """Takes operand, operator, operand, ... in the order of the text, and makes a tree."""

    __slots__ = ("_heights", "_operands", "_short", "_waiting")

    def __init__(self, first: Expr) -> None:
        self._operands: list[Expr | _Growing] = []
        self._heights: list[int] = []  # of binary nodes above each operand
        self._waiting: list[tuple[int, str, Span]] = []
        self._short = False
        self.operand(first)

    @property
    def height(self) -> int:
        """Return how deep the tree would be at least, in nodes."""
        return max(self._heights[-1], len(self._waiting))

    def operator(self, operator: str, span: Span) -> None:
        level = PRECEDENCE[operator]
        if operator != "**":
            while self._waiting and self._waiting[-1][0] >= level:
                self._reduce()
        self._waiting.append((level, operator, span))

    def operand(self, operand: Expr) -> None:
        bare = _bare(operand)
        self._short = self._short or bare is not operand
        self._operands.append(bare)
        self._heights.append(0)

    def close(self) -> Expr:
        """Return the tree; the run must not be used again."""
        while self._waiting:
            self._reduce()
        found = _closed(self._operands[0])
        return ShortLambda(found, found.span) if self._short else found

    def _reduce(self) -> None:
        _, operator, span = self._waiting.pop()
        right, height = _closed(self._operands.pop()), self._heights.pop()
        left = self._operands[-1]
        self._heights[-1] = max(self._heights[-1], height)
        if operator not in _LAZY:
            left = _closed(left)
            self._heights[-1] += 1
            joined = (left.span[0], right.span[1])
            self._operands[-1] = Binary(operator, span, left, right, joined)
        elif isinstance(left, _Growing) and left.operator == operator:
            left.append(right)
        else:
            self._operands[-1] = _Growing(operator, _closed(left), right)


def _bare(operand: Expr) -> Expr:
    """Take the wrapper off a short lambda, also in parentheses."""
    if isinstance(operand, ShortLambda):
        return operand.body
    if isinstance(operand, Tuple) and len(operand.elements) == 1:
        inner = operand.elements[0]
        if isinstance(inner, ShortLambda):
            return Tuple((inner.body,), operand.span)
    return operand


def _closed(operand: Expr | _Growing) -> Expr:
    if isinstance(operand, _Growing):
        span = (operand[0].span[0], operand[-1].span[1])
        return Logical(operand.operator, tuple(operand), span)
    return operand
