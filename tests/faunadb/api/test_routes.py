"""Paths and bodies of the client port."""

import httpx
import pytest

from faunadb.codec import Answer
from faunadb.errors import Contended, DeadlineExceeded, OutcomeUnknown, QueryError, TooManyPending
from front_test_helpers import Running, query_body

AUTH = {"authorization": "Bearer secret"}


def test_ping_says_which_scope_is_well(server: Running) -> None:
    """GET and HEAD; a scope that is not well is 503."""
    answer = httpx.get(f"{server.url}/ping")
    assert (200, {"resource": "Scope Write is OK"}) == (answer.status_code, answer.json())
    answer = httpx.get(f"{server.url}/ping?scope=node&timeout=10")
    assert {"resource": "Scope Node is OK"} == answer.json()
    answer = httpx.head(f"{server.url}/ping")
    assert (200, b"") == (answer.status_code, answer.content)
    server.database.scopes = {"node"}
    assert 503 == httpx.get(f"{server.url}/ping?scope=read").status_code
    assert 400 == httpx.get(f"{server.url}/ping?scope=moon").status_code
    assert 400 == httpx.get(f"{server.url}/ping?{'&'.join('abcdefghijk')}").status_code


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/query/1", 405, "method_not_allowed"),
        ("POST", "/ping", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/query/2", 404, "not_found"),
        ("POST", "/stream/1", 400, "invalid_request"),
        ("POST", "/feed/1", 400, "invalid_request"),
        ("GET", "/environment/1", 400, "disabled_feature"),
        ("GET", "/export/1", 400, "disabled_feature"),
    ],
)
def test_other_paths_say_what_they_are(
    server: Running, method: str, path: str, status: int, code: str
) -> None:
    """Unknown paths, wrong methods and what is not built are told apart."""
    answer = httpx.request(method, server.url + path, headers=AUTH)

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])


def test_without_a_secret_there_is_only_ping(server: Running) -> None:
    """401 names the scheme, for every path that is not ping."""
    for path in ("/query/1", "/stream/1", "/feed/1"):
        answer = httpx.post(server.url + path, content=query_body("1"))
        assert (401, "Bearer") == (answer.status_code, answer.headers["www-authenticate"])
        assert {
            "error": {"code": "unauthorized", "message": "Access token required"}
        } == answer.json()


def test_a_browser_may_ask_first(server: Running) -> None:
    """A preflight is answered 200 with what may be sent."""
    asked = {"access-control-request-headers": "x-format, authorization"}
    answer = httpx.options(f"{server.url}/query/1", headers=asked)

    assert (200, "*") == (answer.status_code, answer.headers["access-control-allow-origin"])
    assert "x-format, authorization" == answer.headers["access-control-allow-headers"]


def test_an_empty_body_is_told(server: Running) -> None:
    """A query without a body has its own sentence."""
    answer = httpx.post(f"{server.url}/query/1", headers=AUTH)

    assert "No request body provided" == answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TooManyPending("later"), 429, "limit_exceeded"),
        (DeadlineExceeded("late"), 440, "time_out"),
        (OutcomeUnknown("unknown"), 503, "time_out"),
        (Contended("again"), 409, "contended_transaction"),
    ],
)
def test_refusals_have_their_status(
    server: Running, error: TooManyPending, status: int, code: str
) -> None:
    """The family of an error decides its status, here and only here."""
    server.database.outcome = error
    answer = httpx.post(f"{server.url}/query/1", headers=AUTH, content=query_body("1"))

    assert (status, {"error": {"code": code, "message": str(error)}}) == (
        answer.status_code,
        answer.json(),
    )


def test_a_failed_query_is_400_with_a_summary(server: Running) -> None:
    """Errors of the language carry code, message, summary and stats."""
    server.database.outcome = QueryError("abort", "Query aborted.", abort=[1])
    headers = AUTH | {"x-format": "tagged", "x-query-tags": "a=b"}
    answer = httpx.post(f"{server.url}/query/1", headers=headers, content=query_body("1"))
    body = answer.json()

    assert 400 == answer.status_code
    assert {"code": "abort", "message": "Query aborted.", "abort": [{"@int": "1"}]} == body["error"]
    assert body["summary"].startswith("error: Query aborted.")
    assert "a=b" == body["query_tags"]


def test_a_failed_transaction_keeps_its_time(server: Running) -> None:
    """An error that a leader answered is sent as it was rendered there."""
    server.database.outcome = Answer(
        400, b'{"code":"abort","message":"m"}', "s", 17, 5, b'{"read_ops":1}'
    )
    answer = httpx.post(f"{server.url}/query/1", headers=AUTH, content=query_body("1"))

    assert 400 == answer.status_code
    assert {
        "error": {"code": "abort", "message": "m"},
        "summary": "s",
        "txn_ts": 17,
        "stats": {"read_ops": 1},
        "schema_version": 5,
    } == answer.json()
