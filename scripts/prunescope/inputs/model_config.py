"""Read a model's config.json, and refuse models that cannot be run before fetching their weights.

The file is read as plain JSON, under the names that transformers' configurations use, so that
planning a run needs no model library; this module does not import torch. The settings are checked
twice: before the first job if the file is available by then, and at the start of `fetch_model`,
before any weights are copied or hashed.
"""

import ast
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunescope.paths import SCRIPTS

ModelConfig = Mapping[str, Any]
"""The content of a model's config.json."""

_ANATOMY_FILE = SCRIPTS / "prunescope" / "model" / "anatomy.py"

_BLOCK_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HIDDEN_SIZE_KEYS = ("hidden_size", "n_embd", "d_model", "dim")
_HEAD_KEYS = ("num_attention_heads", "n_head", "n_heads")
_INTERMEDIATE_SIZE_KEYS = ("intermediate_size", "n_inner", "ffn_dim", "d_ff")
_POSITION_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
_POSITIONS_AFTER_PADDING = (
    *("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl", "xmod"),
)
"""Model types whose first token has the position after that of padding.

Their table of positions has the padding token's row and the rows before it in addition, so that of
RoBERTa's 514 positions 512 can be used.
"""

_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EXPERT_SIZE_KEYS = ("moe_intermediate_size", "shared_expert_intermediate_size")

_COUNT_KEYS = (*_BLOCK_KEYS, *_HIDDEN_SIZE_KEYS, *_HEAD_KEYS, *_POSITION_KEYS, "vocab_size")
"""Keys whose value, if they are present, must be a whole number above 0."""

_QUANTIZATION_KEYS = ("quantization_config", "compression_config")
_OTHER_INPUT_KEYS = ("vision_config", "audio_config", "speech_config", "visual", "vision_tower")

_CAUSAL_HEADS = ("ForCausalLM", "LMHeadModel")
_NO_HEADS = ("Model",)
_PRETRAINING_HEADS = ("ForMaskedLM", "ForPreTraining")

_ADOPTED_CODE = {"phi3": ("modeling_phi3", "configuration_phi3")}
"""Per model type, the modules named in `auto_map` that transformers has adopted unchanged."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; None if config.json does not give a size.

    Attributes
    ----------
    positions : the longest text in tokens.
    linear_inputs : input sizes of the linears in a block, each under the config.json key (or the
        product of keys) from which it follows.
    """

    model_type: str | None
    n_blocks: int | None
    positions: int | None
    linear_inputs: Mapping[str, int]


def parse(text: str) -> ModelConfig:
    """Parse the text of a config.json. Raises ValueError unless it is a JSON object."""
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise ValueError(f"config.json is not JSON ({error})") from None
    if not isinstance(settings, dict):
        raise ValueError(f"config.json holds a {type(settings).__name__}, not a JSON object")
    return settings


def shape_of(settings: ModelConfig) -> Shape:
    """Sizes of the model that a config.json describes."""
    return Shape(
        model_type=settings.get("model_type"),
        n_blocks=_count(settings, _BLOCK_KEYS),
        positions=_positions(settings),
        linear_inputs=_linear_inputs(settings),
    )


def _first_given(settings: ModelConfig, names: tuple[str, ...]) -> tuple[str, Any]:
    """The first of these keys that has a value, with its value; an empty key if none has one."""
    return next(((n, settings[n]) for n in names if settings.get(n) is not None), ("", None))


def _count(settings: ModelConfig, names: tuple[str, ...]) -> int | None:
    _, value = _first_given(settings, names)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def positions_in(model_dir: str | Path) -> int | None:
    """Number of positions of the model in a folder; None if its config.json does not say."""
    text = (Path(model_dir) / "config.json").read_text(encoding="utf-8")
    return shape_of(parse(text)).positions


