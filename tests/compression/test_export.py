"""An exported checkpoint equals the variant and needs transformers alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import export_model as script
from prunescope.compression import export
from prunescope.model import anatomy, edits, loading, tokenization
from prunescope.model.replacements import KeptColumns, KeptRows
from prunescope.storage import store
from prunescope.tracing import costs
from tiny import ARCHITECTURES, CAPPED, DROPPABLE, TEXTS, make_tiny_model

PROMPTS = {f"p{i}": {"kind": "open_ended", "text": text} for i, text in enumerate(TEXTS)}
SETTINGS = {
    "model": "m",
    "variant": "v",
    "edit": {"method": "sublayer_drop", "sublayer": "attn"},
    "calibration": {"corpus": "c"},
    "seed": 0,
}
DROPS = [
    {"attn": (0, 2)},
    {"mlp": (1,)},
    {"attn": (0, 1, 2), "mlp": (0, 1, 2)},
    {"attn": (2,), "mlp": (1, 2), "block": (0,)},
]


@pytest.fixture(autouse=True)
def quick_timing(monkeypatch):
    """One timed run: these tests are about what is written, not about how fast it is."""
    monkeypatch.setattr(costs, "RUNS", 1)


def _exported(tmp_path, dense_folder, edit, dtype="float32", form="small"):
    edits.write(tmp_path / "edit.safetensors", edit, {})
    script.export_model(
        loading.VariantSource(
            str(dense_folder), str(tmp_path / "edit.safetensors"), dtype, threads=1
        ),
        prompt_texts=PROMPTS,
        checkpoint_dir=str(tmp_path / "exported"),
        form=form,
        made_by=store.provenance("export_model", {**SETTINGS, "form": form}),
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


def _loaded(folder):
    with_code = (folder / "pruned_model.py").exists()
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=with_code).eval()


@pytest.mark.parametrize("form", export.FORMS)
@pytest.mark.parametrize("dropped", DROPS, ids=str)
def test_checkpoint_gives_the_logits_of_the_variant(dense_folder, dropped, form, tmp_path):
    """The logits are exactly those of the variant, and dropped blocks are removed."""
    folder = _exported(tmp_path, dense_folder, edits.Edit(dropped), form=form)
    exported = _loaded(folder)
    variant = loading.apply_edit(
        AutoModelForCausalLM.from_pretrained(dense_folder), edits.Edit(dropped)
    )
    ids = _ids(dense_folder)
    torch.testing.assert_close(exported(ids).logits, variant(ids).logits, rtol=0, atol=0)
    assert exported.config.num_hidden_layers == 3 - len(dropped.get("block", ()))
    _check_greedy_decoding(exported, ids)


@pytest.mark.parametrize("architecture", [*DROPPABLE, *CAPPED])
@pytest.mark.parametrize("form", export.FORMS)
def test_sublayers_of_other_architectures_are_exported_too(architecture, form, tmp_path):
    """Experts, Conv1D layers and mixed windows: logits are those of the variant."""
    dense = make_tiny_model(tmp_path / "dense", architecture)
    edit = edits.Edit({"attn": (0, 2), "mlp": (1,)})
    exported = _loaded(_exported(tmp_path, dense, edit, form=form))
    variant = loading.apply_edit(AutoModelForCausalLM.from_pretrained(dense), edit)
    ids = _ids(dense)
    torch.testing.assert_close(exported(ids).logits, variant(ids).logits)
    _check_greedy_decoding(exported, ids)


def _check_greedy_decoding(model, ids):
    """Greedy decoding with a cache gives the tokens with the largest logits of a single pass."""
    generated = model.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=-1)
    likeliest = model(generated[:, :-1]).logits.argmax(-1)
    assert generated.shape[1] == ids.shape[1] + 4
    assert torch.equal(likeliest[:, ids.shape[1] - 1 :], generated[:, ids.shape[1] :])


def test_replaced_tensors_are_written_unchanged(dense_folder, tmp_path):
    """Tensors that the edit does not replace are those of the dense model."""
    dense = AutoModelForCausalLM.from_pretrained(dense_folder)
    name = f"model.layers.1.{anatomy.anatomy_of(dense).mlp_out}.weight"
    sparse = dense.get_parameter(name).clone()
    sparse[:, ::2] = 0
    exported = AutoModelForCausalLM.from_pretrained(
        _exported(tmp_path, dense_folder, edits.Edit(tensors={name: sparse}))
    )
    for other, parameter in exported.named_parameters():
        assert torch.equal(parameter, sparse if other == name else dense.get_parameter(other))


def _without_every_second_neuron(blocks):
    keep = torch.arange(40) % 2 == 0
    packed = {
        "gate_proj": KeptRows.by(keep),
        "up_proj": KeptRows.by(keep),
        "down_proj": KeptColumns.by(keep),
    }
    return edits.Edit(
        tensors={
            f"model.layers.{block}.mlp.{linear}.weight": replacement
            for block in blocks
            for linear, replacement in packed.items()
        }
    )


def test_fewer_neurons_become_a_smaller_intermediate_size(llama, tmp_path):
    """Without half of the neurons of every MLP, the logits are those of the variant."""
    edit = _without_every_second_neuron(blocks=(0, 1, 2))
    exported = AutoModelForCausalLM.from_pretrained(_exported(tmp_path, llama, edit))
    variant = loading.apply_edit(AutoModelForCausalLM.from_pretrained(llama), edit)
    assert exported.config.intermediate_size == 20
    assert exported.model.layers[1].mlp.down_proj.weight.shape == (24, 20)
    torch.testing.assert_close(
        exported(_ids(llama)).logits, variant(_ids(llama)).logits, rtol=0, atol=0
    )


def test_mlps_of_different_size_are_refused(llama, tmp_path):
    with pytest.raises(ValueError, match=r"20 to 40 neurons.*intermediate_size"):
        _exported(tmp_path, llama, _without_every_second_neuron(blocks=(1,)))


def test_only_transformers_is_needed(llama, tmp_path):
    """A process that cannot import prunescope loads the folder and generates text."""
    folder = _exported(tmp_path, llama, edits.Edit({"attn": (1,), "block": (0,)}))
    lines = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer",
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)",
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)",
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


def test_all_files_have_the_same_permissions(llama, tmp_path):
    folder = _exported(tmp_path, llama, edits.Edit({"attn": (1,)}))
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


def test_tied_embeddings_stay_tied(tmp_path):
    dense = make_tiny_model(tmp_path / "dense", tie_word_embeddings=True)
    exported = AutoModelForCausalLM.from_pretrained(
        _exported(tmp_path, dense, edits.Edit({"block": (1,)}))
    )
    assert exported.lm_head.weight.data_ptr() == exported.model.embed_tokens.weight.data_ptr()


def test_half_precision_stays_half_precision(llama, tmp_path):
    folder = _exported(tmp_path, llama, edits.Edit({"mlp": (2,)}), dtype="bfloat16")
    assert _loaded(folder).dtype == torch.bfloat16
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_checkpoint_contains_its_provenance_and_proof(llama, tmp_path):
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


def _write_with(monkeypatch, change):
    """Let the weights of token 7 in lm_head be changed in what is written."""
    write = export.write

    def write_other_weights(folder, *args):
        model = write(folder, *args)
        file = folder / "model.safetensors"
        tensors = load_file(file)
        change(tensors["lm_head.weight"][7])
        save_file(tensors, file, {"format": "pt"})
        return model

    monkeypatch.setattr(export, "write", write_other_weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_weight_that_is_not_a_number_is_refused(llama, tmp_path, monkeypatch, dtype):
    _write_with(monkeypatch, lambda weights: weights.fill_(torch.nan))
    with pytest.raises(ValueError, match=r"lm_head\.weight of the checkpoint differs"):
        _exported(tmp_path, llama, edits.Edit({"mlp": (2,)}), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_code_that_drops_another_sublayer_is_refused(llama, tmp_path, monkeypatch, dtype):
    """The code removes a norm that the variant has: the checkpoint has a tensor too many."""
    missing_parts = export._missing_parts

    def other_norms(model, edit):
        parts = missing_parts(model, edit)
        parts["attn"]["norms"] = ["post_attention_layernorm"]  # of the MLP, which stays
        return parts

    monkeypatch.setattr(export, "_missing_parts", other_norms)
    with pytest.raises(ValueError, match="do not have the same tensors"):
        _exported(tmp_path, llama, edits.Edit({"attn": (2,)}), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_apart_by_more_than_rounding_are_refused(llama, tmp_path, monkeypatch, dtype):
    """Equal tensors with another epsilon in the norms: logits differ by more than the floor."""
    write = export.write

    def write_other_epsilon(folder, *args):
        model = write(folder, *args)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.3}))
        return model

    monkeypatch.setattr(export, "write", write_other_epsilon)
    with pytest.raises(ValueError, match="which rounding explains"):
        _exported(tmp_path, llama, edits.Edit({"mlp": (2,)}), dtype=dtype)


def test_a_checkpoint_that_differs_from_the_variant_is_refused(llama, tmp_path, monkeypatch):
    """One row of weights differs by a thousandth: the job fails, and no folder is left."""
    _write_with(monkeypatch, lambda weights: weights.mul_(1.001))
    with pytest.raises(ValueError, match=r"lm_head\.weight of the checkpoint differs"):
        _exported(tmp_path, llama, edits.Edit({"mlp": (2,)}))
    assert [path.name for path in Path(tmp_path).iterdir()] == ["edit.safetensors"]


def test_dropped_sublayers_cost_nothing_once_loaded(llama, tmp_path):
    """Of three blocks with two attention sublayers left, two thirds of the cache are left."""
    dropped = edits.Edit({"attn": (0,), "mlp": (2,)})
    folder = _exported(tmp_path, llama, dropped)
    exported, dense = _loaded(folder), AutoModelForCausalLM.from_pretrained(llama)
    ids = _ids(llama)
    cached = [costs.cache_bytes_per_token(model, ids[0]) for model in (dense, exported)]
    assert 3 * cached[1] == 2 * cached[0] > 0
    gone = {
        *(f"model.layers.0.self_attn.{name}_proj.weight" for name in "qkvo"),
        *(f"model.layers.2.mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
        "model.layers.0.input_layernorm.weight",
        "model.layers.2.post_attention_layernorm.weight",
    }
    tensors = dict(dense.named_parameters())
    assert {*tensors} - {name for name, _ in exported.named_parameters()} == gone
    said = json.loads((folder / "prunescope.json").read_text())["savings"]
    saved = said["dense"]["weight_bytes"] - said["exported"]["weight_bytes"]
    assert saved == sum(tensors[name].nbytes for name in gone)
    assert said["exported"]["kv_cache_bytes_per_token"] == cached[1]
    assert said["dense"]["file_bytes"] - said["exported"]["file_bytes"] > saved


def test_without_trust_the_small_form_is_refused_and_the_stock_form_loads(llama, tmp_path):
    edit = edits.Edit({"attn": (0,)})
    small = _exported(tmp_path / "1", llama, edit)
    stock = _exported(tmp_path / "2", llama, edit, form="stock")
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForCausalLM.from_pretrained(small, trust_remote_code=False)
    loaded = AutoModelForCausalLM.from_pretrained(stock, trust_remote_code=False)
    torch.testing.assert_close(loaded(_ids(llama)).logits, _loaded(small)(_ids(llama)).logits)
    assert "same memory, time and key-value cache" in (stock / "README.md").read_text()


def test_model_card_says_how_the_variant_was_made_and_what_it_saves(llama, tmp_path):
    (llama / "README.md").write_text("The dense model's own words.")
    folder = _exported(tmp_path, llama, edits.Edit({"attn": (0, 2)}))
    card = (folder / "README.md").read_text()
    assert (folder / "README-dense.md").read_text() == "The dense model's own words."
    assert "Dropped: attention of blocks 0, 2 of the dense model" in card
    assert "{'method': 'sublayer_drop', 'sublayer': 'attn'}" in card
    assert "{'corpus': 'c'}" in card
    assert "| key-value cache per token, bytes | 288 | 96 | 0.333 |" in card
