"""The schema endpoints on members of a cluster: files in, files out, and what queries changed."""

import http.client
import json
from typing import Any

import pytest

from process.cluster import HANG_S, SECRET, Cluster

pytestmark = pytest.mark.process
MAIN = """// Those who buy.
collection Customer {
  name: String
  points: Int = 0
  index byName { terms [.name] }
  check positive ((c) => c.points >= 0)
}
"""
ACCESS = """role clerk {
  privileges Customer { read { predicate ((c) => c.points < 100) } }
  privileges hello { call }
}
@role(clerk)
function hello(name: String): String { "hello " + Customer.byName(name).first()!.name }
"""
FILES = {"main.fsl": MAIN, "lib/access.fsl": ACCESS}


class Editor:
    """Goes from member to member."""

    def __init__(self, cluster: Cluster) -> None:
        self._places = [member.place for member in cluster.members]
        self._turn = 0

    def call(self, method: str, path: str, body: bytes, kind: str, secret: str) -> Any:
        """Return status and body."""
        self._turn += 1
        place = self._places[self._turn % len(self._places)]
        link = http.client.HTTPConnection(place.host, place.client_port, timeout=2 * HANG_S)
        try:
            headers = {"authorization": f"Bearer {secret}", "content-type": kind}
            link.request(method, path, body, headers)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            link.close()

    def get(self, path: str, secret: str = SECRET) -> Any:
        return self.call("GET", f"/schema/1/{path}", b"", "", secret)

    def post(self, path: str, files: dict[str, str], secret: str = SECRET) -> Any:
        mark = "5f1c"
        parts = [
            f'--{mark}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
            for name, text in files.items()
        ]
        body = "".join([*parts, f"--{mark}--\r\n"]).encode()
        return self.call(
            "POST", f"/schema/1/{path}", body, f"multipart/form-data; boundary={mark}", secret
        )

    def data(self, text: str) -> Any:
        body = json.dumps({"query": text}).encode()
        status, said = self.call("POST", "/query/1", body, "application/json", SECRET)
        assert 200 == status, said
        return said["data"]


@pytest.fixture
def editor(three: Cluster) -> Editor:
    return Editor(three)


def test_a_schema_goes_in_and_comes_out(editor: Editor) -> None:
    """Pushed once, used, changed by a query, pulled, pushed again, and taken away."""
    status, said = editor.get("files")
    assert (200, []) == (status, said["files"])
    assert "none" == editor.get("staged/status")[1]["status"]
    version = said["version"]
    status, said = editor.post("validate?diff=summary", FILES)
    assert 200 == status
    assert [
        "* Adding collection `Customer` to main.fsl:1:1",
        "* Adding function `hello` to lib/access.fsl:5:1",
        "* Adding role `clerk` to lib/access.fsl:1:1",
    ] == said["diff"].split("\n")
    assert [] == editor.get("files")[1]["files"], "a check keeps nothing"
    status, pushed = editor.post(f"update?version={version}", FILES)
    assert 200 == status
    assert pushed["version"] > version
    assert (409, {"error": {"message": "Stale schema version provided"}}) == editor.post(
        f"update?version={version}", FILES
    )
    assert 1 == editor.data('Customer.create({ name: "Ada", points: 1 }).points')
    assert "hello Ada" == editor.data('hello("Ada")')
    for name, content in FILES.items():
        found = {"version": pushed["version"], "content": content}
        assert (200, found) == editor.get(f"files/{name}")
    editor.data("Customer.definition!.update({ history_days: 2, data: { kept: true } }).name")
    editor.data('Function.create({ name: "more", body: "x => x + 1" }).name')
    changed = editor.get("files/main.fsl")[1]["content"]
    assert changed.startswith("// Those who buy.\ncollection Customer {\n  name: String\n")
    assert "  history_days 2\n" in changed
    assert changed.endswith("function more(x) {\n  x + 1\n}\n")
    assert (
        "No semantic changes."
        == (editor.post("diff", {"main.fsl": changed, "lib/access.fsl": ACCESS})[1]["diff"])
    )
    assert 200 == editor.post("update?override=false", {"main.fsl": MAIN})[0]
    assert [0, True] == editor.data(
        "[Customer.definition!.history_days, Customer.definition!.data.kept]"
    )
    assert [] == editor.data('Function.where(.name == "more").toArray()')
    assert 1 == editor.data("Customer.all().count()")
    assert 200 == editor.post("update", {"main.fsl": " "})[0]
    assert [0, 0, 0] == editor.data("[Collection, Function, Role].map(it => it.all().count())")


@pytest.mark.parametrize(
    ("secret", "reads", "writes"),
    [("server", 200, 403), ("server-readonly", 200, 403), ("client", 403, 403)],
)
def test_who_may(editor: Editor, secret: str, reads: int, writes: int) -> None:
    """All but the admin only read; a client not even that."""
    scoped = f"{SECRET}:{secret}"
    assert reads == editor.get("files", scoped)[0]
    assert writes == editor.post("update", FILES, scoped)[0]
    assert 401 == editor.get("files", "wrong")[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.fsl": "collection { }"}, "error: Expected identifier\nat a.fsl:1:12\n"),
        ({"a.txt": ""}, "Invalid filename `a.txt`"),
        ({"a.fsl": "@role(nobody) function f() { 1 }"}, "  role: Field refers to an unknown role"),
        ({"a.fsl": "collection C { migrations { drop .a } }"}, "not supported by this server yet"),
    ],
)
def test_what_is_refused(editor: Editor, files: dict[str, str], message: str) -> None:
    """With a sentence, and nothing of it is kept."""
    for action in ("validate", "update"):
        status, said = editor.post(action, files)
        assert 400 == status
        assert message in said["error"]["message"]
    assert [] == editor.get("files")[1]["files"]
