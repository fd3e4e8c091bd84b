"""Every script tells a story of some members, and the core plays its part in it to the word."""

from pathlib import Path

import pytest

from raft_test_helpers.story import Story
from raft_test_helpers.transcripts import check_transcript

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    """The members say and write what the script says."""
    check_transcript(path, Story().handle)
