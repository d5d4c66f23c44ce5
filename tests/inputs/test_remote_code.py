"""No checkpoint and no data set runs its own code: each call of a loader forbids it.

A library that is told nothing asks on a terminal, and a `y` runs what the checkpoint holds.
"""

import ast

import pytest

from prunescope.inputs import sources
from prunescope.paths import SCRIPTS
from prunescope.progress import JobError

LOADERS = {
    "from_pretrained",
    "from_config",
    "load_dataset",
    "pipeline",
    "HFLM",
}
"""Functions that can run code which a checkpoint or data set brings along.

`load_dataset_builder` is not one: it refuses scripts and takes no such argument.
"""


def trusting_calls(source):
    """Lines of calls of a loader without `trust_remote_code=False`."""
    tree = ast.parse(source)
    adapters = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and "HFLM" in map(ast.unparse, node.bases)
        for part in ast.walk(node)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func).split(".")[-1] in LOADERS
            or (node in adapters and ast.unparse(node.func) == "super().__init__")
        )
        and not any(
            keyword.arg == "trust_remote_code" and ast.unparse(keyword.value) == "False"
            for keyword in node.keywords
        )
    ]


OF_EXPORTS = SCRIPTS / "prunescope/compression/export_proof.py"
"""It loads checkpoints that were just written, whose code is a copy of ours."""


@pytest.mark.parametrize("file", sorted(SCRIPTS.rglob("*.py")), ids=lambda file: file.stem)
def test_calls_of_loaders_forbid_remote_code(file):
    calls = trusting_calls(file.read_text(encoding="utf-8"))
    assert len(calls) == (1 if file == OF_EXPORTS else 0)


@pytest.mark.parametrize(
    "call",
    [
        "AutoModel.from_pretrained(folder)",
        "KINDS[kind].from_pretrained(folder, trust_remote_code=True)",
        "auto.from_config(config, trust_remote_code=trusted)",
        "load_dataset(name)",
        "class LM(HFLM):\n def __init__(self):\n  super().__init__(pretrained=model)",
    ],
)
def test_a_call_that_allows_remote_code_is_found(call):
    assert trusting_calls(call)


def test_every_checked_loader_is_in_use():
    """If the scripts called none of them, the test above would check nothing."""
    text = " ".join(file.read_text(encoding="utf-8") for file in SCRIPTS.rglob("*.py"))
    used = {loader for loader in LOADERS if f".{loader}(" in text}
    assert used >= {"from_pretrained", "from_config", "load_dataset"}
    assert "(HFLM)" in text


def test_a_loading_script_of_a_local_data_set_is_not_run(tmp_path):
    """A data set with a loading script of the same name is refused."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "a row"}\n')
    (folder / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    source = {"from": "path", "path": str(folder)}
    with pytest.raises(JobError, match=r"found set\.py"):
        list(sources.rows(source, tmp_path / "scratch"))
    assert not (tmp_path / "ran").exists()
