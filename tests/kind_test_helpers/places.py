"""Where do the helpers keep things: tools, images, running clusters?

House rule: only this module reads the environment for a place, and it reads it at every call, so
that a test may choose another. The trap: nothing here may be under /tmp of one session, or a
cluster that an interrupted run left behind could not be found again.
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).parent
REPOSITORY = PACKAGE.parent.parent


def cache() -> Path:
    """The folder of built tools and images, kept by `make down`."""
    return Path(os.environ.get("FAUNA_TOOLS") or Path.home() / ".cache" / "fauna-tools")


def run_folder() -> Path:
    """The folder of everything that belongs to running clusters: kubeconfig, ledger, logs."""
    return Path(os.environ.get("FAUNA_RUN") or REPOSITORY / ".run")
