"""Every case of the specification, over a store of dictionaries and over the real one."""

import itertools
import sys
import threading
from typing import Any

import pytest

from faunadb.fql.budget import RECURSION_LIMIT_DEEP, STACK_BYTES_DEEP
from faunadb.fql.compile import STORED
from faunadb.fql.indexed import computer
from fql_test_helpers.memory_view import MemoryDatabase
from fql_test_helpers.specification import Case, Topic, check, load
from store_test_helpers import LEADER_TERM, World


class Committing(MemoryDatabase):
    def commit(self, view: Any) -> None:
        view.commit()


class RealStore:
    """The store that the product has, in memory, with the double's sense of time."""

    def __init__(self) -> None:
        self.world = World(now_us=1_700_000_000_000_000)

    def view(self) -> Any:
        self.world.now_us = max(self.world.now_us, self.world.overlay.last_ts) + 1_000_000 - 1
        view = self.world.view()
        view._compute = computer(view.schema, STORED)
        return view

    def commit(self, view: Any) -> None:
        effects = view.effects(self.world.overlay.last, LEADER_TERM)
        if effects.read_only:
            self.world.now_us += 1
        else:
            self.world.commit(effects)


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


LOADED = load()
CASES = [pytest.param(topic, case, id=name) for name, topic, case in LOADED if not case.real_only]


@pytest.mark.parametrize(("topic", "case"), CASES)
def test_case(topic: Topic, case: Case) -> None:
    """Every query of the specification gives what it says."""
    on_deep_stack(lambda: check(case, topic, Committing(), draw()))


STATEFUL = [pytest.param(topic, case, id=name) for name, topic, case in LOADED if topic.setup]


@pytest.mark.parametrize(("topic", "case"), STATEFUL)
def test_case_over_the_real_store(topic: Topic, case: Case) -> None:
    """The real store gives the language what the double gave it."""
    on_deep_stack(lambda: check(case, topic, RealStore(), draw()))
