"""Scores of removals equal those of variants run for real, and searches choose the least."""

import itertools

import pytest
import torch

from prunescope.compression import ranking, removal_search
from prunescope.compression.partial_passes import Part, batches_of
from prunescope.compression.removal_search import Search
from prunescope.compression.selections import Selection
from prunescope.model import loading
from prunescope.model.edits import Edit
from tiny import DROPPABLE, tiny_model

MEMORY_MB = 64

LENGTHS = ((9, 4), (12, 5), (7, 2))
"""Length of each sequence, and the first position that is scored."""


def text(seed: int = 0, lengths=LENGTHS):
    """Sequences of random tokens, and the first scored position of each."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randint(3, 100, (n,), generator=generator).tolist(), s) for n, s in lengths]


def searched(model, criterion, search, sublayer, n_drop=0, sequences=None):
    """The rounds of a search on three short sequences, each a batch of its own."""
    batches = [batch for each in sequences or text() for batch in batches_of([each])]
    selection = Selection(criterion, "own_answers", search, sublayer)
    search_of_model = Search(model, batches, selection, MEMORY_MB)
    return search_of_model, search_of_model.rounds(n_drop)


def edit_of(parts) -> Edit:
    kinds = {kind: sorted(p.block for p in parts if p.kind == kind) for _, kind in parts}
    return Edit({kind: tuple(blocks) for kind, blocks in kinds.items()})


@torch.inference_mode()
def brute_force(model, parts, sequences=None):
    """Mean KL(p|q) and Var_p(Δz)/2 by their definitions, from whole passes of the variant."""
    variant = loading.apply_edit(model, edit_of(parts))
    kl, variance = [], []
    for tokens, start in sequences or text():
        ids = torch.tensor([tokens])
        z, y = (m(ids, use_cache=False).logits[0, start:].double() for m in (model, variant))
        log_p, log_q = z.log_softmax(-1), y.log_softmax(-1)
        p, delta = log_p.exp(), y - z
        kl.append((p * (log_p - log_q)).sum(-1))
        mean = (p * delta).sum(-1, keepdim=True)
        variance.append((p * (delta - mean) ** 2).sum(-1) / 2)
    return torch.cat(kl).mean().item(), torch.cat(variance).mean().item()


def assert_scores_are_those_of_variants(model, sublayer, rel=1e-6):
    search, (found,) = searched(model, "output_kl", "one_shot", sublayer)
    assert set(found.scores) == {
        Part(b, k) for b in range(3) for k in (("attn", "mlp") if sublayer == "any" else ("block",))
    }
    for part, score in found.scores.items():
        kl, half_variance = brute_force(model, [part])
        assert score.n_read == search.n_positions == sum(n - s for n, s in LENGTHS)
        assert score.kl_divergence / search.n_positions == pytest.approx(kl, rel=rel)
        assert score.var_p / 2 / search.n_positions == pytest.approx(half_variance, rel=rel)


@pytest.mark.parametrize("sublayer", ["any", "block"])
def test_scores_are_those_of_variants_that_are_run_from_the_first_block(model, sublayer):
    """For every architecture, in float64, and every sublayer and block."""
    assert_scores_are_those_of_variants(model, sublayer)


@pytest.mark.parametrize("architecture", [*DROPPABLE, "gemma2", "gemma3_text"])
def test_so_they_are_for_models_that_cannot_be_pruned_by_weight(architecture):
    """In float32, in which alone torch multiplies by groups of experts."""
    assert_scores_are_those_of_variants(tiny_model(architecture), "any", rel=1e-3)


@pytest.mark.parametrize("sublayer", ["mlp", "any", "block"])
@pytest.mark.parametrize("criterion", ["output_kl", "output_variance"])
def test_greedy_search_finds_what_a_search_by_whole_variants_finds(criterion, sublayer):
    """Two rounds by brute force, and no pair is better than the best of all pairs."""
    model = tiny_model("qwen2", num_hidden_layers=5).double()
    _, rounds = searched(model, criterion, "greedy", sublayer, n_drop=2)
    which = 0 if criterion == "output_kl" else 1
    parts = list(rounds[0].scores)
    first = min(parts, key=lambda part: brute_force(model, [part])[which])
    assert rounds[0].chosen == first
    rest = [part for part in parts if part != first]
    losses = {part: brute_force(model, [first, part])[which] for part in rest}
    assert rounds[1].chosen == min(rest, key=losses.__getitem__)
    best = min(brute_force(model, pair)[which] for pair in itertools.combinations(parts, 2))
    assert losses[rounds[1].chosen] >= best * (1 - 1e-9)


def test_a_candidate_that_is_given_up_could_not_have_been_chosen():
    """Its score is a lower bound, above that of the chosen one; all others are exact."""
    model = tiny_model("llama", num_hidden_layers=8).double()
    sequences = text(1, [(12, 3)] * 6)
    search, rounds = searched(model, "output_kl", "greedy", "mlp", 3, sequences)
    rows = search.table(rounds).to_pylist()
    assert not any(row["is_bound"] for row in rows if row["n_dropped"] == 0)
    assert any(row["is_bound"] for row in rows)
    dropped: list[Part] = []
    for n_dropped, each in enumerate(rounds):
        of_round = [row for row in rows if row["n_dropped"] == n_dropped]
        chosen = next(row for row in of_round if row["is_chosen"])
        for row in of_round:
            kl, _ = brute_force(model, [*dropped, Part(row["block"], row["sublayer"])], sequences)
            if row["is_bound"]:
                assert chosen["score"] < row["score"] <= kl * (1 + 1e-9)
            else:
                assert row["score"] == pytest.approx(kl, rel=1e-6)
                assert chosen["score"] <= row["score"]
        dropped.append(each.chosen)


@pytest.mark.parametrize("sublayer", ["attn", "mlp", "any", "block"])
def test_one_shot_costs_at_most_six_tenths_of_a_pass_per_sublayer(sublayer):
    """In blocks run, the dense pass included, for a model of sixteen blocks."""
    model = tiny_model("llama", num_hidden_layers=16)
    search, (found,) = searched(model, "output_kl", "one_shot", sublayer)
    assert search.n_passes <= 0.6 * len(found.scores)
    assert search.n_passes >= 0.4 * len(found.scores)


@pytest.mark.parametrize("criterion", ["cosine", "output_kl"])
@pytest.mark.parametrize(("search", "rounds"), [("one_shot", 1), ("greedy", 3)])
def test_what_is_said_to_be_the_most_work_is(criterion, search, rounds):
    """Forward passes and rows of logits, for every kind of part; a greedy search may save much."""
    least = 0.5 if search == "one_shot" else 0.2
    model = tiny_model("llama", num_hidden_layers=6)
    for sublayer in ("attn", "any", "block"):
        done, _ = searched(model, criterion, search, sublayer, n_drop=rounds)
        passes, rows = done.most_work(rounds)
        assert least * passes <= done.n_passes <= passes
        assert least * rows <= done.outputs.rows <= rows


def test_dropping_a_part_leaves_the_states_of_a_whole_pass():
    """Bit for bit, whatever was dropped before and in which order."""
    model = tiny_model("llama", num_hidden_layers=6)
    batches = batches_of(text())
    search = Search(model, batches, Selection("output_kl", "prompts", "greedy", "any"), MEMORY_MB)
    dropped: list[Part] = []
    for part in (Part(3, "mlp"), Part(1, "attn"), Part(4, "attn"), Part(3, "attn"), Part(0, "mlp")):
        (cached,) = search._passes
        found = cached.without(part)
        dropped.append(part)
        cached.drop(part)
        variant = loading.apply_edit(model, edit_of(dropped))
        states = []
        with torch.inference_mode():
            handle = list(variant.model.layers)[-1].register_forward_hook(
                lambda _, __, out, states=states: states.append(out)
            )
            variant(batches[0].token_ids, use_cache=False)
            handle.remove()
        assert torch.equal(found, states[0][batches[0].is_scored])


def test_cosine_on_answers_is_the_mean_of_one_minus_cosine_at_scored_positions():
    """Read from the hidden states that transformers returns, for whole blocks."""
    model = tiny_model("llama").double()
    search, (found,) = searched(model, "cosine", "one_shot", "block")
    with torch.inference_mode():
        for part, score in found.scores.items():
            deviations = []
            for tokens, start in text():
                seen = {}
                block = model.model.layers[part.block]
                handle = block.register_forward_hook(
                    lambda _, args, out, seen=seen: seen.update(before=args[0], after=out)
                )
                model(torch.tensor([tokens]), use_cache=False)
                handle.remove()
                before, after = seen["before"][0, start:], seen["after"][0, start:]
                deviations.append(1 - torch.cosine_similarity(before, after, dim=-1))
            expected = torch.cat(deviations).mean().item()
            assert score.distance / search.n_positions == pytest.approx(expected, rel=1e-6)


def test_variance_differs_from_kl_by_the_third_order_of_the_change():
    """Halving the output of a sublayer's last linear divides the difference by about 8."""
    model = tiny_model("llama").double()
    down = model.model.layers[1].mlp.down_proj.weight
    differences = []
    for factor in (2.0**-6, 2.0**-7):
        down.copy_(down / down.norm() * factor)
        _, (found,) = searched(model, "output_variance", "one_shot", "mlp")
        score = found.scores[Part(1, "mlp")]
        differences.append(abs(score.total("output_variance") - score.total("output_kl")))
        assert differences[-1] < 0.05 * score.total("output_kl")
    assert 6 < differences[0] / differences[1] < 10


