"""The schema endpoints: which request asks what of the schema's files, and what it is told.

    GET  files, files/{name}, staged/status       POST  update, validate, diff

A staged schema cannot be made in the root database, the only one that is built: its status is
`none` (the command-line tool asks before all else), and `staged=true` reads what is active. Item
endpoints are not built: 400, with a sentence. Errors have a message and no code (schema.md §4).

Trap: in a multipart body a part's *field name* is the name of the file.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

import msgspec

from faunadb.api.bodies import JSON, JSON_TYPE, Response
from faunadb.codec import Answer
from faunadb.errors import FaunaError, QueryError, Unauthorized
from faunadb.fql.schema_push import SchemaAsked
from faunadb.node.query import Outcome

PREFIX = "/schema/1/"
PARTS_MAX = 1100  # a little more than files are accepted
_POSTS = frozenset({"update", "validate", "diff"})
_STAGED = re.compile(r"(staged/)?(commit|abandon)")
_STATUS = frozenset({"status", "staged/status"})
_HEAD_BYTES_MAX = 4096
_DIFFS = {"": "semantic", "true": "semantic", "semantic": "semantic", "summary": "summary",
          "textual": "textual"}  # fmt: skip
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[^\r\n]*[; ]name="([^"\r\n]*)"', re.IGNORECASE)
_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """The request is answered without the language."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def schema_asked(
    method: str, path: str, query_string: str, headers: Mapping[str, str], body: bytes
) -> SchemaAsked:
    """Return what a request asks for; raises `Refused`."""
    what = path.removeprefix(PREFIX)
    try:
        options = {
            key: values[-1]
            for key, values in parse_qs(query_string, keep_blank_values=True).items()
        }
    except ValueError:
        raise Refused(400, "Invalid request") from None
    if options.get("staged", "").lower() == "true" and what == "update":
        raise Refused(400, "Schema cannot be staged in the root database")
    if ending := _STAGED.fullmatch(what):
        raise Refused(400, f"There is no staged schema to {ending[2]}")
    if what.startswith("items/"):
        raise Refused(400, f"{path[:100]} is not supported by this server yet.")
    name = unquote(what.removeprefix("files/")) if what.startswith("files/") else ""
    if not (what in _POSTS or what in _STATUS or what == "files" or name):
        raise Refused(404, "Not found")
    if method != ("POST" if what in _POSTS else "GET"):
        raise Refused(405, "Method not allowed")
    version = _version(options)
    style = options.get("diff") or options.get("format") or ""
    if what in _STATUS:
        return SchemaAsked("status", version=version, diff=style[:10])
    if what not in _POSTS:
        return SchemaAsked("file" if name else "files", name=name, version=version)
    if style.lower() not in _DIFFS:
        raise Refused(400, "Invalid request")
    return SchemaAsked(
        what,
        files=multipart(headers.get("content-type", ""), body),
        version=version,
        override=options.get("override", "true").lower() != "false",
        diff=_DIFFS[style.lower()],
    )


def _version(options: Mapping[str, str]) -> int | None:
    text = options.get("version", "")
    if not text or options.get("force", "").lower() == "true":
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise Refused(400, "Invalid request")
    return int(text)


def multipart(content_type: str, body: bytes) -> tuple[tuple[str, str], ...]:
    """Return (name, text) of each part; raises `Refused`."""
    boundary = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise Refused(400, "Request is not a valid multipart request")
    mark = b"--" + boundary[1].encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + mark, PARTS_MAX + 1)
    if len(pieces) < 2 or len(pieces) > PARTS_MAX or not pieces[-1].startswith(b"--"):
        raise Refused(400, "Invalid request")
    found: dict[str, str] = {}
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head[:_HEAD_BYTES_MAX])
        if not blank or name is None or len(head) > _HEAD_BYTES_MAX:
            raise Refused(400, "Invalid request")
        try:
            found[name[1].decode()] = content.decode()
        except UnicodeDecodeError:
            raise Refused(400, "Invalid request") from None
    return tuple(found.items())


def schema_response(asked: SchemaAsked, outcome: Outcome) -> Response:
    """Return the answer; its version is the transaction's when the schema changed."""
    if not isinstance(outcome, Answer):
        return schema_refusal(outcome)
    if outcome.http_status == HTTPStatus.UNAUTHORIZED:
        return schema_refusal(Unauthorized("Access token required"))
    told = msgspec.json.decode(outcome.data, type=dict[str, msgspec.Raw])
    if outcome.http_status != HTTPStatus.OK:
        return Response(outcome.http_status, _encode({"error": told}))
    changed = asked.action == "update" and b"true" in outcome.stats
    version = outcome.txn_ts if changed else outcome.schema_version
    return Response(200, _encode({"version": version, **told}))


def schema_refusal(error: FaunaError | QueryError | Refused) -> Response:
    """Return an error as these endpoints have it: a message, no code."""
    status = error.status if isinstance(error, Refused) else error.http_status
    headers = JSON
    if isinstance(error, Unauthorized):
        headers = (JSON_TYPE, ("www-authenticate", "Bearer"))
    return Response(status, _encode({"error": {"message": str(error)}}), headers)