def _positions(settings: ModelConfig) -> int | None:
    """Number of positions a model can use with the rotary factors of short texts.

    LongRoPE and dynamic NTK switch to other factors for every position once a text exceeds a
    limit. `loading.load` keeps the factors of short texts, so the limit is the number of positions.
    """
    n_positions = _count(settings, _POSITION_KEYS)
    if n_positions is not None and settings.get("model_type") in _POSITIONS_AFTER_PADDING:
        padding = settings.get("pad_token_id")
        n_positions -= (padding if isinstance(padding, int) else 1) + 1
    rotary = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    rotary_settings = [rotary, *(part for part in rotary.values() if isinstance(part, dict))]
    limits = []
    for rotary_setting in rotary_settings:
        rope_type = str(rotary_setting.get("rope_type", rotary_setting.get("type", "")))
        if rope_type == "longrope" or "dynamic" in rope_type:
            limit = rotary_setting.get("original_max_position_embeddings") or _count(
                settings, ("original_max_position_embeddings",)
            )
            limits.append(limit or n_positions)
    return min((length for length in (n_positions, *limits) if length), default=None)


def _linear_inputs(settings: ModelConfig) -> dict[str, int]:
    """Input sizes of the linears of attention and MLP; with experts, those of a single expert."""
    inputs: dict[str, int] = {}
    hidden, heads = _count(settings, _HIDDEN_SIZE_KEYS), _count(settings, _HEAD_KEYS)
    head_dim = _count(settings, ("head_dim",))
    if hidden is not None:
        inputs[_first_given(settings, _HIDDEN_SIZE_KEYS)[0]] = hidden
    if heads is not None and head_dim is not None:
        inputs[f"{_first_given(settings, _HEAD_KEYS)[0]} * head_dim"] = heads * head_dim
    experts = has_experts(settings)
    sizes = [name for name in _EXPERT_SIZE_KEYS if settings.get(name)] if experts else []
    for name in sizes or _INTERMEDIATE_SIZE_KEYS:
        size = _count(settings, (name,))
        if size is not None:
            inputs[name] = size
    if hidden is not None and "n_inner" in settings and settings["n_inner"] is None:
        inputs["4 * n_embd"] = 4 * hidden
    return inputs


def has_experts(settings: ModelConfig) -> bool:
    """Whether some or all MLPs of the model are mixtures of experts."""
    return bool(_count(settings, _EXPERT_KEYS))


_WITHOUT_LINEARS = ("gpt2",)
"""Model types whose blocks have matrices in modules that are no linears (Conv1D)."""


def keeps_weights_outside_linears(settings: ModelConfig) -> bool:
    """Whether blocks have matrices that methods for linears do not reach: experts, or Conv1D."""
    return has_experts(settings) or settings.get("model_type") in _WITHOUT_LINEARS


