"""The Python of the README and of the pages for clients in `docs/` runs when pasted."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from process.test_client_real import HANG_S, Dev

pytestmark = pytest.mark.process
DOCS = Path(__file__).parent.parent.parent / "docs"
LOCAL = "http://localhost:8443"


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    started = Dev(tmp_path)
    started.start()
    yield started
    started.end()


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("../README.md", r"\['hello'\]\n"),
        ("client.md", r"True 1\n\d+ Ada\n1\n1\n1 None\n\d+\n"),
        ("drivers.md", r"2\n"),
        ("streams.md", r"add water the flowers\nadd water the flowers\n"),
    ],
)
def test_what_the_page_shows_runs(dev: Dev, page: str, shown: str) -> None:
    """Block after block, against `faunadb dev`; what is printed is what is meant."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    code = "\n".join(blocks).replace(LOCAL, dev.url)
    environment = {**os.environ, "FAUNA_ENDPOINT": dev.url, "FAUNA_SECRET": "secret"}

    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert re.fullmatch(shown, ran.stdout), ran.stdout
