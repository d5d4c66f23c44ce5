"""Check on a short text that a model runs as prunescope reads it.

prunescope reads a model through its own hooks and functions: it captures residual streams between
sublayers, computes logits from hidden states, computes attention in parts or under another history,
and replaces many decoding steps by one pass. Each of these is correct for the architectures for
which it was written, but would be silently wrong for an architecture that scales, caps, masks or
rotates differently. Each is therefore compared with what transformers itself computes with its
simplest code.

These comparisons run in float32 whatever the dtype of the model (one module is converted at a
time), so that only a difference in what is computed can exceed the tolerance. Differences by
rounding in the model's own dtype are not faults; `noise_floor` measures them.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from prunescope.checking import noise
from prunescope.inputs import model_config
from prunescope.model import anatomy, capture, loading, prompts, tokenization, unembedding
from prunescope.model.edits import Edit
from prunescope.tables.schemas import PAPERS_READOUT, READOUTS, TABLES
from prunescope.tracing import histories

TOKENS = 80
"""Length of the text in tokens: longer than a block of queries in attention (64), and short enough
that a model of 0.5 billion parameters reads it in a second."""

BEGINNING = 24
"""Number of its first tokens that are enough where attention in blocks is not what is checked:
more than a narrowed window (`WINDOW`)."""

STEPS = 3
"""Number of tokens at the end of the text that are decoded one by one."""

NOISE_TOKENS, NOISE_STEPS = 48, 8
"""Length of the text for the noise floor in tokens, and how many of these are decoded."""

LARGE, NOISE_TOKENS_IF_LARGE = 250_000_000, 24
"""From how many parameters on a model is large, and the length of the text for its noise floor."""

NOISE_STEPS_BETWEEN_BLOCKS = 3
"""Number of decoded tokens, from the end, that are compared after every sublayer."""

KEPT_BYTES = 2_500_000_000
"""Most memory for float32 copies that are kept until all checks are done, in bytes: enough for
half a billion parameters. Those of a larger model are partly made anew in every pass."""

HALF_DTYPES = (torch.bfloat16, torch.float16)
"""Dtypes whose rounding is part of the noise floor."""

WINDOW = 16
"""Size in tokens to which sliding windows are narrowed, so that the text is longer than them."""

TOLERANCE = 2e-4
"""Largest allowed |difference|₂ / |reference|₂ at any position, in float32."""

_REMEDY = (
    "Describe the difference in the model's entry of ANATOMIES (docs/extend/architecture.md), or "
    "choose another model."
)


class Check(NamedTuple):
    """One row of table `model_check`."""

    check: str
    """What is compared with what."""
    measured: float
    """The difference; NaN counts as a failure."""
    tolerance: float
    """The largest difference at which the check passes."""
    remedy: str
    """What to do if the check fails."""

    @property
    def passed(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return self.measured <= self.tolerance


def as_rows(checks: Sequence[Check]) -> pa.Table:
    """Rows of table `model_check`."""
    rows = [{**check._asdict(), "passed": check.passed} for check in checks]
    return pa.Table.from_pylist(rows, schema=TABLES["model_check"].schema)


def failures(checks: Sequence[Check]) -> str:
    """Every failed check in a sentence; an empty text if all passed."""
    return " ".join(
        f"{check.check}: {check.measured:.3g}, but at most {check.tolerance:.3g} is accepted. "
        f"{check.remedy}"
        for check in checks
        if not check.passed
    )


@torch.inference_mode()
def structure(model: Any, token_ids: Sequence[int], kind: str) -> list[Check]:
    """Compare everything that prunescope reads of a model with the model's own values, in float32.

    In a mixture of experts, rounding may decide which of two experts with nearly equal scores is
    chosen, so that a text with such a tie differs without any fault. A model with experts that
    fails a check is therefore checked again on the reversed text; a real fault shows in both.

    Parameters
    ----------
    model : as `loading.load` returns it.
    token_ids : token ids of a text, `TOKENS` of them if the model has that many positions.
    kind : `causal` or `encoder`; an encoder has no logits and is not decoded.
    """
    checks = _structure_checks(model, token_ids, kind)
    if failures(checks) and model_config.has_experts(model.config.to_dict()):
        reversed_checks = _structure_checks(model, list(reversed(token_ids)), kind)
        checks = [min(pair, key=_sort_key) for pair in zip(checks, reversed_checks, strict=True)]
    return checks


def _sort_key(check: Check) -> float:
    """The measured difference as a key for `min`, in which NaN counts as infinite."""
    return math.inf if math.isnan(check.measured) else check.measured


def _structure_checks(model: Any, token_ids: Sequence[int], kind: str) -> list[Check]:
    """The checks of `structure` on one text."""
    ids = torch.tensor([list(token_ids)], device=model.device)
    with in_float32(model), narrow_windows(model):
        own = _own_pass(model, ids)
        plain = _plain_hidden_states(model, ids)
        checks = [
            _difference(
                "hidden states: captured between blocks, against the model's own",
                _captured_states(model, own.boundaries),
                own.states,
                f"A block passes on its state in a way that is not captured. {_REMEDY}",
            ),
            _difference(
                "attention: as prunescope computes it, against the model's plain code",
                own.h,
                plain,
                f"It caps, scales, masks or weights keys in a way that is left out. {_REMEDY}",
            ),
        ]
        if kind == "causal":
            checks += _causal_checks(model, ids, own, plain)
    return checks


class _OwnPass(NamedTuple):
    """What the model itself computes of a text, in one pass, and what is captured of that pass."""

    states: Tensor
    """(blocks + 1, positions, d), its `hidden_states`: before each block, and after the last."""
    h: Tensor
    """(1, positions, d), its `last_hidden_state`."""
    z: Tensor | None
    """(positions, vocab), its logits; None for an encoder."""
    boundaries: Mapping[int, Tensor]
    """(positions, d) by number of the boundary, from `capture.boundaries`."""


def _own_pass(model: Any, ids: Tensor) -> _OwnPass:
    """Run the model on the text (1, positions), and record what `structure` compares."""
    boundaries: dict[int, Tensor] = {}
    last: list[Tensor] = []
    handle = model.base_model.register_forward_hook(
        lambda _, __, output: last.append(output.last_hidden_state)
    )
    try:
        with capture.boundaries(model, lambda boundary, h: boundaries.update({boundary: h[0]})):
            output = model(ids, output_hidden_states=True, use_cache=False)
    finally:
        handle.remove()
    logits = getattr(output, "logits", None)
    z = None if logits is None else logits[0].float()
    return _OwnPass(torch.cat(output.hidden_states), last[0], z, boundaries)


def _causal_checks(model: Any, ids: Tensor, own: _OwnPass, plain: Tensor) -> list[Check]:
    """The further checks of a causal model.

    What a token sees does not depend on the tokens after it, so that most of these checks read only
    the beginning of the text and compare it with the same positions of the whole.

    Parameters
    ----------
    model : the model, computing in float32.
    ids : (1, positions), token ids of the text.
    own : what the model computes of the text.
    plain : (1, positions, d), hidden states with transformers' plain attention code.
    """
    body = anatomy.anatomy_of(model)
    assert own.z is not None
    beginning = ids[:, :BEGINNING]
    n_read = beginning.shape[1]
    start = n_read - 1 - STEPS
    return [
        _difference(
            "positions: a text whose last token stands far away, against one without a gap",
            _hidden_states_with_far_last_token(model, beginning)[:, :-1],
            own.h[:, : n_read - 1],
            "Its rotary factors depend on the length of the text, so that one pass differs from "
            "decoding in many steps. Choose a checkpoint with fixed factors.",
        ),
        _difference(
            "logits: from hidden states, against the model's own",
            unembedding.output_of(model)(own.h[0]),
            own.z,
            f"The model scales, caps or shifts its logits in a way that is left out. {_REMEDY}",
        ),
        _difference(
            "attention under a history: as traces compute it, against the model's plain code",
            histories.run(model, beginning[0]).h,
            plain[:, :n_read],
            f"It caps, scales, masks or weights keys in a way that is left out. {_REMEDY}",
        ),
        *(
            _difference(
                f"dropped {sublayer}: the state after it, against the state before it",
                *_states_around_dropped(model, beginning, sublayer),
                f"A dropped sublayer still has an effect. {_REMEDY}",
            )
            for sublayer in anatomy.SUBLAYERS
            if body.attn_sum_norm is None
        ),
        _difference(
            "decoding: step by step with a cache, against one pass",
            noise.cached_outputs(model, beginning[0].tolist(), start)[0].z,
            own.z[start:n_read],
            "A trace reads in one pass what was decoded in many steps, so the two must agree. "
            "Choose another model, or report this one with its config.json.",
        ),
        _difference(
            "batches: a text beside a longer one, padded, against the text alone",
            _logits_beside_longer_text(model, ids[:, : 2 * BEGINNING]),
            own.z[: ids[:, : 2 * BEGINNING].shape[1] // 2],
            "Padding influences the answer to a text. Choose another model, or report this one "
            "with its config.json.",
        ),
    ]


def vocabulary(model: Any, n_tokens: int) -> Check:
    """Check that the model has an embedding for every token of the tokenizer.

    Parameters
    ----------
    model : the model.
    n_tokens : number of tokens of the tokenizer.
    """
    n_rows = int(model.get_input_embeddings().weight.shape[0])
    return Check(
        "vocabulary: tokens of tokenizer.json beyond the rows of the embedding",
        max(0, n_tokens - n_rows),
        0,
        f"tokenizer.json has {n_tokens} tokens, but the embedding has {n_rows} rows. Use the "
        "tokenizer that was saved with these weights.",
    )


def tokenization_of(tokenizer: PreTrainedTokenizerBase, model_dir: str | Path) -> Check:
    """Check that the loaded tokenizer and tokenizer.json itself agree on a set of probe texts."""
    differing = tokenization.differences(tokenizer, model_dir)
    return Check(
        "tokenizer: probe texts read otherwise than tokenizer.json says",
        len(differing),
        0,
        f"For instance {differing[:1]}. tokenizer_config.json contradicts tokenizer.json: remove "
        "the contradiction, or save the tokenizer again.",
    )


def finite_weights(model: Any) -> Check:
    """Check that no parameter contains a NaN or an infinity, in the dtype in which it is used.

    `torch.aminmax` returns NaN if any value is NaN, and reads half a billion weights in a moment.
    """
    broken = [
        name
        for name, parameter in model.named_parameters()
        if parameter.numel() and not torch.stack(torch.aminmax(parameter)).isfinite().all()
    ]
    return Check(
        "weights: parameters that hold NaN or infinity",
        len(broken),
        0,
        f"{', '.join(broken[:3])}: float16 overflows above 65504. Set dtype: bfloat16 or float32 "
        "for the model; if that does not help, the checkpoint itself is damaged.",
    )


def _difference(check: str, computed: Tensor, reference: Tensor, remedy: str) -> Check:
    """A check of the largest |computed - reference|₂ / |reference|₂ over all positions.

    Parameters
    ----------
    check : what is compared with what.
    computed : (…, d), as prunescope computes it; a NaN makes the check fail.
    reference : (…, d), as the model computes it.
    remedy : what to do if the check fails.
    """
    distances = torch.linalg.vector_norm(computed.double() - reference.double(), dim=-1)
    sizes = torch.linalg.vector_norm(reference.double(), dim=-1).clamp(min=1e-30)
    return Check(check, float((distances / sizes).max()), TOLERANCE, remedy)


def _captured_states(model: Any, boundaries: Mapping[int, Tensor]) -> Tensor:
    """Captured states before each block, and the last one after the final norm.

    Parameters
    ----------
    model : the model.
    boundaries : (positions, d) each, by the number of the boundary.

    Returns
    -------
    Tensor of shape (blocks + 1, positions, d).
    """
    states = torch.stack([boundaries[i] for i in sorted(boundaries)][:: len(anatomy.SUBLAYERS)])
    if anatomy.anatomy_of(model).final_norm is not None:
        states[-1] = anatomy.final_norm_of(model)(states[-1])
    return states


def _plain_hidden_states(model: Any, ids: Tensor) -> Tensor:
    """Hidden states (1, positions, d), computed with transformers' plain attention code."""
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        h: Tensor = model.base_model(ids, use_cache=False).last_hidden_state
    finally:
        model.set_attn_implementation(implementation)
    return h


