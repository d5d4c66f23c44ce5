"""What a model's config.json tells before its weights are there. Imports no torch.

The file is read as it stands, by the names that transformers' configurations use, so that planning
a run takes no model library. What it says is checked twice: before the first job, where the file
is at hand, and at the start of `fetch_model`, before any weights are copied or hashed.
"""

import ast
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunescope.paths import SCRIPTS

Settings = Mapping[str, Any]
"""A model's config.json."""

_ANATOMY_FILE = SCRIPTS / "prunescope" / "model" / "anatomy.py"

_N_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HIDDEN_SIZE = ("hidden_size", "n_embd", "d_model", "dim")
_N_HEADS = ("num_attention_heads", "n_head", "n_heads")
_INTERMEDIATE_SIZE = ("intermediate_size", "n_inner", "ffn_dim", "d_ff")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
_N_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EXPERT_SIZES = ("moe_intermediate_size", "shared_expert_intermediate_size")

_COUNTS = (*_N_BLOCKS, *_HIDDEN_SIZE, *_N_HEADS, *_POSITIONS, "vocab_size")
"""Keys that hold a whole number above 0 wherever they are given."""

_QUANTIZED_BY = ("quantization_config", "compression_config")
_OTHER_INPUTS = ("vision_config", "audio_config", "speech_config", "visual", "vision_tower")

_CAUSAL_HEADS = ("ForCausalLM", "LMHeadModel")
_NO_HEADS = ("Model",)
_PRETRAINING_HEADS = ("ForMaskedLM", "ForPreTraining")

_CODE_TRANSFORMERS_HAS = {"phi3": ("modeling_phi3", "configuration_phi3")}
"""Modules of `auto_map`, by model type, that transformers took over unchanged."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, None where config.json is silent.

    `linear_inputs` are the sizes of the inputs of the blocks' linears, by the key they follow from.
    """

    model_type: str | None
    n_blocks: int | None
    positions: int | None
    linear_inputs: Mapping[str, int]


def parse(text: str) -> Settings:
    """The text of a config.json. Raises ValueError unless it is a JSON object."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"config.json is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"config.json holds a {type(found).__name__}, not a JSON object")
    return found


def shape_of(settings: Settings) -> Shape:
    """Sizes of the model that a config.json describes."""
    return Shape(
        model_type=settings.get("model_type"),
        n_blocks=_count(settings, _N_BLOCKS),
        positions=_positions(settings),
        linear_inputs=_linear_inputs(settings),
    )


def _first(settings: Settings, names: tuple[str, ...]) -> tuple[str, Any]:
    """The first of the names that has a value, and the value; an empty name if none has."""
    return next(((n, settings[n]) for n in names if settings.get(n) is not None), ("", None))


def _count(settings: Settings, names: tuple[str, ...]) -> int | None:
    _, value = _first(settings, names)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def positions_in(model_dir: str | Path) -> int | None:
    """Positions of the model in a folder, by its config.json; None where that names none."""
    text = (Path(model_dir) / "config.json").read_text(encoding="utf-8")
    return shape_of(parse(text)).positions


def _positions(settings: Settings) -> int | None:
    """Positions a model reads; of rotary factors that change with the length, the first border.

    Beyond it LongRoPE and dynamic NTK read every position by other factors (`models.load` keeps
    the first).
    """
    named = _count(settings, _POSITIONS)
    rotary = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    kinds = [rotary, *(part for part in rotary.values() if isinstance(part, dict))]
    borders = []
    for kind in kinds:
        rope_type = str(kind.get("rope_type", kind.get("type", "")))
        if rope_type == "longrope" or "dynamic" in rope_type:
            border = kind.get("original_max_position_embeddings") or _count(
                settings, ("original_max_position_embeddings",)
            )
            borders.append(border or named)
    return min((each for each in (named, *borders) if each), default=None)


def _linear_inputs(settings: Settings) -> dict[str, int]:
    """Inputs of the linears of attention and MLP; of experts those of each expert."""
    inputs: dict[str, int] = {}
    hidden, heads = _count(settings, _HIDDEN_SIZE), _count(settings, _N_HEADS)
    head_dim = _count(settings, ("head_dim",))
    if hidden is not None:
        inputs[_first(settings, _HIDDEN_SIZE)[0]] = hidden
    if heads is not None and head_dim is not None:
        inputs[f"{_first(settings, _N_HEADS)[0]} * head_dim"] = heads * head_dim
    experts = has_experts(settings)
    sizes = [name for name in _EXPERT_SIZES if settings.get(name)] if experts else []
    for name in sizes or _INTERMEDIATE_SIZE:
        size = _count(settings, (name,))
        if size is not None:
            inputs[name] = size
    if hidden is not None and "n_inner" in settings and settings["n_inner"] is None:
        inputs["4 * n_embd"] = 4 * hidden
    return inputs


def has_experts(settings: Settings) -> bool:
    """Whether the MLPs of the model, or some of them, are mixtures of experts."""
    return bool(_count(settings, _N_EXPERTS))


@functools.cache
def known_types() -> dict[str, str | None]:
    """Model types that have an anatomy, each with the name of its lm_head, None for encoders.

    Read from the text of anatomy.py, whose import would take torch with it.
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
    """The `lm_head` of one entry: its own, that of the entry it copies, or the usual name."""
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


