"""One loop per object of each kind: woken, guarded, ended, and started again."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from fauna_operator.errors import Refused
from fauna_operator.model import Blocked
from fauna_operator.supervise import Key, Loop, Reconciler, Supervisor

HANG_S = 20.0


@dataclass
class Notebook:
    """What all reconcilers of a test did; `pauses` are what their next passes return."""

    passes: Counter[tuple[str, Key]] = field(default_factory=Counter)
    made: Counter[tuple[str, Key]] = field(default_factory=Counter)
    closed: Counter[tuple[str, Key]] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    pauses: list[float | Exception | None] = field(default_factory=list)
    closing: Callable[[], None] = lambda: None

    def maker(self, kind: str) -> Callable[[Key], Reconciler]:
        return lambda key: Fake(self, (kind, key))


@dataclass
class Fake:
    book: Notebook
    name: tuple[str, Key]

    def __post_init__(self) -> None:
        self.book.made[self.name] += 1

    async def one_pass(self) -> float | None:
        self.book.passes[self.name] += 1
        answer = self.book.pauses.pop(0) if self.book.pauses else HANG_S
        if isinstance(answer, Exception):
            raise answer
        return answer

    def troubled(self, trouble: Blocked) -> None:
        self.book.troubles.append(trouble.message)

    def passed(self, seconds: float, error: str) -> None:
        if error:
            self.book.troubles.append(error)

    async def close(self) -> None:
        self.book.closed[self.name] += 1
        self.book.closing()
        await asyncio.sleep(0)


def supervised(book: Notebook, story: Callable[[Supervisor], object], until: object) -> None:
    """Run a supervisor of two kinds through a story, until a condition on the book holds."""
    assert callable(until)

    async def main() -> None:
        supervisor = Supervisor({kind: book.maker(kind) for kind in ("Apple", "Pear")})
        async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as group:
            running = group.create_task(supervisor.run())
            story(supervisor)
            while not until():  # noqa: ASYNC110 a fake reconciler has nobody to tell
                await asyncio.sleep(0.001)
            running.cancel()

    asyncio.run(main())


def test_two_kinds_of_one_name_are_two_objects() -> None:
    """An Apple and a Pear of the same name have a loop each; two wakes make no second one."""
    book = Notebook()

    def story(supervisor: Supervisor) -> None:
        for kind in ("Apple", "Pear", "Apple"):
            supervisor.wake(kind, "shop", "one")

    supervised(book, story, lambda: len(book.made) == 2)

    assert {("Apple", ("shop", "one")): 1, ("Pear", ("shop", "one")): 1} == dict(book.made)


def test_a_failed_pass_is_told_and_tried_again() -> None:
    """An error of a pass ends neither its loop nor the others; its reason reaches the next pass."""
    book = Notebook(pauses=[Refused("quota"), ValueError("odd")])
    supervised(
        book,
        lambda supervisor: supervisor.wake("Pear", "shop", "one"),
        lambda: book.passes["Pear", ("shop", "one")] == 3,
    )

    assert ["quota", "Refused", "ValueError: odd", "ValueError"] == book.troubles


def test_an_object_made_again_while_its_loop_ends_is_seen() -> None:
    """A wake between the last look and the end of a loop starts a new loop."""
    book = Notebook(pauses=[None, HANG_S])
    wakes: list[Callable[[], None]] = []
    book.closing = lambda: wakes.pop()() if wakes else None

    def story(supervisor: Supervisor) -> None:
        wakes.append(lambda: supervisor.wake("Pear", "shop", "one"))
        supervisor.wake("Pear", "shop", "one")

    supervised(book, story, lambda: book.made["Pear", ("shop", "one")] == 2)

    assert 2 == book.passes["Pear", ("shop", "one")]


@dataclass
class Parallel(Fake):
    """Reads several things at once, and one of them fails; the others are cut off."""

    async def one_pass(self) -> float | None:
        self.book.passes[self.name] += 1
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(HANG_S))
                group.create_task(self.fail())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return None

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise Refused("not now")


def test_a_pass_whose_parallel_reads_fail_is_followed_by_another() -> None:
    """What a task group leaves behind in its task, in Python 3.11, does not end the loop."""
    book = Notebook()

    async def live() -> None:
        loop = Loop(Parallel(book, ("A", ("space", "name"))), "A space/name")
        async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as group:
            task = group.create_task(loop.run())
            while book.passes.total() < 3 and not task.done():  # noqa: ASYNC110 it tells nobody
                await asyncio.sleep(0.01)
            task.cancel()

    asyncio.run(live())

    assert 3 == book.passes.total()
