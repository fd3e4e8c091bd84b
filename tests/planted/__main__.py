"""Plant every bug in a copy of the product, one after the other, and run the test named beside it.

    PYTHONPATH=tests python -m planted [WORD ...]     bugs whose name or file contains a word
    PYTHONPATH=tests python -m planted --survey tests/faunadb/raft WORD ...
                                                      all tests there that notice them

A bug is killed when its own test fails, with the error that the catalogue says. It is an error
when the text of a bug is not found, when its test passes, or ends in another way (also when the
module cannot be imported), and when a test fails without its bug.

House rules: the checkout is only read. Each run is a fork of a process that has imported what
all of them need; it never imported the product.
Trap: sources change within the second that the clock of a file shows, so compiled files are
believed by the hash of their source.
"""

import argparse
import compileall
import importlib
import json
import os
import py_compile
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import msgspec
import pytest

from planted import BUGS, Bug
from planted.bug import HANG, copy_database, plant

CHECKOUT = Path(__file__).parent.parent.parent
RUN_S_MAX = 60.0  # the slowest takes 5 s where nothing else runs
BASELINE_S_MAX = 300.0
LEFT_OUT = ("e2e", "process", "fauna_operator", "fauna_plugin", "local_kubernetes", "planted")
PRELOADED = ("lmdb", "crc32c", "sortedcontainers", "cryptography.x509", "pyuca")
OPTIONS = [
    "-q",
    "-p",
    "no:cacheprovider",
    "--hypothesis-seed=1",  # the same examples each time
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",  # of what was imported before
]


class Run(msgspec.Struct):
    """One fork: the tests it runs, in a copy of its own; `bug` is None for the run without."""

    bug: Bug | None
    tests: tuple[str, ...]
    slot: Path
    changed: Path | None = None
    before: str = ""
    pid: int = 0
    began_s: float = 0.0


class Verdict(msgspec.Struct):
    """What came of a run: by test "" when it passed, or the error that it failed with."""

    by_test: dict[str, str]
    seconds: float


class Recorder:
    """A plugin of pytest that notes how each test ended."""

    def __init__(self) -> None:
        self.by_test: dict[str, str] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        yield
        if call.excinfo is not None:
            self.by_test[item.nodeid] = _name(call.excinfo.value)
        else:
            self.by_test.setdefault(item.nodeid, "")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.by_test[report.nodeid] = "cannot be collected"


def main() -> None:
    parser = argparse.ArgumentParser(prog="planted", description="Plant bugs, run their tests.")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--survey", help="run everything in this folder against each bug")
    asked = parser.parse_args()
    bugs = [b for b in BUGS if not asked.words or any(w in b.name + b.file for w in asked.words)]
    _check_catalogue()
    for name in PRELOADED:
        importlib.import_module(name)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        slots = _slots(Path(folder), os.cpu_count() or 1)
        if asked.survey:
            _survey(bugs, asked.survey, slots)
            return
        wrong = _judge(bugs, slots)
    seconds = time.monotonic() - began_s
    print(f"planted: {len(bugs)} bugs, {len(bugs) - len(wrong)} killed, {seconds:.0f} s")
    if wrong:
        sys.exit("\n".join(["planted: not as the catalogue says:", *wrong]))


def _check_catalogue() -> None:
    """Find what could not be true of any product."""
    names = [bug.name for bug in BUGS]
    changes = [(bug.file, bug.old, bug.new) for bug in BUGS]
    assert len(names) == len(set(names)), "a name stands for one bug"
    assert len(changes) == len(set(changes)), "a bug counts once"


def _slots(folder: Path, count: int) -> list[Path]:
    """Make copies of the product with its tests, compiled."""
    first = folder / "0"
    first.mkdir()
    copy_database(CHECKOUT, first)
    shutil.copy(CHECKOUT / "pyproject.toml", first)
    ignored = shutil.ignore_patterns("__pycache__", *LEFT_OUT)
    shutil.copytree(CHECKOUT / "tests", first / "tests", ignore=ignored)
    compileall.compile_dir(
        first, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
    )
    slots = [folder / str(number) for number in range(count)]
    for slot in slots[1:]:
        shutil.copytree(first, slot)
    return slots


def _judge(bugs: list[Bug], slots: list[Path]) -> list[str]:
    """Run everything; return a line for each thing that is not as the catalogue says."""
    tests = tuple(sorted({bug.test for bug in bugs}))
    wrong = []
    for run, verdict in _all([(None, tests), *((bug, (bug.test,)) for bug in bugs)], slots):
        if run.bug is None:
            problems = _of_baseline(tests, verdict)
            print(f"     {verdict.seconds:5.1f} s  {len(tests)} tests without a bug")
        else:
            problems = _of_bug(run.bug, verdict)
            word = "NOT " if problems else ""
            print(f"{word:4} {verdict.seconds:5.1f} s  {run.bug.name}", flush=True)
        wrong += problems
    return wrong


