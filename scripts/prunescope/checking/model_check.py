"""Whether a model runs as prunescope reads it: proven on the model itself, on a short text.

prunescope reads a model through hooks and functions of its own: residual streams at the borders of
sublayers, logits from hidden states, attention in parts or under another history, and one pass in
the place of many decoding steps. Each is right for the architectures it was written for, and wrong
without a word for one that scales, caps, masks or rotates in another way. So each is compared with
what transformers itself computes by its plainest code.

These comparisons run in float32 whatever the model's dtype, one module at a time, so that only a
difference in what is computed can exceed the tolerance. How far rounding alone moves the model in
its own dtype is no fault; `noise_floor` measures it.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
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

TOKENS = 96
"""Length of the text: more than attention takes together (64), and read in a second by 0.5B."""

STEPS = 3
"""Last tokens of it that are decoded one by one."""

NOISE_TOKENS, NOISE_STEPS = 48, 8
"""Length of the text the noise floor is measured on, and how many of its tokens are decoded."""

NOISE_STEPS_BETWEEN_BLOCKS = 3
"""How many of these, the last, are compared at every sublayer."""

WINDOW = 16
"""What sliding windows are narrowed to, so that the text is longer than they are."""

TOLERANCE = 2e-4
"""Largest |difference|₂ / |own|₂ of any position, in float32."""

_ASK = (
    "Say what is different in its entry of ANATOMIES (docs/extend/architecture.md), or choose "
    "another model."
)


class Check(NamedTuple):
    """One row of table `model_check`: what was compared, how far apart it is, what to do."""

    check: str
    measured: float
    tolerance: float
    remedy: str

    @property
    def passed(self) -> bool:
        """True where the difference is a number within the tolerance."""
        return self.measured <= self.tolerance


def as_rows(checks: Sequence[Check]) -> pa.Table:
    """Rows of table `model_check`."""
    rows = [{**check._asdict(), "passed": check.passed} for check in checks]
    return pa.Table.from_pylist(rows, schema=TABLES["model_check"].schema)


def failures(checks: Sequence[Check]) -> str:
    """Every failed check in a sentence; empty where all passed."""
    return " ".join(
        f"{check.check}: {check.measured:.3g} where at most {check.tolerance:.3g} is right. "
        f"{check.remedy}"
        for check in checks
        if not check.passed
    )


@torch.inference_mode()
def structure(model: Any, token_ids: Sequence[int], kind: str) -> list[Check]:
    """Everything that is read of a model, against the model's own; in float32.

    Parameters
    ----------
    model : as `models.load` returns it.
    token_ids : a text, `TOKENS` of them where the model reads as many.
    kind : causal or encoder; an encoder has no logits and is not decoded.

    Where a router is torn between two experts, rounding chooses, and a text that meets such a tie
    differs without a fault. A model with experts that fails is read once more, on the same text
    backwards: a fault shows in both.
    """
    checks = _structure(model, token_ids, kind)
    if failures(checks) and model_config.has_experts(model.config.to_dict()):
        again = _structure(model, list(reversed(token_ids)), kind)
        checks = [min(pair, key=_measured) for pair in zip(checks, again, strict=True)]
    return checks


def _measured(check: Check) -> float:
    """What is compared of two checks: a NaN is the larger."""
    return math.inf if math.isnan(check.measured) else check.measured


def _structure(model: Any, token_ids: Sequence[int], kind: str) -> list[Check]:
    """The checks of `structure` on one text."""
    ids = torch.tensor([list(token_ids)], device=model.device)
    with in_float32(model), narrow_windows(model):
        states = model.base_model(ids, output_hidden_states=True, use_cache=False)
        h, plain = states.last_hidden_state, _eager(model, ids)
        checks = [
            _difference(
                "hidden states: captured between blocks, against the model's own",
                _captured(model, ids[0]),
                torch.cat(states.hidden_states),
                f"A block passes its state on in a way that is not captured. {_ASK}",
            ),
            _difference(
                "attention: as prunescope computes it, against the model's plain code",
                h,
                plain,
                f"It caps, scales, masks or weights keys in a way that is left out. {_ASK}",
            ),
        ]
        if kind == "causal":
            checks += _causal(model, ids, h, plain)
    return checks


def _causal(model: Any, ids: Tensor, h: Tensor, plain: Tensor) -> list[Check]:
    """What is read of a model with logits; its hidden states as it computes them, and plainly."""
    body = anatomy.anatomy_of(model)
    z = model(ids, use_cache=False).logits[0].float()
    start = ids.shape[1] - 1 - STEPS
    return [
        _difference(
            "positions: a text whose last token stands far away, against one without a gap",
            _with_far_last(model, ids)[:, :-1],
            h[:, :-1],
            "Its rotary factors depend on the length of a text, so that one pass is not the "
            "decode of many steps. Choose a checkpoint with fixed factors.",
        ),
        _difference(
            "logits: from hidden states, against the model's own",
            unembedding.output_of(model)(h[0]),
            z,
            f"The model scales, caps or shifts its logits in a way that is left out. {_ASK}",
        ),
        _difference(
            "attention under a history: as traces compute it, against the model's plain code",
            histories.run(model, ids[0]).h,
            plain,
            f"It caps, scales, masks or weights keys in a way that is left out. {_ASK}",
        ),
        *(
            _difference(
                f"dropped {sublayer}: the state after it, against the state before it",
                *_around_dropped(model, ids, sublayer),
                f"A dropped sublayer leaves something behind. {_ASK}",
            )
            for sublayer in anatomy.SUBLAYERS
            if body.attn_sum_norm is None
        ),
        _difference(
            "decoding: step by step with a cache, against one pass",
            noise.cached_outputs(model, ids[0].tolist(), start)[0].z,
            z[start:],
            "A trace reads in one pass what was decoded in many: they must agree. Choose another "
            "model, or report it with its config.json.",
        ),
        _difference(
            "batches: a text beside a longer one, padded, against the text alone",
            _beside_longer(model, ids),
            z[: ids.shape[1] // 2],
            "Padding reaches what a text is answered. Choose another model, or report it with its "
            "config.json.",
        ),
    ]


def vocabulary(model: Any, n_tokens: int) -> Check:
    """Tokens of the tokenizer that the model has no embedding for."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    return Check(
        "vocabulary: tokens of tokenizer.json beyond the rows of the embedding",
        max(0, n_tokens - rows),
        0,
        f"tokenizer.json has {n_tokens} tokens, the embedding {rows} rows. Use the tokenizer that "
        "was saved with these weights.",
    )


