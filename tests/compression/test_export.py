"""An exported checkpoint is the variant, for anyone who has transformers and nothing of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import export_model as script
from prunescope.compression import export
from prunescope.model import anatomy, edits, loading, tokenization
from prunescope.model.replacements import Columns, Rows
from prunescope.storage import store
from tiny import ARCHITECTURES, TEXTS, make_tiny_model

PROMPTS = {f"p{i}": {"kind": "open_ended", "text": text} for i, text in enumerate(TEXTS)}
DROPS = [
    {"attn": (0, 2)},
    {"mlp": (1,)},
    {"attn": (0, 1, 2), "mlp": (0, 1, 2)},
    {"attn": (2,), "mlp": (1, 2), "block": (0,)},
]


def _exported(tmp_path, dense_folder, edit, dtype="float32"):
    edits.write(tmp_path / "edit.safetensors", edit, {})
    script.export_model(
        loading.VariantSource(
            str(dense_folder), str(tmp_path / "edit.safetensors"), dtype, threads=2
        ),
        prompt_texts=PROMPTS,
        checkpoint_dir=str(tmp_path / "exported"),
        made_by=store.provenance("export_model", {}),
    )
    return tmp_path / "exported"


@pytest.fixture(scope="module", params=ARCHITECTURES)
def dense_folder(request, tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("llama"))


def _ids(folder):
    return AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")["input_ids"]


@pytest.mark.parametrize("dropped", DROPS, ids=str)
def test_stock_transformers_gives_the_variants_logits(dense_folder, dropped, tmp_path):
    """Same logits as the variant that leaves sublayers out, and blocks are gone, not silenced."""
    folder = _exported(tmp_path, dense_folder, edits.Edit(dropped))
    found = AutoModelForCausalLM.from_pretrained(folder)
    variant = loading.apply_edit(
        AutoModelForCausalLM.from_pretrained(dense_folder), edits.Edit(dropped)
    )
    ids = _ids(dense_folder)
    torch.testing.assert_close(found(ids).logits, variant(ids).logits, rtol=0, atol=0)
    assert found.config.num_hidden_layers == 3 - len(dropped.get("block", ()))
    _generates_the_argmax_of_one_pass(found, ids)


def _generates_the_argmax_of_one_pass(model, ids):
    """Greedy decoding token by token on the cache says what one pass over all of it says."""
    written = model.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=-1)
    said = model(written[:, :-1]).logits.argmax(-1)
    assert written.shape[1] == ids.shape[1] + 4
    assert torch.equal(said[:, ids.shape[1] - 1 :], written[:, ids.shape[1] :])


def test_replaced_tensors_are_written_as_they_are(dense_folder, tmp_path):
    """Zeros stay zeros; what the edit does not name stays dense's."""
    dense = AutoModelForCausalLM.from_pretrained(dense_folder)
    name = f"model.layers.1.{anatomy.anatomy_of(dense).mlp_out}.weight"
    sparse = dense.get_parameter(name).clone()
    sparse[:, ::2] = 0
    found = AutoModelForCausalLM.from_pretrained(
        _exported(tmp_path, dense_folder, edits.Edit(tensors={name: sparse}))
    )
    for other, parameter in found.named_parameters():
        assert torch.equal(parameter, sparse if other == name else dense.get_parameter(other))


def _without_every_second_neuron(blocks):
    kept = torch.arange(40) % 2 == 0
    packed = {"gate_proj": Rows.by(kept), "up_proj": Rows.by(kept), "down_proj": Columns.by(kept)}
    return edits.Edit(
        tensors={
            f"model.layers.{block}.mlp.{linear}.weight": replacement
            for block in blocks
            for linear, replacement in packed.items()
        }
    )


def test_fewer_neurons_become_a_smaller_intermediate_size(llama, tmp_path):
    """Half of every MLP's neurons left out: weights that config describes, the variant's logits."""
    edit = _without_every_second_neuron(blocks=(0, 1, 2))
    found = AutoModelForCausalLM.from_pretrained(_exported(tmp_path, llama, edit))
    variant = loading.apply_edit(AutoModelForCausalLM.from_pretrained(llama), edit)
    assert found.config.intermediate_size == 20
    assert found.model.layers[1].mlp.down_proj.weight.shape == (24, 20)
    torch.testing.assert_close(
        found(_ids(llama)).logits, variant(_ids(llama)).logits, rtol=0, atol=0
    )


def test_blocks_of_different_size_have_no_plain_checkpoint(llama, tmp_path):
    with pytest.raises(ValueError, match=r"20 to 40 neurons.*intermediate_size"):
        _exported(tmp_path, llama, _without_every_second_neuron(blocks=(1,)))


def test_only_transformers_is_needed(llama, tmp_path):
    """A process that cannot import prunescope loads the folder and generates text."""
    folder = _exported(tmp_path, llama, edits.Edit({"attn": (1,), "block": (0,)}))
    lines = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer",
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])",
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])",
        "prompt = tokenizer('a letter without a sender', return_tensors='pt')",
        "print(model.generate(**prompt, max_new_tokens=5, eos_token_id=-1).shape[1] - "
        "prompt['input_ids'].shape[1])",
        "assert not any(name.startswith('prunescope') for name in sys.modules)",
        "assert not any('scripts' in path for path in sys.path)",
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", "\n".join(lines), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "5", run.stderr


def test_whoever_may_read_the_config_may_read_the_weights(llama, tmp_path):
    folder = _exported(tmp_path, llama, edits.Edit({"attn": (1,)}))
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


def test_tied_embeddings_stay_tied(tmp_path):
    dense = make_tiny_model(tmp_path / "dense", tie_word_embeddings=True)
    found = AutoModelForCausalLM.from_pretrained(
        _exported(tmp_path, dense, edits.Edit({"block": (1,)}))
    )
    assert found.lm_head.weight.data_ptr() == found.model.embed_tokens.weight.data_ptr()


def test_half_precision_stays_half_precision(llama, tmp_path):
    folder = _exported(tmp_path, llama, edits.Edit({"mlp": (2,)}), dtype="bfloat16")
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_folder_says_what_made_it_and_how_equal_it_is(llama, tmp_path):
    about = json.loads(
        (_exported(tmp_path, llama, edits.Edit({"mlp": (2,)})) / "prunescope.json").read_text()
    )
    tokenizer = loading.load_tokenizer(llama)
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
        )
        for text in TEXTS
    ]
    assert about["rule"] == "export_model"
    assert about["proof"]["largest_difference"] == 0
    assert about["proof"]["n_tokens"] == sum(
        len(tokenization.template_ids(tokenizer, text)) for text in texts
    )


def test_a_checkpoint_that_is_not_the_variant_is_refused(llama, tmp_path, monkeypatch):
    """One weight off by a thousandth: the error gives the difference, and no folder is left."""
    written = export.write

    def spoiled(folder, dense, edit, dense_folder):
        dense.lm_head.weight[7] *= 1.001
        written(folder, dense, edit, dense_folder)
        dense.lm_head.weight[7] /= 1.001

    monkeypatch.setattr(export, "write", spoiled)
    with pytest.raises(ValueError, match="logits of the checkpoint differ"):
        _exported(tmp_path, llama, edits.Edit({"mlp": (2,)}))
    assert [path.name for path in Path(tmp_path).iterdir()] == ["edit.safetensors"]