def _hidden_states_with_far_last_token(model: Any, ids: Tensor) -> Tensor:
    """Hidden states (1, positions, d) of the text with its last token at the model's last position.

    No other token sees the last one, so that they change only if rotary factors depend on the
    length of the whole text.
    """
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    positions[0, -1] = max(longest(model) - 1, ids.shape[1] - 1)
    all_tokens = torch.ones_like(ids)
    h: Tensor = model.base_model(
        ids, attention_mask=all_tokens, position_ids=positions, use_cache=False
    ).last_hidden_state
    return h


def _states_around_dropped(model: Any, ids: Tensor, sublayer: str) -> tuple[Tensor, Tensor]:
    """States after and before a sublayer that is dropped in every block, (positions, blocks, d)."""
    blocks = tuple(range(len(anatomy.blocks_of(model))))
    stream, _ = capture.residuals(loading.apply_edit(model, Edit({sublayer: blocks})), ids[0], 0)
    indices = [anatomy.Sublayer(block, sublayer).index for block in blocks]
    return stream[:, [index + 1 for index in indices]], stream[:, indices]


def _logits_beside_longer_text(model: Any, ids: Tensor) -> Tensor:
    """Logits (half, vocab) of the first half of the text in a batch with the whole text.

    The half is padded on the left.
    """
    half, text = ids.shape[1] // 2, ids[0].tolist()
    batch, mask = prompts.padded([text, text[:half]], left=True, device=ids.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    output = model(
        batch, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=half
    )
    z: Tensor = output.logits[1]
    return z


def longest(model: Any) -> int:
    """Number of positions of the model by its config; a large number if it does not say."""
    return loading.positions_of(model.config.to_dict()) or 2**20


def encoded(
    tokenize: Callable[[str], Sequence[int]], texts: Sequence[str], n_tokens: int
) -> list[int]:
    """Token ids of the texts one after the other, repeated until there are `n_tokens` of them.

    Parameters
    ----------
    tokenize : maps a text to its token ids.
    texts : the texts.
    n_tokens : number of token ids to return; fewer are returned only if the texts have none.
    """
    token_ids = [token for text in texts for token in tokenize(text)]
    return (token_ids * (n_tokens // max(1, len(token_ids)) + 1))[:n_tokens]


@torch.inference_mode()
def noise_floor(model: Any, token_ids: Sequence[int]) -> pa.Table:
    """Table `noise_floor`: how far computations of one model are apart if only rounding differs.

    Parameters
    ----------
    model : a causal model, in the dtype in which it is used.
    token_ids : token ids of a text. The first `noise_tokens` are used, and of these all but the
        last `NOISE_STEPS` count as the prompt.
    """
    ids = list(token_ids[: noise_tokens(model)])
    half = len(ids) // 2
    start = max(0, len(ids) - 1 - NOISE_STEPS)
    last_start = len(ids) - min(NOISE_STEPS_BETWEEN_BLOCKS, len(ids) - start)
    alone, states = noise.own_outputs(model, ids, last_start)
    alone_half, _ = noise.own_outputs(model, ids[:half], half)
    traced = noise.traced_outputs(model, ids, 0)
    cached, cached_states = noise.cached_outputs(model, ids, start)
    from_start = noise.Outputs(traced.h[start:], traced.z[start:])
    outputs = {
        CACHED: noise.compare(from_start, cached),
        "alone against in a batch": noise.against_batched(
            model, [ids, ids[:half]], [alone, alone_half]
        ),
    }
    states_of = {CACHED: cached_states[last_start - start :]}
    if model.dtype in HALF_DTYPES:
        with in_float32(model):
            exact, states_of[EXACT] = noise.own_outputs(model, ids, last_start)
        outputs[EXACT] = noise.compare(exact, traced)
    rows = [
        row
        for comparison, noise_of in outputs.items()
        for row in _output_rows(comparison, noise_of)
    ]
    for readout in READOUTS:
        unembed = unembedding.readout_of(model, final_norm=readout != PAPERS_READOUT)
        for comparison, other_states in states_of.items():
            noise_of = noise.between_blocks(unembed, other_states, states)
            rows += _block_rows(comparison, readout, noise_of)
    dtype = str(model.dtype).removeprefix("torch.")
    return pa.Table.from_pylist(
        [{"dtype": dtype, **row} for row in rows], schema=TABLES["noise_floor"].schema
    )


def noise_tokens(model: Any) -> int:
    """Length of the text for the noise floor; a large model reads fewer tokens."""
    large = sum(parameter.numel() for parameter in model.parameters()) >= LARGE
    return NOISE_TOKENS_IF_LARGE if large else NOISE_TOKENS


CACHED, EXACT = "one pass against decoding with a cache", "against float32"
"""Names of two comparisons of the noise floor."""


def _output_rows(comparison: str, measured: noise.Noise) -> Iterator[dict[str, Any]]:
    """Rows of one comparison of the model's output, one per space."""
    angular = {
        "embedding": (measured.angular_h_mean, measured.angular_h_max),
        "logit": (measured.angular_z_mean, measured.angular_z_max),
        "probability": (measured.angular_p_mean, measured.angular_p_max),
    }
    for space, (mean, largest) in angular.items():
        has_kl = space == "probability"
        yield {
            "comparison": comparison,
            "space": space,
            "n_positions": measured.positions,
            "mean_angular_deviation": mean,
            "max_angular_deviation": largest,
            "mean_kl_divergence": measured.kl_mean if has_kl else None,
            "max_kl_divergence": measured.kl_max if has_kl else None,
            "n_disagreements": measured.disagreements,
        }


def _block_rows(
    comparison: str, readout: str, measured: noise.BetweenBlocks
) -> Iterator[dict[str, Any]]:
    """Rows of one comparison of the states that sublayers write, one per sublayer and space.

    Parameters
    ----------
    comparison : name of the comparison.
    readout : name of the readout by which states became logits.
    measured : result of `noise.between_blocks`, (positions, sublayers) each.
    """
    kl = measured.kl.double()
    angular = {
        "embedding": measured.angular_h,
        "logit": measured.angular_z,
        "probability": measured.angular_p,
    }
    for space, turned in angular.items():
        deviations, has_kl = turned.double(), space == "probability"
        for index in range(deviations.shape[1]):
            sublayer = anatomy.Sublayer.from_index(index)
            yield {
                "comparison": comparison,
                "readout": readout,
                "block": sublayer.block,
                "sublayer": sublayer.kind,
                "space": space,
                "n_positions": len(deviations),
                "mean_angular_deviation": float(deviations[:, index].mean()),
                "max_angular_deviation": float(deviations[:, index].max()),
                "mean_kl_divergence": float(kl[:, index].mean()) if has_kl else None,
                "max_kl_divergence": float(kl[:, index].max()) if has_kl else None,
            }


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Make every module of `model` compute in float32 inside a `with` block.

    The parameters of a module are replaced by float32 copies before it runs. The copies stay until
    the end of the block while they fit into `KEPT_BYTES`; the others are dropped once the module
    has run, so that of a large model only one module at a time takes more memory. An embedding only
    looks up rows, so its output is converted instead.
    """
    handles = []
    stored: dict[nn.Parameter, Tensor] = {}
    kept: set[nn.Parameter] = set()

    def widen(module: nn.Module, _: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter.dtype in HALF_DTYPES:
                stored[parameter] = parameter.data
                parameter.data = parameter.data.float()

    def restore(module: nn.Module, _: Any, __: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter in kept or parameter not in stored:
                continue
            if sum(map(_n_bytes, kept)) + _n_bytes(parameter) <= KEPT_BYTES:
                kept.add(parameter)
            else:
                parameter.data = stored.pop(parameter)

    def widen_rows(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output.float()

    for module in model.modules():
        parameter = next(module.parameters(recurse=False), None)
        if parameter is None or parameter.dtype not in HALF_DTYPES:
            continue
        if isinstance(module, nn.Embedding):
            handles.append(module.register_forward_hook(widen_rows))
        else:
            handles.append(module.register_forward_pre_hook(widen))
            handles.append(module.register_forward_hook(restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter, data in stored.items():
            parameter.data = data


def _n_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@contextlib.contextmanager
def narrow_windows(model: Any) -> Iterator[None]:
    """Limit sliding windows of attention to `WINDOW` tokens inside a `with` block."""
    config = model.config
    saved_config = copy.copy(config.__dict__)
    modules = [
        module for module in model.modules() if getattr(module, "sliding_window", None) is not None
    ]
    windows = [module.sliding_window for module in modules]
    if getattr(config, "sliding_window", None) is not None:
        config.sliding_window = min(WINDOW, config.sliding_window)
    for module in modules:
        module.sliding_window = min(WINDOW, module.sliding_window)
    try:
        yield
    finally:
        config.__dict__.update(saved_config)
        for module, window in zip(modules, windows, strict=True):
            module.sliding_window = window
