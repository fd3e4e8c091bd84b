"""What has to be undone, even when the run that did it was killed?

House rule: written before the deed, never after; replaced by a rename, so that it is whole at any
instant. Since every name follows from the layout, the ledger is short.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kind_test_helpers.local.layout import Layout


@dataclass(slots=True)
class Ledger:
    """One cluster's entry: its layout and the few things that its names do not tell."""

    layout: Layout
    folders_made: list[str] = field(default_factory=list)  # outside the cluster's own folder
    controllers_made: list[str] = field(default_factory=list)  # cgroup version 2, at the root
    firewall: bool = False  # whether our chain stands in the host's iptables

    def save(self, folder: Path) -> None:
        """Write it so that a reader sees the old one or the new one."""
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / "ledger.json.tmp"
        unfinished.write_text(json.dumps(asdict(self), indent=1))
        unfinished.rename(folder / "ledger.json")

    @classmethod
    def load(cls, folder: Path) -> "Ledger | None":
        """Read it; None when there is no cluster."""
        try:
            text = (folder / "ledger.json").read_text()
        except FileNotFoundError:
            return None
        stored = json.loads(text)
        return cls(**{**stored, "layout": Layout(**stored["layout"])})
