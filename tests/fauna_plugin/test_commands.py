"""The commands of `kubectl fauna`, with a kubectl that holds its objects in a file."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fauna_plugin.__main__ import commands
from fauna_plugin.kubectl import Missing, Refused

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]

KUBECTL = """#!{python}
import json, sys, time
store = json.load(open({store!r}))
words = [word for word in sys.argv[1:]]
with open({said!r}, "a") as said:
    said.write(json.dumps(words) + "\\n")
words = words[2:] if words[0] == "--namespace" else words
if words[0] == "get" and words[2:3] != ["-o"] and words[2:3] != ["-l"]:
    found = store.get(f"{{words[1]}}/{{words[2]}}")
    if found is None:
        sys.exit(f'Error from server (NotFound): {{words[1]}} "{{words[2]}}" not found')
    print(json.dumps(found))
elif words[0] == "get" and words[-1] == "wide":
    print("NAME PHASE")
elif words[0] == "get":
    print(json.dumps({{"items": [v for k, v in store.items() if k.startswith(words[1] + "/")]}}))
elif words[0] == "create":
    made = json.load(sys.stdin)
    plural = made["kind"].lower() + "s.fauna.dev"
    store[plural + "/" + made["metadata"]["name"]] = {{**made, "status": store["outcome"]}}
    json.dump(store, open({store!r}, "w"))
    print(json.dumps(made))
elif words[0] == "port-forward":
    print(f"Forwarding from 127.0.0.1:{{store['port']}} -> 8443", flush=True)
    time.sleep(600)
elif words[0] == "logs":
    print("[pod/orders-1] line")
else:
    sys.exit("error: the fake does not know this")
"""
CLUSTER: Object = {
    "kind": "FaunaCluster",
    "metadata": {"namespace": "shop", "name": "orders", "uid": "u-1", "generation": 1},
    "spec": {"replicas": 3, "storage": {"size": "1Gi"}, "deletionProtection": True},
    "status": {
        "phase": "Running",
        "leader": "orders-1",
        "members": [{"name": "orders-1", "role": "Leader"}, {"name": "orders-2", "role": "Voter"}],
        "conditions": [{"type": "Available", "status": "True"}],
    },
}


@dataclass
class Fake:
    """The plugin with its kubectl."""

    folder: Path

    def put(self, **objects: Any) -> None:
        store = json.loads(self.store.read_text()) if self.store.exists() else {}
        named = {key.replace("__", "/", 1): value for key, value in objects.items()}
        self.store.write_text(json.dumps({**store, **named}))

    @property
    def store(self) -> Path:
        return self.folder / "store.json"

    def run(self, *words: str, given: str = "") -> Result:
        program = self.folder / "kubectl"
        where = {"store": str(self.store), "said": str(self.folder / "said")}
        program.write_text(KUBECTL.format(python=sys.executable, **where))
        program.chmod(0o755)
        return CliRunner().invoke(commands, ["--kubectl", str(program), *words], input=given)

    def said(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "said").read_text().splitlines()]

    def made(self, kind: str) -> Object:
        [found] = [
            value
            for key, value in json.loads(self.store.read_text()).items()
            if key.startswith(kind) and "outcome" not in key and value.get("kind")
        ]
        result: Object = found
        return result


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    made = Fake(tmp_path)
    objects = {
        "faunaclusters.fauna.dev/orders": CLUSTER,
        "outcome": {
            "phase": "Completed",
            "size": "1Ki",
            "documentCount": 3,
            "verified": "Checksum",
        },
    }
    made.put(**objects)
    return made


def schema(kind: str) -> Object:
    crd = yaml.safe_load((ROOT / f"crds/fauna{kind}s.yaml").read_text())
    found: Object = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def known(value: Any, schema: Object) -> bool:
    """Whether every field of a value is one of the schema."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or not isinstance(value, dict):
        return True
    properties = schema.get("properties", {})
    return all(key in properties and known(each, properties[key]) for key, each in value.items())


def test_status_ends_with_1_when_clients_cannot_write(fake: Fake) -> None:
    """0 and 1 tell a script what the lines tell a person."""
    good = fake.run("status", "orders")
    assert (0, True) == (good.exit_code, "shop/orders: Running" in good.output)
    away = {**CLUSTER, "status": {"conditions": [{"type": "Available", "status": "False"}]}}
    fake.put(**{"faunaclusters.fauna.dev/orders": away})

    bad = fake.run("status", "orders")

    assert (1, True) == (bad.exit_code, "Available=False" in bad.output)


def test_all_clusters_without_a_name(fake: Fake) -> None:
    """Then it is what kubectl itself shows, in the namespace that was asked for."""
    assert "NAME PHASE\n" == fake.run("-n", "shop", "status").output
    assert ["--namespace", "shop", "get", "faunaclusters.fauna.dev", "-o", "wide"] == fake.said()[0]


def test_a_backup_is_followed_to_its_end(fake: Fake) -> None:
    """It is made as the CRD knows it, and its result is told."""
    told = fake.run("backup", "orders", "--verify", "Restore", "--name", "b-1")

    assert (0, True) == (told.exit_code, "b-1: Completed, 1Ki, 3 documents" in told.output)
    made = fake.made("faunabackups")
    assert {"clusterRef": {"name": "orders"}, "verify": "Restore"} == made["spec"]
    assert known({"spec": made["spec"]}, schema("backup"))


