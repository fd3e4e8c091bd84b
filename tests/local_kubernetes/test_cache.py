"""A tool is made once, appears whole, and is made anew when its recipe changes."""

from dataclasses import replace
from pathlib import Path

import pytest

from kind_test_helpers import recipes, tools
from kind_test_helpers.builders import BUILDERS
from kind_test_helpers.places import cache
from kind_test_helpers.recipes import GO, KUBE_LOCAL, PAUSE, Recipe

TOY = Recipe("toy", "1", ("a",), result="toy")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUNA_TOOLS", str(tmp_path))


def test_every_recipe_has_a_builder_and_a_name_of_its_own() -> None:
    """No recipe is only written down."""
    written = {each for each in vars(recipes).values() if isinstance(each, Recipe)}

    assert written == set(BUILDERS)
    assert len(written) == len({each.name for each in written})


@pytest.mark.parametrize(
    "changed",
    [
        replace(TOY, version="2"),
        replace(TOY, name="toys"),
        replace(TOY, ingredients=("b",)),
        replace(TOY, needs=(GO,)),
        replace(TOY, sources=(Path(__file__),)),
    ],
)
def test_a_changed_recipe_has_another_folder(changed: Recipe) -> None:
    """Whatever decides the result decides the folder."""
    assert TOY.folder != changed.folder


def test_a_changed_need_changes_who_needs_it() -> None:
    """Another Go is another Kubernetes."""
    other = replace(KUBE_LOCAL, needs=(replace(GO, version="1.99"),))

    assert KUBE_LOCAL.digest != other.digest


def test_a_tool_is_made_once() -> None:
    """The second time nothing is built."""
    built: list[Recipe] = []

    def build(recipe: Recipe, folder: Path) -> None:
        built.append(recipe)
        (folder / recipe.result).write_text("made")

    assert [TOY.path] * 2 == [tools.ensure(TOY, {TOY: build}) for _ in range(2)]
    assert [TOY] == built
    assert "made" == TOY.path.read_text()


def test_a_killed_build_leaves_nothing_finished() -> None:
    """What stands in `.tmp` is thrown away by the next build."""

    def build(recipe: Recipe, folder: Path) -> None:
        assert [] == list(folder.iterdir())
        (folder / recipe.result).write_text("half")
        raise KeyboardInterrupt

    def finish(recipe: Recipe, folder: Path) -> None:
        assert [] == list(folder.iterdir())
        (folder / recipe.result).write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        tools.ensure(TOY, {TOY: build})
    assert not TOY.path.exists()

    assert "whole" == tools.ensure(TOY, {TOY: finish}).read_text()


def test_an_unknown_tool_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says what there is."""
    assert 64 == tools.main(["nothing"])
    assert "unknown: nothing; there are go, node" in capsys.readouterr().err


def test_folders_tell_name_version_and_digest() -> None:
    """`{name}-{version}-{digest}` in the cache that the environment names."""
    assert cache() / f"pause-{PAUSE.version}-{PAUSE.digest}" == PAUSE.folder
