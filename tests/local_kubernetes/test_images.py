"""An image's tag is decided by exactly what a build reads."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from kind_test_helpers.archives import Entry, layer_of, rewrite_layer, write_image
from kind_test_helpers.images import sources, tag_of
from kind_test_helpers.local.node import reference_in
from kind_test_helpers.places import REPOSITORY

COPIED = ("Dockerfile", ".dockerignore", "pyproject.toml", "constraints.txt", "README.md")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in COPIED:
        shutil.copy(REPOSITORY / name, tmp_path)
    for package in ("database/faunadb", "database/fauna_client", "operator/fauna_operator"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text('"""A package."""\n')
    return tmp_path


@pytest.mark.parametrize(
    "changed", [*(each for each in COPIED if each != ".dockerignore"), "database/faunadb/more.py"]
)
def test_what_is_read_decides_the_tag(repository: Path, changed: str) -> None:
    """A new line anywhere in what a build reads is a new image."""
    before = tag_of(repository)

    with (repository / changed).open("a") as file:
        file.write("\n")

    assert before != tag_of(repository)


@pytest.mark.parametrize(
    "changed",
    [
        "Makefile",
        "tests/test_nothing.py",
        "database/faunadb_sim/world.py",
        "database/faunadb/__pycache__/cli.cpython-311.pyc",
        ".venv/pyvenv.cfg",
    ],
)
def test_what_is_not_read_does_not(repository: Path, changed: str) -> None:
    """A new test does not build a new image."""
    before = tag_of(repository)

    path = repository / changed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n")

    assert before == tag_of(repository)


def test_every_copied_path_is_let_in() -> None:
    """What the Dockerfile copies from the checkout is in the tag."""
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    copied = {
        word.rstrip("*")
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    read = {path.relative_to(REPOSITORY).parts[0] for path in sources(REPOSITORY)}

    assert copied <= {*read, "LICENSE"}


def test_nothing_but_packages_and_their_description_is_let_in() -> None:
    """A secret in the checkout, or a test, never reaches an image."""
    tops = {path.relative_to(REPOSITORY).parts[0] for path in sources(REPOSITORY)}

    assert tops <= {
        *("Dockerfile", "LICENSE", "README.md", "constraints.txt", "pyproject.toml"),
        *("database", "operator"),
    }


def test_an_archive_names_its_image(tmp_path: Path) -> None:
    """A node can tell whether it has the image of an archive without loading it."""
    archive = tmp_path / "image.tar"
    layer = layer_of([Entry("pause", b"program", 0o755)])
    write_image(
        archive, name="docker.io/x/y:1", layer=layer, machine="x86_64", settings={"User": "1"}
    )

    assert "docker.io/x/y:1" == reference_in(archive)
    with tarfile.open(archive) as tar:
        configuration = tar.extractfile(tar.getnames()[0])
        assert configuration is not None
        assert {"User": "1"} == json.load(configuration)["config"]


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    """Times and order of the unpacked files do not change a layer."""
    layers = []
    for order in (("a", "b"), ("b", "a")):
        packed = tmp_path / f"{order[0]}.tar"
        with tarfile.open(packed, "w") as tar:
            for name in order:
                path = tmp_path / name
                path.write_text("content of a file")
                tar.add(path, name)
        layers.append(rewrite_layer(packed, lambda _: True, [Entry("added", b"")]))

    assert layers[0] == layers[1]