def test_a_failed_backup_ends_with_1(fake: Fake) -> None:
    """And says why."""
    fake.put(outcome={"phase": "Failed", "error": "no bucket"})
    told = fake.run("backup", "orders")
    assert (1, True) == (told.exit_code, "Failed, no bucket" in told.output)


def test_a_mistyped_cluster_is_not_backed_up(fake: Fake) -> None:
    """kubectl's own words, before anything is made."""
    told = fake.run("backup", "order")
    assert isinstance(told.exception, Missing)
    assert "NotFound" in str(told.exception)
    assert not [words for words in fake.said() if "create" in words]


def test_in_place_needs_to_be_said_twice(fake: Fake) -> None:
    """First a dry run; with --accept-data-loss the uid of the very cluster that was seen."""
    told = fake.run("restore", "b-1", "--in-place", "orders")
    assert "Nothing was changed." in told.output
    made = fake.made("faunarestores")
    assert {"dryRun": True} == {k: v for k, v in made["spec"].items() if k in ("dryRun", "confirm")}
    assert known({"spec": made["spec"]}, schema("restore"))


def test_in_place_for_a_survivor(fake: Fake) -> None:
    """The one who has most, or a name."""
    fake.run("restore", "--survivor", "auto", "--in-place", "orders", "--accept-data-loss")
    spec = fake.made("faunarestores")["spec"]
    assert {"survivingMember": {"auto": True}} == spec["source"]
    assert {"clusterUID": "u-1", "acceptDataLoss": True} == spec["confirm"]
    assert known({"spec": spec}, schema("restore"))


def test_into_a_new_cluster_with_the_spec_of_the_old_one(fake: Fake) -> None:
    """Its protection is not copied; a point in time is said on."""
    backup = {"spec": {"clusterRef": {"name": "orders"}}}
    fake.put(**{"faunabackups.fauna.dev/b-1": backup})
    fake.run("restore", "b-1", "--to", "copy", "--at-index", "7")
    spec = fake.made("faunarestores")["spec"]
    assert {"backupName": "b-1", "targetIndex": 7} == spec["source"]
    copied = {"replicas": 3, "storage": {"size": "1Gi"}}
    assert {"newCluster": {"name": "copy", "spec": copied}} == spec["target"]
    assert known({"spec": spec}, schema("restore"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["b-1"], "say --in-place or --to"),
        (["--to", "copy"], "name a backup, or say --survivor"),
        (["--survivor", "auto", "--to", "copy"], "a survivor goes on in place"),
        (["b", "--to", "c", "--at-index", "7", "--at-time", "x"], "two ways to say one thing"),
        (["--survivor", "a", "--in-place", "c", "--at-index", "7"], "keeps all that it has"),
    ],
)
def test_what_cannot_be_meant(fake: Fake, words: list[str], sentence: str) -> None:
    """A sentence and 64, and nothing is made."""
    told = fake.run("restore", *words)
    assert (64, True) == (told.exit_code, sentence in told.output)
    assert not (fake.folder / "said").exists()


def test_only_a_voter_is_promoted(fake: Fake) -> None:
    """Who leads already is left alone; who does not vote is refused with who does."""
    assert "orders-1 leads already\n" == fake.run("promote", "orders", "orders-1").output
    told = fake.run("promote", "orders", "orders-9")
    assert (1, "orders-9 is no voter of orders: orders-1, orders-2\n") == (
        told.exit_code,
        told.output,
    )


def test_logs_are_kubectls(fake: Fake) -> None:
    """All members by label, or one by name."""
    assert 0 == fake.run("logs", "orders").exit_code
    assert 0 == fake.run("logs", "orders", "orders-1", "--tail", "5").exit_code
    every, one = fake.said()
    assert "fauna.dev/cluster=orders,fauna.dev/component=member" in every
    assert ["logs", "orders-1", "--tail=5"] == [
        w for w in one if w in ("logs", "orders-1", "--tail=5")
    ]


@pytest.fixture
def door(fake: Fake) -> Iterator[list[Object]]:
    """A member behind the forwarded port, that answers with what it was asked."""
    asked: list[Object] = []

    class Member(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append({"query": body["query"], "secret": self.headers["authorization"]})
            bad = body["query"] == "wrong"
            said = (
                {"error": {"code": "invalid_query"}, "summary": "error: no"}
                if bad
                else {"data": {"n": 1}}
            )
            answer = json.dumps(said).encode()
            self.send_response(400 if bad else 200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Member) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        fake.put(
            port=server.server_port, **{"secret/orders-root": {"data": {"secret": "czNjcmV0"}}}
        )
        yield asked
        server.shutdown()
        thread.join()


def test_the_shell_asks_with_the_root_secret(fake: Fake, door: list[Object]) -> None:
    """One query by -c, with 1 for an error; else each line is one."""
    one = fake.run("shell", "orders", "-c", "1")
    assert (0, '{\n  "n": 1\n}\n') == (one.exit_code, one.output)
    wrong = fake.run("shell", "orders", "-c", "wrong")
    assert (1, "error: no\n") == (wrong.exit_code, wrong.output)

    fake.run("shell", "orders", given="2\n\n3\n")

    assert ["1", "wrong", "2", "3"] == [each["query"] for each in door]
    assert {"Bearer s3cret"} == {each["secret"] for each in door}


def test_a_missing_kubectl_is_a_sentence() -> None:
    """Not a traceback of Python's."""
    told = CliRunner().invoke(commands, ["--kubectl", "/nowhere/kubectl", "status"])
    assert isinstance(told.exception, Refused)
    assert "there is no /nowhere/kubectl on the PATH" == str(told.exception)
