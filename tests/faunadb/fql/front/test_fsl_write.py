"""Definitions become schema files and schema files definitions, and nothing is lost on the way."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from faunadb.definitions import SystemCollection
from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.fsl import parse_schema
from faunadb.fql.fsl_diff import semantic, textual
from faunadb.fql.fsl_fields import fields_of
from faunadb.fql.fsl_files import (
    GENERATED,
    BadFiles,
    Definitions,
    changes_of,
    checked_names,
    parse_files,
    patched_files,
)
from faunadb.fql.fsl_write import written

GROUPS = yaml.safe_load((Path(__file__).parent / "cases" / "schema.yaml").read_text())
TEXTS = [case["text"] for group in GROUPS for case in group["cases"] if "tree" in case]
SHOP = """// What we sell.
@alias(Goods) collection Product {
  name: String
  price: Int? = 0; tags: Array<String> = []
  compute short = (.name)
  compute twice: Int = (p) => p.price * 2
  *: Any
  index byName { terms [.name, mva(.tags)]; values [desc(.price), .a["b c"][0]] }
  unique [.name]
  check positive ((p) => p.price >= 0)
  check named (.name != "")
  history_days 3
}
@role(seller) function sell(a: Int, ...b: Int): Int { let x = a; x }
role seller { privileges Product { read; write { predicate ((a, b) => a.name == b.name) } }
  membership Product { predicate (.name == "boss") } }
access provider P {
  issuer "i"; jwks_uri "https://j"; role seller; role boss { predicate (j => j.ok) }
}
"""


def definitions(text: str) -> list[tuple[int, dict[str, Any]]]:
    return [fields_of(item, text) for item in parse_schema(text)]


@pytest.mark.parametrize("text", [SHOP, *TEXTS])
def test_what_is_written_defines_the_same(text: str) -> None:
    """Migrations apart, which are steps and no definition; once more gives the very same text."""
    for coll, fields in definitions(text):
        again = written(coll, fields)
        ((coll_again, fields_again),) = definitions(again)
        fields.pop("migrations", None)
        assert coll == coll_again
        assert fields == {**fields_again, "name": fields["name"]}
        assert again == written(coll_again, fields_again)


def test_fields_are_those_that_the_language_takes() -> None:
    """Paths with their dots, short lambdas with their parentheses, bodies as lambdas."""
    (_, shop), (_, sell), (_, seller), _ = definitions(SHOP)
    assert [{"field": ".price", "order": "desc"}, {"field": '.a["b c"][0]'}] == shop["indexes"][
        "byName"
    ]["values"]
    assert "(.name)" == shop["computed_fields"]["short"]["body"]
    assert {"name": "named", "body": '(.name != "")'} == shop["constraints"][2]["check"]
    assert "(a, ...b) => { let x = a; x }" == sell["body"]
    assert "(a: Int, b: ...Int) => Int" == sell["signature"]
    assert {"read": True, "write": "(a, b) => a.name == b.name"} == seller["privileges"][0][
        "actions"
    ]


def live(text: str) -> Definitions:
    return parse_files({"x.fsl": text}).definitions


def test_files_without_a_change_stay_as_they_were() -> None:
    """Comments and spelling are the user's."""
    files = {"main.fsl": SHOP, "b.fsl": "// nothing\ncollection B {}"}
    assert files == patched_files(files, live(SHOP + "collection B { }"))


def test_what_changed_beside_the_files_is_patched_in() -> None:
    """One item anew with its comment, one cut out, one at the end of main.fsl."""
    files = {"a.fsl": "// A\ncollection A {}\n// B\ncollection B {}\ncollection C {}\n"}
    changed = "collection A { history_days 3 }\ncollection C { }\ncollection D { }"
    assert {
        "a.fsl": "// A\ncollection A {\n  history_days 3\n}\n\ncollection C {}\n",
        "main.fsl": f"{GENERATED}\n\ncollection D {{\n}}\n".replace("\n\n\n", "\n\n"),
    } == patched_files(files, live(changed))


