"""Does every name mean something? A pass over a parsed tree, before it is run.

Everything else that can be refused by looking at the text alone is refused by the parser.
An unknown name is an error of the check only when the client asked for type checking; without
it the program runs and fails with `unbound_variable` if it ever gets there (FQL.md §0).

`free_variables` answers what a closure needs: the names that its surroundings must bind.

Trap: a `let` is in scope only behind its statement, so `let f = (n) => f(n - 1)` does not call
itself.
"""

from collections.abc import Callable, Iterator

from faunadb.fql.diagnostics import Diagnostic, InvalidQuery
from faunadb.fql.syntax import Block, Expr, Lambda, Let, Node, Variable

Scope = frozenset[str]


def check_names(tree: Expr, is_global: Callable[[str], bool]) -> None:
    """Raise `InvalidQuery` with every name that is neither bound in `tree` nor global."""
    unbound = [
        Diagnostic(f"Unbound variable `{name.name}`", name.span)
        for name in _free(tree)
        if not is_global(name.name)
    ]
    if unbound:
        raise InvalidQuery(*unbound)


def free_variables(tree: Expr) -> frozenset[str]:
    """Return the names that `tree` uses and does not bind itself; globals are among them."""
    return frozenset(name.name for name in _free(tree))


def _free(tree: Expr) -> Iterator[Variable]:
    pending: list[tuple[Node, Scope]] = [(tree, frozenset())]
    while pending:
        node, bound = pending.pop()
        if isinstance(node, Variable):
            if node.name not in bound:
                yield node
        elif isinstance(node, Lambda):
            every = (*node.parameters, *((node.variadic,) if node.variadic else ()))
            pending.append((node.body, bound | {one.name for one in every}))
        elif isinstance(node, Block):
            pending += _statements(node, bound)
        else:
            pending += [(child, bound) for child in children(node)]


def _statements(block: Block, bound: Scope) -> Iterator[tuple[Node, Scope]]:
    for statement in block.statements:
        if not isinstance(statement, Let):
            yield statement, bound
            continue
        yield statement.value, bound
        bound |= {statement.name}


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes that a node is made of, one level down."""
    for name in node.__struct_fields__:
        part = getattr(node, name)
        if isinstance(part, Node):
            yield part
        elif isinstance(part, tuple):
            yield from (one for one in part if isinstance(one, Node))
