"""What is a planted bug? One change of the text of one file, and one test that it breaks."""

import shutil
from pathlib import Path

import msgspec

ASSERTION = "AssertionError"
HANG = "hang"


class Bug(msgspec.Struct, frozen=True, kw_only=True):
    """`old`, which stands once in `file` (below `database/faunadb`), becomes `new`.

    `test` fails then with an error of type `fails`; `HANG` says that it never ends. It passes
    without the bug. `says` are the promises that a seed of the simulator sees broken, if one
    sees it.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
    fails: str = ASSERTION
    says: tuple[str, ...] = ()


def plant(bug: Bug, database: Path) -> Path:
    """Change the file in `database`, a copy, and return it. Fails when the text moved on."""
    path = database / "faunadb" / bug.file
    text = path.read_text()
    assert text.count(bug.old) == 1, f"{bug.name}: the text is {text.count(bug.old)} times there"
    path.write_text(text.replace(bug.old, bug.new))
    return path


def copy_database(checkout: Path, into: Path) -> Path:
    """Copy the sources of the database; return the folder for PYTHONPATH."""
    copy = into / "database"
    for package in ("faunadb", "faunadb_sim", "fauna_client"):
        shutil.copytree(
            checkout / "database" / package,
            copy / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return copy
