"""The official drivers, unchanged, through every member of a cluster."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from fauna import fql
from fauna.client import Client
from fauna.encoding import QuerySuccess
from fauna.errors import (
    AbortError,
    AuthenticationError,
    QueryCheckError,
    QueryRuntimeError,
)
from fauna.query.models import (
    Document,
    DocumentReference,
    Module,
    NullDocument,
    Page,
)

from process.cluster import HANG_S, SECRET, Cluster
from process.javascript import run_script
from process.test_client_real import Dev

pytestmark = pytest.mark.process
EVERY_MEMBER = pytest.mark.parametrize("number", [1, 2, 3])


class Driver:
    """The official Python driver on one member, and a collection that is not shared."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.client = Client(endpoint=endpoint, secret=SECRET)
        self.name, self.items = name, Module(name)

    def ask(self, text: str, **values: Any) -> Any:
        answer: QuerySuccess = self.client.query(fql(text, items=self.items, **values))
        return answer.data


@EVERY_MEMBER
def test_python(three: Cluster, number: int) -> None:
    """Documents, sets, indexes, constraints and the language through the Python driver."""
    driver = Driver(three[number].place.endpoint, f"Python{number}")
    try:
        documents(driver)
        sets(driver)
        language(driver)
    finally:
        driver.client.close()
    stranger = Client(endpoint=three[number].place.endpoint, secret="wrong")
    with pytest.raises(AuthenticationError):
        stranger.query(fql("1"))
    stranger.close()


@EVERY_MEMBER
def test_javascript(three: Cluster, number: int) -> None:
    """The same through the JavaScript driver, which speaks HTTP/2 without TLS."""
    script = Path(__file__).with_name("drivers.cjs")
    endpoint = three[number].place.endpoint
    done = run_script(script, endpoint, f"JavaScript{number}", timeout_s=2 * HANG_S)

    assert ("documents\nsets\nlanguage\n", 0) == (done.stdout, done.returncode), done.stderr


def test_what_one_driver_wrote_the_others_read_at_once(three: Cluster) -> None:
    """A write acknowledged by one member is seen by a read that another one is asked next."""
    drivers = [Driver(member.place.endpoint, "Shared") for member in three.members]
    drivers[0].ask('Collection.create({name: "Shared"})')
    drivers[0].ask('${items}.create({id: "1", n: 0})')
    for count in range(1, 31):
        drivers[count % 3].ask('${items}.byId("1")!.update({n: ${count}})', count=count)
        others = [drivers[(count + 1) % 3], drivers[(count + 2) % 3]]
        assert [count] * 2 == [other.ask('${items}.byId("1")!.n') for other in others]
    for driver in drivers:
        driver.client.close()


def test_dev(tmp_path: Path) -> None:
    """Both drivers on `faunadb dev`; what they wrote is there after kill -9."""
    dev = Dev(tmp_path)
    dev.start()
    try:
        script = Path(__file__).with_name("drivers.cjs")
        done = run_script(script, dev.url, "JavaScript", timeout_s=2 * HANG_S)
        assert 0 == done.returncode, done.stderr
        driver = Driver(dev.url, "Python")
        documents(driver)
        sets(driver)
        language(driver)
        dev.kill()
        dev.start()
        assert 25 == driver.ask("${items}.all().count()")
        driver.client.close()
    finally:
        dev.end()


def documents(driver: Driver) -> None:
    ask = driver.ask
    index = {"byKind": {"terms": [{"field": "kind"}], "values": [{"field": "rank"}]}}
    definition = {"name": driver.name, "indexes": index, "constraints": [{"unique": ["code"]}]}
    ask("Collection.create(${definition})", definition=definition)
    made = ask('${items}.create({id: "7", kind: "a", rank: 3, code: "x"})')
    assert isinstance(made, Document)
    assert ("7", driver.items) == (made.id, made.coll)
    assert made == ask('${items}.byId("7")')
    assert 4 == ask('${items}.byId("7")!.update({rank: 4}).rank')
    replaced = ask('${items}.byId("7")!.replace({kind: "b", code: "y"})')
    assert {"kind": "b", "code": "y"} == dict(replaced)
    with pytest.raises(QueryRuntimeError) as refused:
        ask('${items}.create({kind: "a", code: "y"})')
    assert [["code"]] == refused.value.constraint_failures[0].paths
    gone = NullDocument(DocumentReference(driver.items, "7"), "not found")
    assert isinstance(ask('${items}.byId("7")!.delete()'), NullDocument)
    assert gone == ask('${items}.byId("7")')


def sets(driver: Driver) -> None:
    ask = driver.ask
    rows = [
        {"kind": "odd" if n % 2 else "even", "rank": 25 - n, "code": f"c{n}"} for n in range(25)
    ]
    ask("${rows}.forEach((row) => ${items}.create(row))", rows=rows)
    assert 25 == ask("${items}.all().count()")
    assert 5 == ask("${items}.where(.rank > 20).count()")
    odd = ask('${items}.byKind("odd").map(.rank)')
    assert isinstance(odd, Page)
    assert list(range(2, 25, 2)) == odd.data
    assert [25, 24] == ask("${items}.all().order(desc(.rank)).pageSize(2).map(.rank)").data
    query = fql("${items}.all().pageSize(10)", items=driver.items)
    pages = list(driver.client.paginate(query))
    assert [10, 10, 5] == [len(page) for page in pages]
    assert {row["code"] for row in rows} == {item["code"] for page in pages for item in page}


def language(driver: Driver) -> None:
    ask = driver.ask
    assert 7 == ask("let a = 2; let b = 3; if (a < b) a * b + 1 else 0")
    assert "AB1" == ask('"ab".toUpperCase() + "c".length.toString()')
    assert [2, 4, 6] == ask("[3, 1, 2].order().map((n) => n * 2)")
    assert {"a": 1, "b": [True, None]} == ask("Object.assign({a: 1}, {b: [true, null]})")
    assert 2**53 + 2 == ask("${big} + 1", big=2**53 + 1)
    day = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert day + dt.timedelta(days=1) == ask('${day}.add(1, "day")', day=day)
    with pytest.raises(AbortError) as aborted:
        ask('abort({why: "not today"})')
    assert {"why": "not today"} == aborted.value.abort
    with pytest.raises(QueryCheckError):
        ask("1 +")
    with pytest.raises(QueryRuntimeError):
        ask("1 / 0")
