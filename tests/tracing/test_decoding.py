"""Decoding traces equal decoding step by step for all histories, and their terms sum to Δz."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from pair_columns import by_name
from prunescope.measures import wording
from prunescope.model import edits, loading, prompts, unembedding
from prunescope.model.anatomy import anatomy_of, blocks_of
from prunescope.model.variant import Variant
from prunescope.tables.schemas import TABLES
from prunescope.tracing import decoding
from prunescope.tracing.answer_traces import trace_answers
from tiny import ARCHITECTURES, make_tiny_model, tiny_model

TEMPERATURES = (0.5, 1.0)
THRESHOLDS = {
    "degenerate": {
        "least_tokens": 4,
        "longest_loop_share": 0.25,
        "repeated_ngram_share": 0.4,
        "perplexity_ratio": 6,
    },
    "off_prompt": {"least_tokens": 4, "prompt_information": 0},
}
SEED = 3
LENGTH = 7
SETTINGS = decoding.DecodingSettings(LENGTH, SEED, TEMPERATURES, THRESHOLDS, 64)


def _answer(prompt="p", steps=6, temperature=0.0, kind="arithmetic", model_seed=5):
    """A row of `dense_answer` of random tokens."""
    ids = torch.randint(3, 100, (5 + steps,), generator=torch.Generator().manual_seed(model_seed))
    return {
        "prompt": prompt,
        "kind": kind,
        "text": "",
        "sampling_temperature": temperature,
        "prompt_token_ids": ids[:5].tolist(),
        "answer_token_ids": ids[5:].tolist(),
    }


def _edited(model):
    """A variant with attention 1 dropped and every linear of block 2 scaled."""
    prefix = anatomy_of(model).blocks
    edit = edits.Edit(
        {"attn": (1,)},
        {
            name: parameter * 0.7
            for name, parameter in model.named_parameters()
            if name.startswith(f"{prefix}.2.") and "proj" in name
        },
    )
    return edit, loading.apply_edit(model, edit)


def _compared(model, edit, variant, answer, own, memory_mb=64.0):
    at = decoding.states(model, Variant(variant, edit), answer, own)
    unembed = unembedding.output_of(model)
    return at, decoding.compare(at, unembed, answer, TEMPERATURES, memory_mb, SEED)


def test_the_identity_is_zero_under_every_history(model):
    """By the same code, to the last bit; it chooses what dense chooses."""
    tokens = model.generate(
        torch.tensor([_answer()["prompt_token_ids"]]), max_new_tokens=LENGTH, do_sample=False
    )[0, 5:].tolist()
    answer = {**_answer(), "answer_token_ids": tokens}
    variant = loading.apply_edit(model, edits.Edit())
    at, compared = _compared(model, edits.Edit(), variant, answer, tokens)
    columns = by_name(compared.statistics)
    for name in ("h.angular_deviation", "z.angular_deviation", "p.angular_deviation"):
        assert not columns[name].any(), name
    for name in ("p.kl_divergence", "p.reverse_kl_divergence", "z.var_uniform", "p.var_p"):
        assert not columns[name].any(), name
    assert not compared.term_norm.any()
    assert compared.variant_token.tolist() == [[token] * 4 for token in tokens]
    rows = decoding.tables_of(answer, tokens, at, compared)
    assert rows["history_term"]["share"].null_count == rows["history_term"].num_rows


def test_free_running_equals_decoding_with_a_cache(model):
    """Both models generate, and their logits are those that the trace compares."""
    edit, variant = _edited(model)
    prompt = _answer()["prompt_token_ids"]

    def generated(of):
        out = of.generate(
            torch.tensor([prompt]),
            max_new_tokens=LENGTH,
            do_sample=False,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return out.sequences[0, 5:].tolist(), torch.cat(out.logits)

    (tokens, z), (own, z_variant) = generated(model), generated(variant)
    assert tokens != own
    answer = {**_answer(), "answer_token_ids": tokens}
    at = decoding.states(model, Variant(variant, edit), answer, own)
    unembed = unembedding.output_of(model)
    torch.testing.assert_close(unembed(at.dense).float(), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(unembed(at.variant[:, 3]).float(), z_variant, rtol=1e-4, atol=1e-4)


def test_at_step_zero_three_histories_are_equal(model):
    """The last three are equal to the last bit, and differ later."""
    edit, variant = _edited(model)
    answer = _answer()
    own = [9, *answer["answer_token_ids"][1:]]
    at = decoding.states(model, Variant(variant, edit), answer, own)
    assert torch.equal(at.variant[0, 1], at.variant[0, 2])
    assert torch.equal(at.variant[0, 2], at.variant[0, 3])
    assert not torch.equal(at.variant[0, 0], at.variant[0, 1])
    assert not torch.equal(at.variant[2, 1], at.variant[2, 2])
    assert not torch.equal(at.variant[2, 2], at.variant[2, 3])


def test_free_running_equals_teacher_forcing_before_divergence(model):
    """At step 3 the texts diverge, but both models have read the same tokens."""
    edit, variant = _edited(model)
    answer = _answer()
    own = [*answer["answer_token_ids"][:3], 9, 9, 9]
    at = decoding.states(model, Variant(variant, edit), answer, own)
    assert torch.equal(at.variant[:4, 2], at.variant[:4, 3])
    assert not torch.isclose(at.variant[4:, 2], at.variant[4:, 3]).all(-1).any()


def test_terms_sum_to_the_whole_shift(model):
    """Shares of a step sum to 1; norms are those of centred differences, in float64."""
    edit, variant = _edited(model)
    answer = _answer()
    own = [9, *answer["answer_token_ids"][:4]]
    at, compared = _compared(model, edit, variant, answer, own)
    rows = decoding.tables_of(answer, own, at, compared)["history_term"]
    assert rows.num_rows == 5 * 4
    weight = model.lm_head.weight.double()
    stages = torch.cat([at.dense[:, None], at.variant], 1).double() @ weight.T
    stages = stages[:5] / getattr(model.config, "logits_scaling", 1)
    terms = stages.diff(dim=1)
    terms = terms - terms.mean(-1, keepdim=True)
    delta = terms.sum(1, keepdim=True)
    norm = torch.tensor(rows["norm"].to_numpy()).view(5, 4)
    share = torch.tensor(rows["share"].to_numpy()).view(5, 4)
    torch.testing.assert_close(norm, terms.norm(dim=-1), rtol=1e-4, atol=1e-5)
    expected = (terms * delta).sum(-1) / (delta * delta).sum(-1)
    torch.testing.assert_close(share, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(share.sum(-1), torch.ones(5).double(), rtol=1e-4, atol=1e-4)
    assert rows["term"].to_pylist()[:4] == list(decoding.TERMS)


def test_statistics_equal_their_definitions(model):
    """KL, angle and variance of each history in float64, from plain softmaxes."""
    edit, variant = _edited(model)
    answer = _answer()
    at, compared = _compared(model, edit, variant, answer, [9, 9, 9])
    weight = model.lm_head.weight.double() / getattr(model.config, "logits_scaling", 1)
    z, z_variant = at.dense[:, None].double() @ weight.T, at.variant.double() @ weight.T
    for index, temperature in enumerate(TEMPERATURES):
        log_p, log_q = ((each / temperature).log_softmax(-1) for each in (z, z_variant))
        p, q = log_p.exp(), log_q.exp()
        delta = z_variant - z
        expected = {
            "kl_divergence": (p * (log_p - log_q)).sum(-1),
            "angular_deviation": 1 - torch.cosine_similarity(p.expand_as(q), q, dim=-1),
            "var_p": (p * (delta - (p * delta).sum(-1, keepdim=True)) ** 2).sum(-1),
        }
        for name, value in expected.items():
            found = by_name(compared.statistics)[f"p.{name}"][..., index].double()
            torch.testing.assert_close(found, value, rtol=2e-3, atol=1e-7)


def test_the_chunk_size_changes_nothing_beyond_rounding(model):
    """Steps are computed one at a time or all at once."""
    edit, variant = _edited(model)
    answer = _answer(temperature=0.7)
    own = [9, *answer["answer_token_ids"][1:]]
    _, whole = _compared(model, edit, variant, answer, own)
    _, small = _compared(model, edit, variant, answer, own, memory_mb=0.03)
    for name, column in by_name(whole.statistics).items():
        torch.testing.assert_close(by_name(small.statistics)[name], column, rtol=1e-3, atol=1e-5)
    assert torch.equal(small.variant_token, whole.variant_token)
    torch.testing.assert_close(small.term_norm, whole.term_norm, rtol=1e-4, atol=1e-5)


def test_an_edit_of_one_block_does_not_change_earlier_blocks(model):
    """Their states are those of dense, under free running on dense's own tokens."""
    prefix = anatomy_of(model).blocks
    edit = edits.Edit(
        tensors={
            name: parameter * 0.5
            for name, parameter in model.named_parameters()
            if name.startswith(f"{prefix}.2.") and "proj" in name
        }
    )
    variant = loading.apply_edit(model, edit)
    seen = {}
    for which, of in (("dense", model), ("variant", variant)):
        block = blocks_of(of)[2]
        handle = block.register_forward_pre_hook(
            lambda _, args, kwargs, which=which: seen.setdefault(which, []).append(
                (args[0] if args else kwargs["hidden_states"])[0]
            ),
            with_kwargs=True,
        )
        answer = _answer()
        try:
            decoding.states(model, Variant(variant, edit), answer, answer["answer_token_ids"])
        finally:
            handle.remove()
    assert len(seen["dense"]) == 1
    assert len(seen["variant"]) == 3
    for entering in seen["variant"]:
        torch.testing.assert_close(entering, seen["dense"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_table_is_written(tmp_path, architecture):
    """Given prompts, greedy and sampled, one of a single token, and one multiple-choice task."""
    folder = make_tiny_model(tmp_path / "model", architecture)
    model = loading.load(folder, "float32", torch.device("cpu"))
    tokenizer = loading.load_tokenizer(folder)
    edit, variant = _edited(model)
    said = {
        "choice": {"kind": "multiple_choice", "text": "which? A) fox B) dog C) sea"},
        "open": {"kind": "open_ended", "text": "船 <b>\x1b[31m"},
    }
    asked = [
        prompts.Asked(name, temperature, prompts.prompt_token_ids(tokenizer, each["text"]))
        for temperature in (0.0, 0.9)
        for name, each in said.items()
    ]
    ends = prompts.end_of_text(model, tokenizer)
    dense = prompts.answers(model, tokenizer, asked, LENGTH, SEED)
    dense[-1] = dense[-1][:1]
    own = prompts.answers(variant, tokenizer, asked, LENGTH, SEED)
    answers = prompts.as_rows(said, asked, dense, tokenizer, ends)
    found: dict[str, list[pa.Table]] = {}
    for tables in trace_answers(
        model, Variant(variant, edit), tokenizer, list(zip(answers, own, strict=True)), SETTINGS
    ):
        for name, rows in tables.items():
            found.setdefault(name, []).append(rows)
    whole = {name: pa.concat_tables(rows) for name, rows in found.items()}
    for name, rows in whole.items():
        assert rows.schema.names == TABLES[name].schema.names, name
    assert whole["generated_text"].num_rows == 4
    assert set(whole["option_trace"]["prompt"].to_pylist()) == {"choice"}
    for name, key in {
        "decoded_step": ["prompt", "sampling_temperature", "history", "step"],
        "decoding_trace": [*_KEY, "temperature", "space"],
        "decoding_shift": [*_KEY, "temperature"],
    }.items():
        assert whole[name].group_by(key).aggregate([]).num_rows == whole[name].num_rows, name
    _one_token_answers_count_once(whole, own[-1])


_KEY = ["prompt", "sampling_temperature", "history", "step"]


def _one_token_answers_count_once(whole, own):
    """Dense stops after one token: free running compares step 0, and records who continued."""
    which = (pc.field("prompt") == "open") & (pc.field("sampling_temperature") == 0.9)
    steps = whole["decoded_step"].filter(which & (pc.field("history") == "free_running"))
    running = ["both", *["variant"] * (len(own) - 1)]
    assert steps["running"].to_pylist() == running
    assert steps["dense_token"].null_count == len(own) - 1
    assert whole["history_term"].filter(which)["step"].unique().to_pylist() == [0]
    trace = whole["decoding_trace"].filter(which)
    assert trace["step"].unique().to_pylist() == [0]


@pytest.mark.parametrize("alike", [0, 1, 3])
@pytest.mark.parametrize("length", [1, 3, 90])
def test_perplexity_equals_that_of_the_dense_model(model, alike, length):
    """Read again from the divergence, log p of each token is that of one plain pass."""
    edit, variant = _edited(model)
    answer = _answer()
    prompt = answer["prompt_token_ids"]
    own = [*answer["answer_token_ids"][:alike], *range(3, 93)][:length]
    z = model(torch.tensor([prompt + own])).logits[0, len(prompt) - 1 : -1]
    expected = z.double().log_softmax(-1).gather(-1, torch.tensor(own)[:, None]).squeeze(-1)
    at = decoding.states(model, Variant(variant, edit), answer, own)
    found = decoding.log_likelihoods(unembedding.output_of(model), at.reread, own)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert wording.perplexity(found) == pytest.approx(float(expected.mean().neg().exp()), rel=1e-4)


@pytest.mark.parametrize("dropped", [{"attn": (0,)}, {"block": (0, 2)}, {"attn": (0, 1, 2)}])
@pytest.mark.parametrize("alike", [0, 2, 6])
def test_the_common_text_is_not_read_again(model, dropped, alike):
    """The result equals one pass over the variant's text, shorter, longer or as long."""
    edit = edits.Edit(dropped)
    variant = loading.apply_edit(model, edit)
    answer = _answer()
    for n_more in (0, 1, 5):
        own = [*answer["answer_token_ids"][:alike], *range(3, 3 + n_more)] or [9]
        at = decoding.states(model, Variant(variant, edit), answer, own)
        whole = torch.tensor([answer["prompt_token_ids"] + own[:-1]])
        for found, of in ((at.variant[: at.n_common_steps, 3], variant), (at.reread, model)):
            h = of.base_model(input_ids=whole, use_cache=False).last_hidden_state[0, 4:]
            torch.testing.assert_close(found, h[: len(found)], rtol=1e-6, atol=1e-6)
        assert len(at.reread) == len(own)


def test_an_edited_lm_head_is_refused():
    model = tiny_model("llama")
    edit = edits.Edit(tensors={"lm_head.weight": model.lm_head.weight * 2})
    variant = Variant(loading.apply_edit(model, edit), edit)
    with pytest.raises(ValueError, match="lm_head"):
        list(trace_answers(model, variant, None, [], SETTINGS))
