"""The package has layers: a module imports from its own folder and from lower layers."""

import ast

import pytest

from prunescope.paths import SCRIPTS

PACKAGE = SCRIPTS / "prunescope"

LAYERS = (
    {"paths", "progress", "finite", "moved"},
    {"tables"},
    {"storage"},
    {"machine", "sandbox", "inputs"},
    {"model"},
    {"measures"},
    {"compression", "theory"},
    {"tracing"},
    {"checking", "evaluation", "inference"},
    {"report"},
    {"workflow"},
)
"""From the lowest to the highest; docs/architecture.md says what each is for."""

RANK = {folder: rank for rank, folders in enumerate(LAYERS) for folder in folders}

MODULES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


def folder_of(parts):
    """The folder of a module, or the module itself where it stands in none."""
    return parts[0].removesuffix(".py")


def imported(file):
    """Folders, or modules outside any, that a file imports from anywhere in it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            package, *parts = node.module.split(".")
            if package == "prunescope":
                yield from [parts[0]] if parts else [alias.name for alias in node.names]


def test_every_folder_has_a_layer():
    found = {folder_of(file.relative_to(PACKAGE).parts) for file in MODULES}
    assert found == set(RANK)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_are_from_lower_layers(file):
    own = folder_of(file.relative_to(PACKAGE).parts)
    for folder in imported(file):
        assert folder == own or RANK[folder] < RANK[own], f"{own} imports {folder}"