def tokenization_of(tokenizer: PreTrainedTokenizerBase, model_dir: str | Path) -> Check:
    """Texts on which the loaded tokenizer and tokenizer.json itself differ."""
    differing = tokenization.differences(tokenizer, model_dir)
    return Check(
        "tokenizer: probe texts read otherwise than tokenizer.json says",
        len(differing),
        0,
        f"For instance {differing[:1]}. tokenizer_config.json changes what tokenizer.json says: "
        "remove the contradiction, or save the tokenizer again.",
    )


def finite_weights(model: Any) -> Check:
    """Parameters that hold a NaN or an infinity, in the dtype they are run in."""
    broken = [
        name
        for name, parameter in model.named_parameters()
        if not parameter.sum(dtype=torch.float32).isfinite() and not parameter.isfinite().all()
    ]
    return Check(
        "weights: parameters that hold NaN or infinity",
        len(broken),
        0,
        f"{', '.join(broken[:3])}: float16 ends at 65504. Set dtype: bfloat16 or float32 for the "
        "model; if that does not help, the checkpoint itself is damaged.",
    )


def _difference(check: str, ours: Tensor, own: Tensor, remedy: str) -> Check:
    """Largest |ours - own|₂ / |own|₂ of any position, (…, d) each; a NaN stays one and fails."""
    apart = torch.linalg.vector_norm(ours.double() - own.double(), dim=-1)
    size = torch.linalg.vector_norm(own.double(), dim=-1).clamp(min=1e-30)
    return Check(check, float((apart / size).max()), TOLERANCE, remedy)


