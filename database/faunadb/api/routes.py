"""Which request gets which answer: the paths of the client port, whatever HTTP it came by.

A request is handled in one synchronous call; its answer goes to `respond`, once, now or later.
Endpoints that are not built yet say so with 400 `disabled_feature`; nothing answers wrongly.
"""

from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from faunadb.api.auth import Authenticator, prove
from faunadb.api.bodies import JSON, Response, protocol_error, query_response, refusal
from faunadb.api.feeds import feed_query, feed_response, stream_query
from faunadb.api.options import read_options
from faunadb.api.ports import Database, PingScope
from faunadb.api.schema import PREFIX as SCHEMA_PREFIX
from faunadb.api.schema import Refused, schema_asked, schema_refusal, schema_response
from faunadb.api.streams import Streaming, Streams
from faunadb.errors import FaunaError, InvalidRequest
from faunadb.fql.tagged import Format
from faunadb.node.query import Outcome, Query

_METHODS = {
    "/query/1": ("POST",),
    "/ping": ("GET", "HEAD"),
    "/cluster/1": ("GET",),
    "/stream/1": ("POST",),
    "/feed/1": ("POST",),
    "/environment/1": ("GET",),
}
_PREFIXES = ("/export/1",)
_SCOPES: dict[str, PingScope] = {"node": "node", "read": "read", "write": "write", "all": "all"}
CORS = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
    ("access-control-max-age", "86400"),
)


class Request(msgspec.Struct):
    """One HTTP request; `headers` have lower-case names, the last of equal ones counts."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Response | Streaming], None]


class Routes:
    """The client port's paths on one database."""

    def __init__(self, database: Database, authenticator: Authenticator, streams: Streams) -> None:
        self._database, self._authenticator = database, authenticator
        self.streams = streams
        self._handlers = {
            "/query/1": self._query, "/feed/1": self._feed, "/stream/1": self._stream
        }  # fmt: skip

    def handle(self, request: Request, respond: Respond) -> None:
        """Answer `request`; never raises for anything that a client sends."""
        path, _, query_string = request.target.partition("?")
        if request.method == "OPTIONS":
            respond(_preflight(request))
        elif path.startswith(SCHEMA_PREFIX):
            self._schema(request, path, query_string, respond)
        elif path.startswith(_PREFIXES):
            self._not_built(path, request, respond)
        elif path not in _METHODS:
            respond(protocol_error(404, "not_found", "Not found"))
        elif request.method not in _METHODS[path]:
            respond(protocol_error(405, "method_not_allowed", "Method not allowed"))
        elif path == "/ping":
            respond(self._ping(query_string))
        elif path == "/cluster/1":
            self._for_believed(request, respond, self._cluster)
        elif path in self._handlers:
            self._handlers[path](request, respond)
        else:
            self._not_built(path, request, respond)

    def _schema(self, request: Request, path: str, options: str, respond: Respond) -> None:
        try:
            caller = self._authenticator.caller(request.headers.get("authorization"))
            asked = schema_asked(request.method, path, options, request.headers, request.body)
        except (FaunaError, Refused) as error:
            respond(schema_refusal(error))
            return
        query = Query(b"", caller=caller, schema=asked)
        self._database.submit(query, lambda outcome: respond(schema_response(asked, outcome)))

    def _feed(self, request: Request, respond: Respond) -> None:
        try:
            caller = self._authenticator.caller(request.headers.get("authorization"))
            query = feed_query(request.body, read_options(request.headers), caller)
        except FaunaError as error:
            respond(refusal(error))
            return
        self._database.submit(query, lambda outcome: respond(feed_response(outcome)))

    def _stream(self, request: Request, respond: Respond) -> None:
        try:
            caller = self._authenticator.caller(request.headers.get("authorization"))
            query = stream_query(request.body, read_options(request.headers), caller)
        except FaunaError as error:
            respond(refusal(error))
            return
        self.streams.start(query, respond)

    def _query(self, request: Request, respond: Respond) -> None:
        headers = request.headers
        try:
            caller = self._authenticator.caller(headers.get("authorization"))
            options = read_options(headers)
            if not request.body:
                raise InvalidRequest("No request body provided")
        except FaunaError as error:
            respond(refusal(error))
            return
        form, tags = options.format, options.tags

        def reply(outcome: Outcome) -> None:
            respond(query_response(outcome, form, tags))

        query = Query(
            body=request.body,
            format=form.value,
            caller=caller,
            timeout_ms=options.timeout_ms,
            last_txn_ts=options.last_txn_ts,
            attempts_max=options.attempts_max,
            typecheck=options.typecheck,
            request=options.request,
            attempt=options.attempt,
        )
        self._database.submit(query, reply)

    def _ping(self, query_string: str) -> Response:
        try:
            named = parse_qs(query_string, max_num_fields=8).get("scope", ["write"])[0].lower()
        except ValueError:
            named = query_string
        scope = _SCOPES.get(named)
        if scope is None:
            return protocol_error(400, "invalid_request", f"Invalid scope '{named[:40]}'")
        if not self._database.ping(scope):
            text = f"Scope {scope.capitalize()} is not OK"
            return protocol_error(503, "time_out", text)
        return Response(200, b'{"resource":"Scope %s is OK"}' % scope.capitalize().encode())

    def _for_believed(
        self, request: Request, respond: Respond, answer: Callable[[], Response]
    ) -> None:
        """Give an answer that is no query's to whom a secret opens anything."""
        try:
            caller = self._authenticator.caller(request.headers.get("authorization"))
        except FaunaError as error:
            respond(refusal(error))
            return

        def proven(why_not: Outcome | None) -> None:
            refused = None if why_not is None else query_response(why_not, Format.TAGGED, "")
            respond(refused or answer())

        prove(self._database, caller, proven)

    def _cluster(self) -> Response:
        """Tell a client with any valid secret who else it may ask (ours, not Fauna's)."""
        cluster = self._database.members()
        if cluster is None:
            return protocol_error(503, "time_out", "This member waits to be added to a cluster.")
        return Response(200, msgspec.json.encode(cluster))

    def _not_built(self, path: str, request: Request, respond: Respond) -> None:
        text = f"{path[:100]} is not supported by this server yet."
        answer = protocol_error(400, "disabled_feature", text)
        self._for_believed(request, respond, lambda: answer)


def _preflight(request: Request) -> Response:
    asked = request.headers.get("access-control-request-headers", "*")
    allowed = asked if asked.isascii() and asked.isprintable() else "*"
    return Response(200, b"", (*JSON, *CORS, ("access-control-allow-headers", allowed)))
