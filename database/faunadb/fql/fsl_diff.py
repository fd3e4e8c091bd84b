"""What would a push change? In words (`semantic`, `summary`) or in lines (`textual`).

    * Modifying collection `Foo` at main.fsl:1:1:
      * Indexes:
      + add index `byName`

Trap: a clean answer is a sentence, not an empty text.
"""

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher

from faunadb.definitions import SystemCollection
from faunadb.fql.fsl_fields import Fields
from faunadb.fql.fsl_files import KINDS, Change, Files, Place
from faunadb.fql.fsl_write import collection_members, role_members

CONTEXT_LINES = 3
_LISTS = {
    "fields": ("Defined fields", "field `.{}`"),
    "computed": ("Computed fields", "computed field `.{}`"),
    "indexes": ("Indexes", "index `{}`"),
    "constraints": ("Constraints", "{}"),
    "settings": ("Configuration", "{}"),
}
Places = Mapping[tuple[int, str], Place]


def semantic(changes: list[Change], before: Places, after: Places, *, titles_only: bool) -> str:
    """Return the changes item by item; with `titles_only` a line each."""
    said = []
    for change in changes:
        title = _title(change, before, after)
        body = [] if titles_only else list(_lists(change))
        said.append("\n".join([f"{title}:" if body else title, *body]))
    return "\n".join(said) if said else "No semantic changes."


def _title(change: Change, before: Places, after: Places) -> str:
    kind = KINDS[SystemCollection(change.key[0])]
    what = f"{kind} `{change.key[1]}`"
    if change.before is None:
        return f"* Adding {what} to {after[change.key]}"
    if change.after is None:
        return f"* Removing {what} from {before[change.key]}"
    old, new = before.get(change.key), after[change.key]
    moved = f" (previously defined at {old})" if old is not None and str(old) != str(new) else ""
    return f"* Modifying {what} at {new}{moved}"


def _lists(change: Change) -> Iterator[str]:
    if change.after is None:
        return
    coll = change.key[0]
    old, new = _members(coll, change.before or {}), _members(coll, change.after)
    for group in new:
        lines = list(_lines(old.get(group, {}), new[group], _LISTS.get(group, ("", "{}"))[1]))
        if lines:
            if group in _LISTS:
                yield f"  * {_LISTS[group][0]}:"
            yield from (f"  {line}" for line in lines)
            yield ""


def _lines(old: Mapping[str, str], new: Mapping[str, str], shape: str) -> Iterator[str]:
    for name, text in new.items():
        if name not in old:
            yield f"+ add {shape.format(name)}"
        elif old[name] != text:
            yield f"~ change {shape.format(name)}"
    for name in old:
        if name not in new:
            word = "drop" if shape.startswith("field") else "remove"
            yield f"- {word} {shape.format(name)}"


def _members(coll: int, fields: Fields) -> dict[str, dict[str, str]]:
    alias = {"alias": str(fields["alias"])} if fields.get("alias") else {}
    if coll == SystemCollection.COLLECTION:
        found = collection_members(fields)
        return {**found, "settings": {**found["settings"], **alias}}
    if coll == SystemCollection.ROLE:
        return {"": role_members(fields)}
    names = ("body", "signature", "role", "alias", "issuer", "jwks_uri", "roles")
    return {"": {name: str(fields[name]) for name in names if fields.get(name)}}


def textual(before: Files, after: Files) -> str:
    """Return the changed lines of each file with three lines around them."""
    said = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, "").split("\n"), after.get(name, "").split("\n")
        if old == new:
            continue
        said.append(name)
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        for group in matcher.get_grouped_opcodes(CONTEXT_LINES):
            said.append(f"@ line {group[0][3] + 1} to {group[-1][4]}")
            for word, start, end, from_line, to_line in group:
                if word == "equal":
                    said += [f"  {line}" for line in old[start:end]]
                else:
                    said += [f"- {line}" for line in old[start:end]]
                    said += [f"+ {line}" for line in new[from_line:to_line]]
        said.append("")
    return "\n".join(said)
