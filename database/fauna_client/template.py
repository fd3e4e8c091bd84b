"""A query with holes: `fql("Users.byEmail(${email}).first()", email=address)`.

A hole takes a value, which never becomes text of the query, or another template, which does.
`$${` stands for `${`.
"""

import re
from typing import Any

import msgspec

_HOLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Template(msgspec.Struct, frozen=True):
    """Pieces of text, and the values and templates between them."""

    pieces: tuple[Any, ...]  # str is text; a 1-tuple holds a value; Template is inlined


def fql(text: str, /, **values: Any) -> Template:
    """Fill the holes of `text`. Raises `ValueError` for a hole or a value without its partner."""
    pieces: list[Any] = []
    used: set[str] = set()
    literal, end = "", 0
    for hole in _HOLE.finditer(text):
        literal += text[end : hole.start()]
        end = hole.end()
        name = hole[1]
        if name is None:
            literal += "${"
            continue
        if name not in values:
            raise ValueError(f"the query has a hole ${{{name}}} and no value for it")
        used.add(name)
        value = values[name]
        pieces += [literal, value if isinstance(value, Template) else (value,)]
        literal = ""
    if unused := sorted(values.keys() - used):
        raise ValueError(f"the query has no holes for: {', '.join(unused)}")
    pieces.append(literal + text[end:])
    return Template(tuple(piece for piece in pieces if piece != ""))