def test_a_file_of_which_nothing_is_left_is_gone() -> None:
    """An empty file is none."""
    assert {} == patched_files({"a.fsl": "collection A {}\n"}, {})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.fsl": "collection { }"}, "error: Expected identifier\nat a.fsl:1:12"),
        (
            {"a.fsl": "collection A {}", "b.fsl": "function A() { 1 }"},
            "Duplicate collection or function `A` in b.fsl (originally seen in a.fsl)",
        ),
        (
            {"a.fsl": "role A {}", "b.fsl": "role A {}"},
            "Duplicate role `A` in b.fsl (originally seen in a.fsl)",
        ),
    ],
)
def test_files_that_cannot_be_a_schema(files: dict[str, str], message: str) -> None:
    """Every problem of every file, drawn like those of queries."""
    with pytest.raises(BadFiles) as refused:
        parse_files(files)
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.txt"], "Invalid filename `a.txt`"),
        (["*a.fsl"], "Invalid filename `*a.fsl`"),
        ([f"{n}.fsl" for n in range(1024)], "Too many files"),
        (["main.fsl", *(f"{n}.fsl" for n in range(1024))], "Too many files"),
    ],
)
def test_names_that_are_refused(names: list[str], message: str) -> None:
    """With `main.fsl` one more is accepted."""
    checked_names(dict.fromkeys(["main.fsl", *(f"{n}.fsl" for n in range(1023))]))
    with pytest.raises(BadFiles, match=message.replace("*", r"\*")):
        checked_names(dict.fromkeys(names))


BEFORE = """collection A { a: Int; b: Int; index i { terms [.a] }; unique [.b] }
role R { privileges A { read } }
collection Gone { }
"""
AFTER = """collection New { }
collection A { a: Int; c: String; index i { terms [.c] }; check x (.a > 0); history_days 1 }
role R { privileges A { read; write }; membership A }
"""
DIFF = """* Modifying collection `A` at m.fsl:2:1 (previously defined at m.fsl:1:1):
  * Defined fields:
  + add field `.c`
  - drop field `.b`

  * Indexes:
  ~ change index `i`

  * Constraints:
  + add check `x`
  - remove unique constraint on [.b]

  * Configuration:
  + add history_days

* Removing collection `Gone` from m.fsl:3:1
* Adding collection `New` to m.fsl:1:1
* Modifying role `R` at m.fsl:3:1 (previously defined at m.fsl:2:1):
  ~ change privileges `A`
  + add membership `A`
"""


def test_a_difference_in_words() -> None:
    """Item by item; the summary has the titles only."""
    before, after = parse_files({"m.fsl": BEFORE}), parse_files({"m.fsl": AFTER})
    changes = list(changes_of(before.definitions, after.definitions))
    said = semantic(changes, before.places, after.places, titles_only=False)
    assert DIFF == said
    titles = [line.removesuffix(":") for line in DIFF.split("\n") if line.startswith("*")]
    summary = semantic(changes, before.places, after.places, titles_only=True)
    assert titles == summary.split("\n")
    assert "No semantic changes." == semantic([], {}, {}, titles_only=False)


def test_a_difference_in_lines() -> None:
    """Three lines around each change; changes that are far apart are two."""
    lines = [str(number) for number in range(20)]
    changed = [*lines[:2], "new", *lines[3:17], "x", *lines[17:]]
    before, after = {"a": "\n".join(lines), "b": "1"}, {"a": "\n".join(changed), "b": "1"}
    assert [
        "a", "@ line 1 to 6", "  0", "  1", "- 2", "+ new", "  3", "  4", "  5",
        "@ line 15 to 21", "  14", "  15", "  16", "+ x", "  17", "  18", "  19", "",
    ] == textual(before, after).split("\n")  # fmt: skip


@pytest.mark.parametrize("cut", range(0, len(SHOP), 7))
def test_files_cut_short(cut: int) -> None:
    """Refused, or what is left is a schema."""
    with suppress(BadFiles, InvalidQuery):
        for coll, fields in definitions(SHOP[:cut]):
            assert coll in set(SystemCollection)
            written(coll, fields)