# ---- what cannot be run -----------------------------------------------------------------------


def refusals(settings: Settings, kind: str | None = None) -> Iterator[str]:
    """Why this model cannot be run, one sentence or two each; nothing where it can.

    Parameters
    ----------
    kind : `causal` or `encoder`, what config calls the model; None asks only what holds for both.
    """
    nested = settings.get("text_config")
    inner = nested if isinstance(nested, Mapping) else {}
    others = [key for key in _OTHER_INPUTS if settings.get(key) is not None]
    if inner or others:
        yield (
            f"the model ({_named(settings)}) reads more than text: its config.json has "
            f"{' and '.join([*(['text_config'] if inner else []), *others])}. Choose a model of "
            "text alone, or save its language model by itself and name that folder as `path`."
        )
        return
    yield from _quantized(settings)
    yield from _custom_code(settings)
    yield from _bad_counts(settings)
    if settings.get("is_encoder_decoder"):
        yield (
            f"the model ({_named(settings)}) has an encoder and a decoder, and no single stack of "
            "blocks to compress. Choose a causal model or an encoder."
        )
        return
    yield from _unknown_type(settings)
    yield from _wrong_kind(settings, kind)


def _named(settings: Settings) -> str:
    architectures = settings.get("architectures")
    names = [
        settings.get("model_type"),
        *(architectures if isinstance(architectures, list) else []),
    ]
    return ", ".join(str(name) for name in names if name)


def _quantized(settings: Settings) -> Iterator[str]:
    for key in _QUANTIZED_BY:
        value = settings.get(key)
        if value:
            method = value.get("quant_method", "unnamed") if isinstance(value, Mapping) else value
            yield (
                f"the weights are quantized already (config.json: {key}, method {method}), and "
                "what compression does to rounded weights would not be compression of the model. "
                "Choose the model's unquantized checkpoint."
            )


def _custom_code(settings: Settings) -> Iterator[str]:
    """Code beside the weights, which may differ from transformers' own of the same name."""
    code = settings.get("auto_map")
    if not code:
        return
    references = code.values() if isinstance(code, Mapping) else [code]
    modules = [str(reference).split("--")[-1].split(".")[0] for reference in references]
    if set(modules) <= set(_CODE_TRANSFORMERS_HAS.get(str(settings.get("model_type")), ())):
        return
    yield (
        f"the model runs on code of its own (config.json: auto_map names {modules[0]}.py), and "
        "code that comes with a checkpoint is never run. Choose a model whose architecture "
        "transformers has itself."
    )


def _bad_counts(settings: Settings) -> Iterator[str]:
    for key in _COUNTS:
        value = settings.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield (
                f"config.json says {key}: {json.dumps(value)}, which is no whole number above 0. "
                "Write the model's own value into a copy of the folder and name that as `path`."
            )


def _unknown_type(settings: Settings) -> Iterator[str]:
    model_type = settings.get("model_type")
    if model_type not in known_types():
        yield (
            f"its model type {model_type!r} is not known; known are "
            f"{', '.join(sorted(known_types()))}. Choose one of these, or add an entry to "
            "ANATOMIES in scripts/prunescope/model/anatomy.py."
        )


def _wrong_kind(settings: Settings, kind: str | None) -> Iterator[str]:
    """A classifier, a reward model, or a checkpoint without the head that config asks for."""
    architectures = settings.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    for name in names:
        if not name.endswith((*_CAUSAL_HEADS, *_PRETRAINING_HEADS, *_NO_HEADS)) or (
            name.endswith("RewardModel")
        ):
            yield (
                f"the checkpoint is a {name}, with a head of its own instead of an lm_head. "
                "Choose the language model or the embedding model it was made from."
            )
            return
    lm_head = known_types().get(str(settings.get("model_type")), "")
    if kind == "causal" and lm_head is None:
        yield (
            f"a {settings.get('model_type')} is an encoder and has no lm_head, but config asks for "
            "a causal model. Set `kind: encoder`, or choose a causal model."
        )
    elif kind == "causal" and names and not names[0].endswith(_CAUSAL_HEADS):
        yield (
            f"the checkpoint is a {names[0]}, which has no lm_head, but config asks for a causal "
            "model. Set `kind: encoder`, or choose a checkpoint whose architecture ends in "
            "ForCausalLM."
        )
