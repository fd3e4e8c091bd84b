"""Are the tools in the cache, and if not, who makes them?

`python -m kind_test_helpers.tools [name…]` fills the cache; without names, with everything that
`make run` and `make test` need. House rules: standard library only, because this runs before
anything is installed; a result appears by one rename under a lock, so that a killed build leaves
nothing that looks finished and two builds never make the same thing twice.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from kind_test_helpers.builders import BUILDERS
from kind_test_helpers.debian import install_missing
from kind_test_helpers.failures import CommandFailed, HangLimit, Unavailable
from kind_test_helpers.locks import held
from kind_test_helpers.places import cache
from kind_test_helpers.progress import say, stage
from kind_test_helpers.recipes import KIND, Builder, Recipe


def ensure(recipe: Recipe, builders: Mapping[Recipe, Builder] = BUILDERS) -> Path:
    """Return the finished result of a recipe; make it and its needs first if it is missing."""
    if recipe.path.exists():
        return recipe.path
    for need in recipe.needs:
        ensure(need, builders)
    with held(recipe.folder.name):
        if recipe.path.exists():  # made by another process while this one waited
            return recipe.path
        unfinished = recipe.folder.with_name(f"{recipe.folder.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        with stage(f"{recipe.name} {recipe.version}"):
            builders[recipe](recipe, unfinished)
        assert (unfinished / recipe.result).exists(), f"the builder of {recipe.name} made nothing"
        shutil.rmtree(recipe.folder, ignore_errors=True)
        unfinished.rename(recipe.folder)
    return recipe.path


def forget_go_work() -> None:
    """Remove Go's downloads and half-built packages: 7 GB that only an interrupted build needs."""
    work = cache() / "go-work"
    if work.exists():
        with held("go-work"), stage("removing what only the builds of Go needed"):
            shutil.rmtree(work, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Fill the cache and print where things are."""
    by_name = {recipe.name: recipe for recipe in BUILDERS}
    if unknown := [name for name in arguments if name not in by_name]:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(by_name)}", file=sys.stderr)
        return 64
    try:
        install_missing()
        everything = [recipe for recipe in BUILDERS if recipe is not KIND]  # only with Docker
        for recipe in [by_name[name] for name in arguments] or everything:
            say(f"{recipe.name} {recipe.version}: {ensure(recipe)}")
        forget_go_work()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 69
    except (CommandFailed, HangLimit) as failed:
        print(f"A tool could not be made; the command below says why.\n{failed}", file=sys.stderr)
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