def test_memory_and_batches_change_nothing_beyond_rounding():
    """One row of logits at a time, and all sequences in one batch."""
    model = tiny_model("qwen2").double()
    _, (small,) = searched(model, "output_kl", "one_shot", "any")
    selection = Selection("output_kl", "prompts", "one_shot", "any")
    least = removal_search.comparisons.TEMPORARIES_PER_PAIR * 3 + 3
    memory_mb = 8 * 101 * (least + 1) / 2**20
    (large,) = Search(model, batches_of(text()), selection, memory_mb).rounds(0)
    for part, score in small.scores.items():
        assert score.kl_divergence == pytest.approx(large.scores[part].kl_divergence, rel=1e-9)


def test_more_parts_than_there_are_cannot_be_searched():
    with pytest.raises(ValueError, match="has only 3 of mlp"):
        searched(tiny_model("llama"), "output_kl", "greedy", "mlp", n_drop=4)


def test_variants_drop_what_the_search_chose_first():
    """Sizes are nested; in one shot the least scores are dropped."""
    model = tiny_model("llama", num_hidden_layers=5).double()
    search, rounds = searched(model, "output_kl", "greedy", "mlp", n_drop=3)
    table = search.table(rounds)
    for n_drop in range(4):
        edit, report = ranking.drop_as_searched(table, ("mlp",), n_drop, "sublayer_drop")
        chosen = {each.chosen.block for each in rounds[:n_drop]}
        assert set(edit.dropped["mlp"]) == chosen
        assert sum(report["removed"].to_pylist()) == n_drop
        assert report["rank"].to_pylist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="chose only 3"):
        ranking.drop_as_searched(table, ("mlp",), 4, "sublayer_drop")
    search, rounds = searched(model, "output_kl", "one_shot", "mlp")
    edit, _ = ranking.drop_as_searched(search.table(rounds), ("mlp",), 2, "sublayer_drop")
    scores = rounds[0].scores
    least = sorted(scores, key=lambda part: scores[part].kl_divergence)[:2]
    assert edit.dropped["mlp"] == tuple(sorted(part.block for part in least))
