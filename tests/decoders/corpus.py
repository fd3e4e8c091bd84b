"""Inputs that took a decoder where no other did: a file for each, a line of base64 an input."""

import base64
import re
from pathlib import Path

PLACE = Path(__file__).parent / "corpus"
KEPT_BYTES_MAX = 200_000  # of all files


def file_of(name: str) -> Path:
    """Return where the inputs of the decoder `name` are kept."""
    return PLACE / (re.sub(r"[^a-z0-9]+", "-", name.lower()) + ".txt")


def kept(name: str) -> list[bytes]:
    """Return the inputs of a decoder, none if nothing was kept."""
    path = file_of(name)
    if not path.exists():
        return []
    return [base64.b64decode(line) for line in path.read_text().splitlines()]


def keep(name: str, blocks: list[bytes]) -> None:
    """Replace the inputs of a decoder."""
    lines = sorted(
        {base64.b64encode(block).decode() for block in blocks}, key=lambda x: (len(x), x)
    )
    PLACE.mkdir(exist_ok=True)
    file_of(name).write_text("".join(f"{line}\n" for line in lines))
