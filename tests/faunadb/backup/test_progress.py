"""Somebody watches: lines come while the work waits, and the pace is kept."""

import threading
import time
from typing import Any

from faunadb.backup.progress import Pace, Progress


def test_lines_come_while_the_work_is_silent() -> None:
    """What was told last is said again and again, with how far it is."""
    heard, lines = threading.Event(), list[tuple[str, dict[str, Any]]]()

    def say(event: str, **facts: Any) -> None:
        lines.append((event, facts))
        if len([each for each, _ in lines if each == "progress"]) == 3:
            heard.set()

    with Progress(say, every_s=0.01) as progress:
        progress.stage("upload", 4 << 20, parts=2)
        progress.advance(1 << 20)
        assert heard.wait(60), "no line while the work waits"

    assert ("upload", {"parts": 2}) == lines[0]
    event, facts = lines[-1]
    assert ("progress", "upload", 1, 4, 25) == (
        event,
        *(facts[key] for key in ("stage", "mib", "of_mib", "percent")),
    )
    count = len(lines)
    time.sleep(0)
    assert count == len(lines), "nothing is said after the end"


def test_a_pace_is_the_average() -> None:
    """Each MiB costs its time; 0 is no limit."""
    free, slow = Pace(0), Pace(1)
    assert 0 == free.pause_s(1 << 40)
    first, second = slow.pause_s(100 << 20), slow.pause_s(100 << 20)
    assert 50 < first <= 100
    assert first < second <= 200