def _captured(model: Any, ids: Tensor) -> Tensor:
    """Streams before each block, and what the model returns, (blocks + 1, positions, d)."""
    stream, _ = capture.residuals(model, ids, 0)
    between = stream[:, :: len(anatomy.SUBLAYERS)].transpose(0, 1).clone()
    if anatomy.anatomy_of(model).final_norm is not None:
        between[-1] = anatomy.final_norm_of(model)(between[-1])
    return between


def _eager(model: Any, ids: Tensor) -> Tensor:
    """Hidden states by transformers' plain attention, (1, positions, d)."""
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        h: Tensor = model.base_model(ids, use_cache=False).last_hidden_state
    finally:
        model.set_attn_implementation(usual)
    return h


def _with_far_last(model: Any, ids: Tensor) -> Tensor:
    """Hidden states of the text with its last token at the model's last position.

    No token sees it; only factors that depend on the length of the whole text would change.
    """
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    positions[0, -1] = max(longest(model) - 1, ids.shape[1] - 1)
    causal = torch.ones_like(ids)
    h: Tensor = model.base_model(
        ids, attention_mask=causal, position_ids=positions, use_cache=False
    ).last_hidden_state
    return h


def _around_dropped(model: Any, ids: Tensor, sublayer: str) -> tuple[Tensor, Tensor]:
    """Streams after and before a sublayer dropped in every block, (positions, blocks, d)."""
    blocks = tuple(range(len(anatomy.blocks_of(model))))
    stream, _ = capture.residuals(loading.apply_edit(model, Edit({sublayer: blocks})), ids[0], 0)
    read = [anatomy.Sublayer(block, sublayer).index for block in blocks]
    return stream[:, [boundary + 1 for boundary in read]], stream[:, read]


