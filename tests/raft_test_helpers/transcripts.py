"""Golden transcripts: a command, a line of dashes, and what it must print.

Set REWRITE=1 to write down what the code prints now. Commit the difference
only if you can say why every changed line changed.

A line that begins with # is the story told to the reader.
"""

import os
from collections.abc import Callable
from pathlib import Path


def check_transcript(path: Path, handle: Callable[[str, list[str]], str]) -> None:
    """Run every command in `path` through `handle` and compare what it prints."""
    rewritten: list[str] = []
    for block in path.read_text().strip("\n").split("\n\n"):
        comments = [line for line in block.splitlines() if line.startswith("#")]
        rest = [line for line in block.splitlines() if not line.startswith("#")]
        if not rest:
            rewritten.append(block)
            continue
        command, *written = rest
        assert "REWRITE" in os.environ or written[:1] == ["----"], f"{path.name}: no ---- {command}"
        name, *words = command.split()
        actual = handle(name, words).strip("\n")
        if "REWRITE" not in os.environ:
            assert "\n".join(written[1:]) == actual, f"{path.name}: {command}"
        rewritten.append("\n".join([*comments, command, "----", actual]).rstrip("\n"))
    if "REWRITE" in os.environ:
        path.write_text("\n\n".join(rewritten) + "\n")
