"""Requirements, constraints and the environments of rules agree on their pins."""

import ast
import re
import sys
from importlib import metadata

import pytest
import yaml

from prunescope.paths import ROOT
from prunescope.workflow import fingerprint
from rules_of import RULES

ENVS = sorted((ROOT / "envs").glob("*.yaml"))


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines):
    """Name -> version of `name==version` or conda's `name=version`; the rest is an error."""
    found = {}
    for line in lines:
        stripped = line.split("#")[0].strip()
        if stripped:
            match = re.fullmatch(r"([A-Za-z0-9_.-]+)==?([^=\s]+)", stripped)
            assert match, f"{stripped!r} is not pinned exactly"
            found[normal(match[1])] = match[2]
    return found


def file_pins(name):
    return pins((ROOT / name).read_text(encoding="utf-8").splitlines())


def env_pins(file):
    """Pins of one environment, conda's and pip's, without python and pip themselves."""
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"]
    lines = [entry for entry in entries if isinstance(entry, str) and entry != "pip"]
    nested = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    found = pins([*lines, *nested])
    assert found.pop("python") == "3.11"
    return found


def test_constraints_include_the_requirements():
    constraints = file_pins("constraints.txt")
    for name, version in file_pins("requirements.txt").items():
        assert constraints[name] == version, name


def test_torch_has_the_version_of_all_measurements():
    """2.13.0 without a local version, for CPU and GPU."""
    assert file_pins("requirements.txt")["torch"] == "2.13.0"
    assert not any(name.startswith("nvidia") for name in file_pins("constraints.txt"))


def test_constraints_include_every_dependency():
    """All indirect dependencies on this platform are pinned too."""
    constraints = file_pins("constraints.txt")
    waiting, seen = list(file_pins("requirements.txt")), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.startswith(("nvidia", "cuda", "triton", "setuptools")):
            continue  # what torch brings for a GPU is torch's own exact pin
        seen.add(name)
        assert name in constraints, f"{name} is not pinned in constraints.txt"
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # a check's dependency that this environment does without
        waiting += [normal(re.match(r"[\w.-]+", line)[0]) for line in needed if ";" not in line]


@pytest.mark.parametrize("env", ENVS, ids=lambda env: env.name)
def test_environments_of_rules_have_the_same_pins(env):
    required = file_pins("requirements.txt")
    for name, version in env_pins(env).items():
        assert required.get(name) == version, f"{name} in {env.name}"


def imported(file):
    """Top-level names that running a file imports, not what a function may import later."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_environments_of_rules_include_all_imported_packages(rule):
    """Those imported by the script of the rule and by its modules."""
    files = fingerprint._reachable_files(ROOT / "scripts" / rule.script) | fingerprint.CARRIERS
    local = {"prunescope", *(path.stem for path in (ROOT / "scripts").glob("*.py"))}
    names = {name for file in files if file.suffix == ".py" for name in imported(file)} - local
    distributions = metadata.packages_distributions()
    pinned = env_pins(ROOT / "envs" / rule.env)
    for name in sorted(names - sys.stdlib_module_names):
        assert any(normal(owner) in pinned for owner in distributions[name]), (
            f"{rule.name} imports {name}, which envs/{rule.env} lacks"
        )
