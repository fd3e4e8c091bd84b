"""Which of Debian's own packages are missing, and may they be installed?

House rule: nothing is asked of the network when nothing is missing.
"""

import os
from pathlib import Path

from kind_test_helpers.builders import BUILD_SECONDS_MAX, environment
from kind_test_helpers.commands import run
from kind_test_helpers.failures import CommandFailed, Unavailable
from kind_test_helpers.progress import say, stage
from kind_test_helpers.recipes import DEBIAN_PACKAGES


def missing_packages() -> list[str]:
    """The packages whose telling file is not there."""
    absent = {name for path, name in DEBIAN_PACKAGES.items() if not Path(path).exists()}
    return sorted(absent)


def install_missing() -> None:
    """Install what is missing; raise `Unavailable` with the command where that cannot be done."""
    missing = missing_packages()
    if not missing:
        say("Debian packages: all there")
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        raise Unavailable(f"Debian packages are missing: run `{command}` as root, then again.")
    if not Path("/usr/bin/apt-get").exists():
        raise Unavailable(
            f"These programs are missing and there is no apt-get: install {', '.join(missing)}."
        )
    try:
        with stage("apt-get update"):
            _apt("update")
        with stage(f"apt-get install {' '.join(missing)}"):
            _apt("install", "--yes", "--no-install-recommends", *missing)
    except CommandFailed as failed:
        raise Unavailable(f"`{command}` failed; run it by hand and see why.\n{failed}") from failed
    if still := missing_packages():
        raise Unavailable(f"apt-get left {', '.join(still)} missing: install them by hand.")


def _apt(*arguments: str) -> None:
    run(
        "apt-get",
        "--quiet",
        "-o",
        "DPkg::Lock::Timeout=600",
        *arguments,
        environment=environment(),
        seconds_max=BUILD_SECONDS_MAX,
    )
