"""What a schema file says: collections, functions, roles and access providers, with places.

Bodies are trees for those who check them, and texts for those who store them: the text of any
node is `source[span]`. An item's `span` begins with the comment directly above it.
"""

from faunadb.fql.syntax import Block, Expr, Lambda, Node, ShortLambda, Span, Type


class Name(Node, frozen=True, gc=False):
    text: str
    span: Span


class DefinedField(Node, frozen=True, gc=False):
    """`name: type [= default]`, or `*: type` for the wildcard."""

    name: Name
    type: Type
    default: Expr | None
    span: Span


class ComputedField(Node, frozen=True, gc=False):
    name: Name
    type: Type | None
    body: Lambda | ShortLambda
    span: Span


class IndexedPath(Node, frozen=True, gc=False):
    """A term or value of an index; terms are never descending."""

    path: tuple[str | int, ...]
    mva: bool
    descending: bool
    span: Span


class Index(Node, frozen=True, gc=False):
    name: Name
    terms: tuple[IndexedPath, ...]
    values: tuple[IndexedPath, ...]
    span: Span


class Unique(Node, frozen=True, gc=False):
    terms: tuple[IndexedPath, ...]
    span: Span


class Check(Node, frozen=True, gc=False):
    name: Name
    body: Lambda | ShortLambda
    span: Span


class Setting(Node, frozen=True, gc=False):
    """`history_days 3`, `ttl_days 3`, `document_ttls true`; `name` says which."""

    name: str
    value: int | bool
    span: Span


class Migration(Node, frozen=True, gc=False):
    """One step, `kind` being its word; `paths` has the source first, then the targets."""

    kind: str
    paths: tuple[tuple[str | int, ...], ...]
    value: Expr | None
    span: Span


class Migrations(Node, frozen=True, gc=False):
    steps: tuple[Migration, ...]
    span: Span


Member = DefinedField | ComputedField | Index | Unique | Check | Setting | Migrations


class Collection(Node, frozen=True, gc=False):
    name: Name
    alias: Name | None
    members: tuple[Member, ...]
    span: Span


class Argument(Node, frozen=True, gc=False):
    name: Name
    type: Type | None
    span: Span


class Function(Node, frozen=True, gc=False):
    """`signature_span` runs from `(` to the `)` or the result's type, `body.span` is the block."""

    name: Name
    alias: Name | None
    role: Name | None
    arguments: tuple[Argument, ...]
    variadic: Argument | None
    result: Type | None
    signature_span: Span
    body: Block
    span: Span


class Action(Node, frozen=True, gc=False):
    name: str
    predicate: Lambda | ShortLambda | None
    span: Span


class Privileges(Node, frozen=True, gc=False):
    resource: Name
    actions: tuple[Action, ...]
    span: Span


class Membership(Node, frozen=True, gc=False):
    """Of a role in a collection, or of a role in an access provider."""

    resource: Name
    predicate: Lambda | ShortLambda | None
    span: Span


class Role(Node, frozen=True, gc=False):
    name: Name
    privileges: tuple[Privileges, ...]
    memberships: tuple[Membership, ...]
    span: Span


class AccessProvider(Node, frozen=True, gc=False):
    name: Name
    issuer: str
    jwks_uri: str
    roles: tuple[Membership, ...]
    span: Span


Item = Collection | Function | Role | AccessProvider
