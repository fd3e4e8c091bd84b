"""Does docs/safety.md name, for every rule, tests that exist?"""

import re
from pathlib import Path

import pytest

from planted import BUGS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/safety.md").read_text()
ROW = re.compile(r"^\| (M?\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
ROWS = {number: tests for number, _, tests, _ in ROW.findall(PAGE)}


def _functions() -> frozenset[str]:
    found = set[str]()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    return frozenset(found)


FUNCTIONS = _functions()
RULES = [*(str(number) for number in range(1, 28)), *(f"M{number}" for number in range(1, 18))]


def test_every_rule_has_its_row() -> None:
    """Rules 1 to 27 and mistakes M1 to M17 are all there, once."""
    assert RULES == [number for number, *_ in ROW.findall(PAGE)]


@pytest.mark.parametrize("number", RULES)
def test_what_a_row_names_exists(number: str) -> None:
    """A row names at least one test, and no name is stale."""
    names = re.findall(r"`([^`]+)`", ROWS[number])

    assert [] != names
    assert [] == [name for name in names if not _exists(name)]


@pytest.mark.parametrize("number", [number for number in RULES if not number.startswith("M")])
def test_every_rule_has_a_bug_that_breaks_it(number: str) -> None:
    """That its tests fail without it is tried: `make planted`."""
    assert "`planted:" in ROWS[number]


def _exists(name: str) -> bool:
    kind, _, rest = name.partition(":")
    if kind == "story":
        return (ROOT / "tests/faunadb/raft/scripts" / f"{rest}.txt").is_file()
    if kind == "planted":
        return rest in {bug.name for bug in BUGS}
    return name in FUNCTIONS
