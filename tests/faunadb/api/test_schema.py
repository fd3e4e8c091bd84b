"""Which request to the schema endpoints asks what, and how it is answered."""

from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faunadb.api.schema import Refused, multipart, schema_asked, schema_response
from faunadb.codec import Answer
from faunadb.errors import DeadlineExceeded
from faunadb.fql.schema_push import SchemaAsked
from front_test_helpers import Running

TYPE = "multipart/form-data; boundary=xyz"


def body(files: dict[str, str], mark: str = "xyz") -> bytes:
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n'
        f"Content-Type: text/plain\r\n\r\n{text}\r\n"
        for name, text in files.items()
    ]
    return "".join([*parts, f"--{mark}--\r\n"]).encode()


def asked(method: str, target: str, files: dict[str, str] | None = None) -> Any:
    """Return what is asked, or the status and message of the refusal."""
    path, _, options = target.partition("?")
    data = b"" if files is None else body(files)
    try:
        return schema_asked(method, f"/schema/1/{path}", options, {"content-type": TYPE}, data)
    except Refused as refused:
        return refused.status, str(refused)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "files", SchemaAsked("files")),
        ("GET", "files?version=7", SchemaAsked("files", version=7)),
        ("GET", "files?staged=true", SchemaAsked("files")),
        ("GET", "files/a.fsl", SchemaAsked("file", name="a.fsl")),
        ("GET", "files/a%2Fb.fsl", SchemaAsked("file", name="a/b.fsl")),
        ("GET", "files/a/b.fsl", SchemaAsked("file", name="a/b.fsl")),
        ("POST", "files", (405, "Method not allowed")),
        ("GET", "update", (405, "Method not allowed")),
        ("GET", "nothing", (404, "Not found")),
        ("GET", "", (404, "Not found")),
        ("GET", "files/", (404, "Not found")),
        ("GET", "files?version=x", (400, "Invalid request")),
        ("GET", "staged/status", SchemaAsked("status")),
        ("GET", "status?format=summary", SchemaAsked("status", diff="summary")),
        ("POST", "status", (405, "Method not allowed")),
        ("POST", "staged/commit", (400, "There is no staged schema to commit")),
        ("POST", "abandon", (400, "There is no staged schema to abandon")),
        ("POST", "update?staged=true", (400, "Schema cannot be staged in the root database")),
        (
            "GET",
            "items/roles/r",
            (400, "/schema/1/items/roles/r is not supported by this server yet."),
        ),
        ("POST", "diff?diff=x", (400, "Invalid request")),
    ],
)
def test_what_is_asked(method: str, target: str, expected: object) -> None:
    """Paths, methods and options; what is not built has a sentence."""
    assert expected == asked(method, target, {})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {}),
        ("?version=5", {"version": 5}),
        ("?version=5&force=true", {}),
        ("?override=false", {"override": False}),
        ("?diff=summary", {"diff": "summary"}),
        ("?format=textual&color=ansi", {"diff": "textual"}),
        ("?diff=true&staged=true", {"diff": "semantic"}),
    ],
)
def test_what_is_asked_of_files(options: str, expected: dict[str, Any]) -> None:
    """The version counts unless it is forced."""
    files = {"a.fsl": "role r {}", "b.fsl": "ü\r\n--xy"}
    wanted = {"diff": "semantic", **expected}
    found = asked("POST", f"diff{options}", files)
    assert SchemaAsked("diff", tuple(files.items()), **wanted) == found


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("", b"", "Request is not a valid multipart request"),
        ("application/json", b"{}", "Request is not a valid multipart request"),
        ("multipart/form-data", b"", "Request is not a valid multipart request"),
        (TYPE, b"", "Invalid request"),
        (TYPE, b"--xyz\r\n", "Invalid request"),
        (TYPE, b"--xyz\r\nno head\r\n--xyz--", "Invalid request"),
        (TYPE, b'--xyz\r\ncontent-disposition: x; name="a"\r\n\r\n\xff\r\n--xyz--',
         "Invalid request"),
        (TYPE, b"--xyz\r\ncontent-disposition: x" + b"; name=" * 9000 + b"\r\n\r\n\r\n--xyz--",
         "Invalid request"),
        (TYPE, body({f"{n}.fsl": "" for n in range(1200)}), "Invalid request"),
    ],
)  # fmt: skip
def test_bodies_that_are_none(kind: str, data: bytes, message: str) -> None:
    """Refused with the sentence of the original."""
    with pytest.raises(Refused, match=message):
        multipart(kind, data)


@given(st.binary(), st.sampled_from([TYPE, 'multipart/form-data; boundary="a b"']))
def test_any_bytes_are_files_or_refused(data: bytes, kind: str) -> None:
    """Nothing else comes out of them."""
    for whole in (data, body({"a.fsl": "x"}) + data, b"--xyz\r\n" + data + b"\r\n--xyz--"):
        try:
            found = multipart(kind, whole)
        except Refused:
            continue
        assert all(isinstance(part, str) for pair in found for part in pair)


@given(st.dictionaries(st.from_regex(r"[a-z/.]{1,9}", fullmatch=True), st.text()))
def test_files_come_out_as_they_went_in(files: dict[str, str]) -> None:
    """Whatever is in them but the boundary."""
    assert files == dict(multipart(TYPE, body(files, "xyz"))) or "--xyz" in str(files)


def test_the_version_of_a_push_is_its_transaction() -> None:
    """Unless nothing changed: then it is the schema's, as for all that is only read."""
    changed = Answer(200, b"{}", "", 9, 5, b'{"changed":true}')
    same = Answer(200, b"{}", "", 9, 5, b'{"changed":false}')
    for action, answer, version in (("update", changed, 9), ("update", same, 5), ("diff", same, 5)):
        response = schema_response(SchemaAsked(action), answer)
        assert {"version": version} == msgspec.json.decode(response.body)


def test_errors_have_a_message_and_no_code() -> None:
    """Those of the language, of secrets and of the way there."""
    refused = schema_response(SchemaAsked("file"), Answer(404, b'{"message":"m"}', "", 9, 5))
    assert (404, b'{"error":{"message":"m"}}') == (refused.status, refused.body)
    late = schema_response(SchemaAsked("file"), DeadlineExceeded("late"))
    assert (440, b'{"error":{"message":"late"}}') == (late.status, late.body)
    stranger = schema_response(SchemaAsked("file"), Answer(401, b"{}", "", 0, 0))
    assert 401 == stranger.status
    assert ("www-authenticate", "Bearer") in stranger.headers


def test_a_request_becomes_a_query(server: Running) -> None:
    """With its caller; without a secret there is none."""
    server.database.outcome = Answer(200, b'{"files":[]}', "", 9, 5)
    url = f"{server.url}/schema/1/files"
    found = httpx.get(url, headers={"authorization": "Bearer secret:server"})
    assert {"version": 5, "files": []} == found.json()
    (query,) = server.database.asked
    assert (SchemaAsked("files"), "server") == (query.schema, query.caller.role)
    assert 401 == httpx.get(url).status_code
