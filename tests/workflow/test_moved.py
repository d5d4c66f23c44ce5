"""Import paths of 0.1 give the modules of 0.2."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from prunescope import moved, paths

FOLDERS = {"prunescope.evaluation", "prunescope.tracing", "prunescope.theory", "prunescope.sandbox"}


def test_an_old_import_path_gives_the_module():
    for old in sorted(set(moved.MOVED) - FOLDERS - {"prunescope.lm_eval_tasks"}):
        sys.modules.pop(old, None)
        with pytest.warns(FutureWarning, match=moved.MOVED[old]):
            module = importlib.import_module(old)
        assert module is importlib.import_module(moved.MOVED[old])


@pytest.mark.parametrize("old", sorted(FOLDERS))
def test_a_folder_named_like_an_old_module_has_its_names(old):
    module = importlib.import_module(moved.MOVED[old])
    name = next(
        n
        for n, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
    )
    with pytest.warns(FutureWarning, match=moved.MOVED[old]):
        assert getattr(importlib.import_module(old), name) is getattr(module, name)


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_module_of_a_folder_is_not_an_old_name(folder):
    """`from folder import module` asks the folder for the name first; only that is imported."""
    own = paths.SCRIPTS.joinpath(*folder.split("."))
    for name in (file.stem for file in own.glob("[!_]*.py")):
        with pytest.raises(AttributeError, match=name):
            moved.names_of(folder)(name)


def test_the_repository_uses_no_old_import_path():
    """All modules are imported in a process that treats an old path as an error."""
    package = paths.SCRIPTS / "prunescope"
    names = [
        ".".join(file.relative_to(paths.SCRIPTS).with_suffix("").parts)
        for file in sorted(package.rglob("*.py"))
        if "lm_eval_tasks" not in file.parts and file.name != "__init__.py"
    ]
    statement = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    run = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning:prunescope", "-c", statement],
        env={"PYTHONPATH": str(paths.SCRIPTS), "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
