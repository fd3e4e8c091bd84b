"""The language over a store of dictionaries: every case of the specification."""

import itertools
import sys
import threading
from typing import Any

import pytest
from memory_view import MemoryDatabase
from specification import Case, Topic, check, load

from faunadb.fql.budget import RECURSION_LIMIT_DEEP, STACK_BYTES_DEEP


class Committing(MemoryDatabase):
    def commit(self, view: Any) -> None:
        view.commit()


def draw() -> Any:
    """Return bytes that look random and are not."""
    numbers = itertools.count(1)
    return lambda count: next(numbers).to_bytes(count, "big")


def on_deep_stack(run: Any) -> None:
    """Run where 2048 frames of the language fit."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    before_limit, before_size = sys.getrecursionlimit(), threading.stack_size()
    sys.setrecursionlimit(RECURSION_LIMIT_DEEP)
    threading.stack_size(STACK_BYTES_DEEP)
    try:
        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join(60)
    finally:
        sys.setrecursionlimit(before_limit)
        threading.stack_size(before_size)
    if failed:
        raise failed[0]


@pytest.mark.parametrize(
    ("topic", "case"), [pytest.param(topic, case, id=name) for name, topic, case in load()]
)
def test_case(topic: Topic, case: Case) -> None:
    """Every query of the specification gives what it says."""
    on_deep_stack(lambda: check(case, topic, Committing(), draw()))
