"""One row of `variant_cost` follows from a model folder, an edit and answers."""

import pyarrow as pa
import pytest
import torch

import measure_variant as script
from prunescope.model import edits, loading
from prunescope.storage import store
from prunescope.tables.schemas import TABLES
from prunescope.tracing import costs
from tiny import make_tiny_model

ANSWERS = [
    {"prompt": "a", "prompt_token_ids": [5, 17, 3], "answer_token_ids": [42, 8]},
    {"prompt": "b", "prompt_token_ids": [7, 11], "answer_token_ids": [13]},
]
REST = {
    "kind": "arithmetic",
    "text": "",
    "rendered": "",
    "sampling_temperature": 0.0,
    "answer_text": "",
    "stopped": True,
}


@pytest.fixture
def measured(tmp_path):
    """The row of a llama without its second block."""
    edits.write(tmp_path / "edit.safetensors", edits.Edit({"block": (1,)}), {})
    schema = TABLES["dense_answer"].schema
    rows = pa.Table.from_pylist([{**REST, **answer} for answer in ANSWERS], schema)
    store.write(tmp_path / "answers.parquet", rows, "dense_answer", {})
    script.measure_variant(
        loading.VariantSource(
            str(make_tiny_model(tmp_path / "model")),
            str(tmp_path / "edit.safetensors"),
            "float32",
            threads=2,
        ),
        answers_file=str(tmp_path / "answers.parquet"),
        cost_file=str(tmp_path / "cost.parquet"),
        method="block_drop",
        steps=2,
        made_by={},
    )
    (row,) = store.read(tmp_path / "cost.parquet", "variant_cost").to_pylist()
    return row, tmp_path


def test_one_row_describes_both_models(measured):
    row, folder = measured
    assert row["kv_cache_bytes_per_token"] * 3 == row["kv_cache_bytes_per_token_dense"] * 2
    assert row["parameters"] * 4 == row["bytes"] < row["bytes_dense"]
    assert row["bytes_edit"] == (folder / "edit.safetensors").stat().st_size
    assert (row["method"], row["device"], row["steps"]) == ("block_drop", "cpu", 3)
    assert 0 < row["similarity_probability"] < 1


def test_the_timed_prompt_repeats_the_texts():
    prompt = costs.timed_prompt(
        answer[part] for answer in ANSWERS for part in ("prompt_token_ids", "answer_token_ids")
    )
    said = torch.tensor([5, 17, 3, 42, 8, 7, 11, 13])
    assert prompt.shape == (costs.PREFILL_TOKENS,)
    assert torch.equal(prompt[:16], said.repeat(2))