def _of_baseline(tests: tuple[str, ...], verdict: Verdict) -> list[str]:
    failed = [f"  without a bug: {test}: {why}" for test, why in verdict.by_test.items() if why]
    ran = {test: _of(test, verdict) for test in tests}
    return failed + [f"  without a bug: {test} does not exist" for test in tests if not ran[test]]


def _of_bug(bug: Bug, verdict: Verdict) -> list[str]:
    ended = _of(bug.test, verdict)
    if bug.fails in ended:
        return []
    how = ", ".join(sorted({why or "passes" for why in ended})) or "does not run"
    return [f"  {bug.name} ({bug.file}): {bug.test} {how}; expected {bug.fails}"]


def _of(test: str, verdict: Verdict) -> list[str]:
    """Return how a test ended, for each of its parameters."""
    return [
        why
        for name, why in verdict.by_test.items()
        if name == test or name.startswith(f"{test}[") or test.startswith(name)
    ]


def _survey(bugs: list[Bug], folder: str, slots: list[Path]) -> None:
    for run, verdict in _all([(bug, (folder,)) for bug in bugs], slots):
        assert run.bug is not None
        print(f"{run.bug.name} ({verdict.seconds:.0f} s)", flush=True)
        for test, why in verdict.by_test.items():
            if why:
                print(f"    {why} {test}", flush=True)


# -------------------------------------------------------------------- forks


def _all(
    wanted: list[tuple[Bug | None, tuple[str, ...]]], slots: list[Path]
) -> Iterator[tuple[Run, Verdict]]:
    """Run all, as many at once as there are slots; yield each when it ends."""
    free, running, waiting = list(slots), dict[int, Run](), list(wanted)
    while waiting or running:
        while waiting and free:
            bug, tests = waiting.pop(0)
            run = _begin(bug, tests, free.pop())
            running[run.pid] = run
        for run in list(running.values()):
            verdict = _ended(run)
            if verdict is not None:
                del running[run.pid]
                free.append(run.slot)
                yield run, verdict
        time.sleep(0.02)


def _begin(bug: Bug | None, tests: tuple[str, ...], slot: Path) -> Run:
    run = Run(bug, tests, slot)
    if bug is not None:
        run.before = (slot / "database/faunadb" / bug.file).read_text()
        run.changed = plant(bug, slot / "database")
    (slot / "verdict.json").unlink(missing_ok=True)
    sys.stdout.flush()
    run.began_s = time.monotonic()
    run.pid = os.fork()
    if run.pid == 0:
        try:
            _child(run)
        except BaseException:  # noqa: BLE001 it is said, and nobody is above to take it
            traceback.print_exc()
        finally:
            os._exit(1)  # whatever happened: what the parent opened is the parent's to close
    return run


def _child(run: Run) -> None:
    """Run the tests of a copy and write how they ended."""
    os.setsid()
    os.chdir(run.slot)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["PYTHONPATH"] = f"{run.slot}/database:{run.slot}/tests"
    sys.path[:] = [path for path in sys.path if not path.startswith(str(CHECKOUT / "tests"))]
    hypothesis.settings.register_profile(
        "planted", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )
    hypothesis.settings.load_profile("planted")  # the smallest example is of no interest
    recorder = Recorder()
    pytest.main([*OPTIONS, *run.tests], plugins=[recorder])
    Path("verdict.json").write_text(json.dumps(recorder.by_test))


def _ended(run: Run) -> Verdict | None:
    """Return the verdict of a run that has ended; end it at its limit."""
    seconds = time.monotonic() - run.began_s
    pid, _ = os.waitpid(run.pid, os.WNOHANG)
    if pid:
        found = run.slot / "verdict.json"
        by_test = json.loads(found.read_text()) if found.exists() else {}
        if not by_test:
            print((run.slot / "said.txt").read_text()[-2000:])
    elif seconds > (RUN_S_MAX if run.bug else BASELINE_S_MAX):
        os.killpg(run.pid, signal.SIGKILL)
        os.waitpid(run.pid, 0)
        by_test = dict.fromkeys(run.tests, HANG)
    else:
        return None
    if run.changed is not None:
        run.changed.write_text(run.before)
    return Verdict(by_test, seconds)


def _name(problem: BaseException) -> str:
    """Return the name of an error, of the first one in a group."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return type(problem).__name__


if __name__ == "__main__":
    main()