def _beside_longer(model: Any, ids: Tensor) -> Tensor:
    """Logits of the first half of the text, padded on the left beside the whole, (half, vocab)."""
    half, whole = ids.shape[1] // 2, ids[0].tolist()
    both, mask = prompts.padded([whole, whole[:half]], left=True, device=ids.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(
        both, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=half
    )
    z: Tensor = out.logits[1]
    return z


def longest(model: Any) -> int:
    """Positions the model was made for, by its config; a large number where it names none."""
    return loading.positions_of(model.config.to_dict()) or 2**20


def encoded(tokenize: Callable[[str], Sequence[int]], texts: Sequence[str], most: int) -> list[int]:
    """Tokens of the texts one after the other, from the start again until there are `most`."""
    read = [token for text in texts for token in tokenize(text)]
    return (read * (most // max(1, len(read)) + 1))[:most]


@torch.inference_mode()
def noise_floor(model: Any, token_ids: Sequence[int]) -> pa.Table:
    """Table `noise_floor`: how far the model is from itself where only rounding differs.

    Parameters
    ----------
    model : causal, in the dtype it is run in.
    token_ids : a text; of its first `NOISE_TOKENS`, all but `NOISE_STEPS` are taken for the prompt.
    """
    ids = list(token_ids[:NOISE_TOKENS])
    half = len(ids) // 2
    start = max(0, len(ids) - 1 - NOISE_STEPS)
    last = len(ids) - min(NOISE_STEPS_BETWEEN_BLOCKS, len(ids) - start)
    traced, states = noise.traced_outputs(model, ids, 0), noise.traced_states(model, ids, last)
    cached, cached_states = noise.cached_outputs(model, ids, start)
    from_start = noise.Outputs(traced.h[start:], traced.z[start:])
    outputs = {
        CACHED: noise.compare(from_start, cached),
        "alone against in a batch": noise.alone_against_batched(model, [ids, ids[:half]]),
    }
    between = {CACHED: cached_states[last - start :]}
    if model.dtype in (torch.bfloat16, torch.float16):
        with in_float32(model):
            outputs[EXACT] = noise.compare(noise.traced_outputs(model, ids, 0), traced)
            between[EXACT] = noise.traced_states(model, ids, last)
    rows = [row for what, found in outputs.items() for row in _rows_of_output(what, found)]
    for readout in READOUTS:
        unembed = unembedding.readout_of(model, final_norm=readout != PAPERS_READOUT)
        for what, others in between.items():
            found = noise.between_blocks(unembed, others, states)
            rows += _rows_between_blocks(what, readout, found)
    dtype = str(model.dtype).removeprefix("torch.")
    return pa.Table.from_pylist(
        [{"dtype": dtype, **row} for row in rows], schema=TABLES["noise_floor"].schema
    )


CACHED, EXACT = "one pass against decoding with a cache", "against float32"
"""Two comparisons of the noise floor."""


def _rows_of_output(comparison: str, found: noise.Noise) -> Iterator[dict[str, Any]]:
    """Rows of one comparison of the model's own output, a space each."""
    angular = {
        "embedding": (found.angular_h_mean, found.angular_h_max),
        "logit": (found.angular_z_mean, found.angular_z_max),
        "probability": (found.angular_p_mean, found.angular_p_max),
    }
    for space, (mean, largest) in angular.items():
        has_kl = space == "probability"
        yield {
            "comparison": comparison,
            "space": space,
            "n_positions": found.positions,
            "mean_angular_deviation": mean,
            "max_angular_deviation": largest,
            "mean_kl_divergence": found.kl_mean if has_kl else None,
            "max_kl_divergence": found.kl_max if has_kl else None,
            "n_disagreements": found.disagreements,
        }


def _rows_between_blocks(
    comparison: str, readout: str, found: noise.BetweenBlocks
) -> Iterator[dict[str, Any]]:
    """Rows of one comparison of the states that sublayers write, a sublayer and space each."""
    kl = found.kl.double()
    angular = {
        "embedding": found.angular_h,
        "logit": found.angular_z,
        "probability": found.angular_p,
    }
    for space, deviations in angular.items():
        turned, has_kl = deviations.double(), space == "probability"
        for index in range(turned.shape[1]):
            sublayer = anatomy.Sublayer.from_index(index)
            yield {
                "comparison": comparison,
                "readout": readout,
                "block": sublayer.block,
                "sublayer": sublayer.kind,
                "space": space,
                "n_positions": len(turned),
                "mean_angular_deviation": float(turned[:, index].mean()),
                "max_angular_deviation": float(turned[:, index].max()),
                "mean_kl_divergence": float(kl[:, index].mean()) if has_kl else None,
                "max_kl_divergence": float(kl[:, index].max()) if has_kl else None,
            }


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """While open, every module computes in float32, on parameters converted as it is called.

    The model stays as it is: a module's own parameters are exchanged before it runs and put back
    afterwards, so that one module at a time exists twice. An embedding, which only looks rows up,
    has its rows converted instead.
    """
    handles = []
    stored: dict[int, Tensor] = {}

    def widen(module: nn.Module, _: Any) -> None:
        for parameter in module.parameters(recurse=False):
            stored[id(parameter)] = parameter.data
            parameter.data = parameter.data.float()

    def restore(module: nn.Module, _: Any, __: Any) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.data = stored.pop(id(parameter))

    def rows(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output.float()

    for module in model.modules():
        own = next(module.parameters(recurse=False), None)
        if own is None or own.dtype not in (torch.bfloat16, torch.float16):
            continue
        if isinstance(module, nn.Embedding):
            handles.append(module.register_forward_hook(rows))
        else:
            handles.append(module.register_forward_pre_hook(widen))
            handles.append(module.register_forward_hook(restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def narrow_windows(model: Any) -> Iterator[None]:
    """While open, layers that attend to a sliding window see `WINDOW` tokens back, no more."""
    config = model.config
    before = copy.copy(config.__dict__)
    modules = [m for m in model.modules() if getattr(m, "sliding_window", None) is not None]
    windows = [module.sliding_window for module in modules]
    if getattr(config, "sliding_window", None) is not None:
        config.sliding_window = min(WINDOW, config.sliding_window)
    for module in modules:
        module.sliding_window = min(WINDOW, module.sliding_window)
    try:
        yield
    finally:
        config.__dict__.update(before)
        for module, window in zip(modules, windows, strict=True):
            module.sliding_window = window