@functools.cache
def known_types() -> dict[str, str | None]:
    """Model types that have an anatomy, each with the name of its lm_head; None for encoders.

    They are read from the source text of anatomy.py, because importing that module imports torch.
    """
    tree = ast.parse(_ANATOMY_FILE.read_text(encoding="utf-8"))
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    entries = values["ANATOMIES"]
    assert isinstance(entries, ast.Dict)
    return {
        key.value: _lm_head_of(entry, values)
        for key, entry in zip(entries.keys, entries.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _lm_head_of(entry: ast.expr | None, values: Mapping[str, ast.expr | None]) -> str | None:
    """The `lm_head` of an entry: its own, that of the entry it is a copy of, or the default."""
    if isinstance(entry, ast.Name):
        return _lm_head_of(values[entry.id], values)
    assert isinstance(entry, ast.Call)
    for keyword in entry.keywords:
        if keyword.arg == "lm_head":
            name: str | None = ast.literal_eval(keyword.value)
            return name
    if entry.args:  # replace(_OTHER, ...)
        return _lm_head_of(entry.args[0], values)
    return "lm_head"


def kind_of(settings: ModelConfig) -> str:
    """`causal` for a model with an lm_head, `encoder` for one without, by its config.json."""
    if known_types().get(str(settings.get("model_type")), "") is None:
        return "encoder"
    architectures = settings.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    return "encoder" if names and not names[0].endswith(_CAUSAL_HEADS) else "causal"


# ---- refusals ---------------------------------------------------------------------------------


def refusals(settings: ModelConfig, kind: str | None = None) -> Iterator[str]:
    """Reasons why this model cannot be run, in one or two sentences each; none if it can be run.

    Parameters
    ----------
    settings : the content of config.json.
    kind : `causal` or `encoder`, the `kind` that config gives the model; None checks only what
        applies to both.
    """
    nested = settings.get("text_config")
    text_settings = nested if isinstance(nested, Mapping) else {}
    other_inputs = [key for key in _OTHER_INPUT_KEYS if settings.get(key) is not None]
    if text_settings or other_inputs:
        yield (
            f"the model ({_model_name(settings)}) reads more than text: its config.json has "
            f"{' and '.join([*(['text_config'] if text_settings else []), *other_inputs])}. Choose "
            "a model that reads only text, or save its language model by itself and name that "
            "folder as `path`."
        )
        return
    yield from _quantization_refusals(settings)
    yield from _custom_code_refusals(settings)
    yield from _count_refusals(settings)
    if settings.get("is_encoder_decoder"):
        yield (
            f"the model ({_model_name(settings)}) has an encoder and a decoder instead of a single "
            "stack of blocks. Choose a causal model or an encoder."
        )
        return
    yield from _unknown_type_refusals(settings)
    yield from _wrong_kind_refusals(settings, kind)


def _model_name(settings: ModelConfig) -> str:
    architectures = settings.get("architectures")
    names = [
        settings.get("model_type"),
        *(architectures if isinstance(architectures, list) else []),
    ]
    return ", ".join(str(name) for name in names if name)


def _quantization_refusals(settings: ModelConfig) -> Iterator[str]:
    for key in _QUANTIZATION_KEYS:
        value = settings.get(key)
        if value:
            method = value.get("quant_method", "unnamed") if isinstance(value, Mapping) else value
            yield (
                f"the weights are quantized already (config.json: {key}, method {method}), and "
                "compressing rounded weights would not show the effect of compressing the model. "
                "Choose the model's unquantized checkpoint."
            )


def _custom_code_refusals(settings: ModelConfig) -> Iterator[str]:
    """Refuse code that comes with the weights: it may differ from transformers' code of that name.

    Modules that transformers has adopted unchanged are accepted.
    """
    code = settings.get("auto_map")
    if not code:
        return
    references = code.values() if isinstance(code, Mapping) else [code]
    modules = [str(reference).split("--")[-1].split(".")[0] for reference in references]
    if set(modules) <= set(_ADOPTED_CODE.get(str(settings.get("model_type")), ())):
        return
    yield (
        f"the model needs custom code (config.json: auto_map names {modules[0]}.py), and code that "
        "comes with a checkpoint is never run. Choose a model whose architecture transformers "
        "implements itself."
    )


def _count_refusals(settings: ModelConfig) -> Iterator[str]:
    for key in _COUNT_KEYS:
        value = settings.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield (
                f"config.json says {key}: {json.dumps(value)}, which is not a whole number above "
                "0. Correct the value in a copy of the folder and name that copy as `path`."
            )


def _unknown_type_refusals(settings: ModelConfig) -> Iterator[str]:
    model_type = settings.get("model_type")
    if model_type not in known_types():
        yield (
            f"its model type {model_type!r} is not known; known are the model types "
            f"{', '.join(sorted(known_types()))}. Choose one of these, or add an entry to "
            "ANATOMIES in scripts/prunescope/model/anatomy.py."
        )


def _wrong_kind_refusals(settings: ModelConfig, kind: str | None) -> Iterator[str]:
    """Refuse classifiers, reward models, and checkpoints without the head that config requires."""
    architectures = settings.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    for name in names:
        if not name.endswith((*_CAUSAL_HEADS, *_PRETRAINING_HEADS, *_NO_HEADS)) or (
            name.endswith("RewardModel")
        ):
            yield (
                f"the checkpoint is a {name}, which has a special head instead of an lm_head. "
                "Choose the language model or the embedding model from which it was made."
            )
            return
    lm_head = known_types().get(str(settings.get("model_type")), "")
    if kind == "causal" and lm_head is None:
        yield (
            f"a {settings.get('model_type')} is an encoder and has no lm_head, but config says it "
            "is a causal model. Set `kind: encoder`, or choose a causal model."
        )
    elif kind == "causal" and names and not names[0].endswith(_CAUSAL_HEADS):
        yield (
            f"the checkpoint is a {names[0]}, which has no lm_head, but config says it is a causal "
            "model. Set `kind: encoder`, or choose a checkpoint whose architecture ends in "
            "ForCausalLM."
        )
